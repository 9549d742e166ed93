#!/usr/bin/env bash
# A SLURM cluster of one node, for trying jobs out: Debian's slurm-wlm and munge, without systemd.
#
#   tests/slurm/cluster.sh start DIR [CPUS]   starts it; all its files are in DIR
#   export SLURM_CONF=DIR/slurm.conf          what sbatch, squeue, ... need to find it
#   tests/slurm/cluster.sh stop DIR           stops it, and all of its jobs
#
# Nothing outside DIR is read or changed, so it lives beside a real cluster, and beside others of
# its kind. CPUS (default 4) and memory are what SLURM may hand out, however much there is.
set -euo pipefail

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

write_config() {
    local me host
    me=$(id -un)
    host=$(uname -n)
    cat > "$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
# processes are followed through /proc: no cgroups, which a container may not have
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
JobRequeue=1
KillWait=5
MinJobAge=600
ReturnToService=2
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=node1 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
}

start() {
    mkdir -p "$dir/state" "$dir/spool"
    chmod 700 "$dir/state" "$dir/spool"
    (umask 077 && dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none)
    write_config
    export SLURM_CONF=$dir/slurm.conf
    # --force: it would refuse folders that others may write to, such as those of tests
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
        --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" \
        --num-threads=2 2> "$dir/munged.err"
    slurmctld -c -i
    slurmd -N node1
    for _ in $(seq 100); do
        if sinfo --noheader --format=%T 2> /dev/null | grep -q '^idle'; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    echo "the node did not come up in 10 s; see $dir/slurmctld.log and $dir/slurmd.log" >&2
    stop
    exit 1
}

# Waits, so that DIR can be removed afterwards.
end() {
    local pid
    pid=$(cat "$dir/$1.pid" 2> /dev/null) || return 0
    kill "$pid" 2> /dev/null || return 0
    for _ in $(seq 50); do
        kill -0 "$pid" 2> /dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null || true
}

stop() {
    export SLURM_CONF=$dir/slurm.conf
    scancel --full --signal=KILL --state=RUNNING --partition=all 2> /dev/null || true
    scancel --partition=all 2> /dev/null || true
    for _ in $(seq 50); do
        [ -z "$(squeue --noheader 2> /dev/null)" ] && break
        sleep 0.1
    done
    end slurmd
    end slurmctld
    end munged
}

[ $# -ge 2 ] || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
cpus=${3:-4}
case $1 in
    start) start ;;
    stop) stop ;;
    *) usage ;;
esac

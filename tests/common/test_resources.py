"""CPUs and memory: the least of all limits counts, wherever it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pumba_pipe.common import resources
from pumba_pipe.common.resources import available_cpus, available_memory_gb

GB = 10**9
MACHINE_MEMORY = resources._machine_memory


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 CPUs and 256 GB."""
    monkeypatch.setattr(resources, '_machine_cpus', lambda: 64)
    monkeypatch.setattr(resources, '_machine_memory', lambda: 256 * GB)


def put(root: Path, group: str, **files: object) -> None:
    """Write a control group's files; a double underscore in a name stands for a dot."""
    folder = root / 'sys/fs/cgroup' / group
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace('__', '.')).write_text(f'{content}\n')


def belong(root: Path, *lines: str) -> None:
    (root / 'proc/self').mkdir(parents=True)
    (root / 'proc/self/cgroup').write_text('\n'.join(lines) + '\n')


def found(root: Path, **environment: str) -> tuple[int, float]:
    return available_cpus(root, environment), available_memory_gb(root, environment)


def test_without_limits_there_is_the_machine(tmp_path: Path) -> None:
    assert found(tmp_path) == (64, pytest.approx(0.9 * 256))


def test_this_process_has_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
    assert available_memory_gb() > 0


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {1, 3, 5}, raising=False)
    assert available_cpus(tmp_path, {}) == 3


@pytest.mark.parametrize('group', ['', 'a', 'a/job_7', 'a/job_7/step/task_0'])
def test_limits_of_version_2_in_the_own_group_and_above(tmp_path: Path, group: str) -> None:
    belong(tmp_path, '0::/a/job_7/step/task_0')
    put(tmp_path, 'a/job_7/step/task_0', cpu__max='max 100000', memory__max='max')
    put(tmp_path, group, cpu__max='350000 100000', memory__max=8 * GB)
    assert found(tmp_path) == (3, pytest.approx(7.2))


@pytest.mark.parametrize('group', ['', '/slurm', '/slurm/job_7', '/slurm/job_7/task_0'])
def test_limits_of_version_1_in_the_own_group_and_above(tmp_path: Path, group: str) -> None:
    belong(
        tmp_path, '4:memory:/slurm/job_7/task_0', '1:cpu,cpuacct:/slurm/job_7/task_0', '0::/other'
    )
    put(tmp_path, 'memory', memory__limit_in_bytes=9223372036854771712)
    put(tmp_path, 'cpu', cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    put(tmp_path, f'memory{group}', memory__limit_in_bytes=4 * GB)
    put(tmp_path, f'cpu{group}', cpu__cfs_quota_us=200000, cpu__cfs_period_us=100000)
    assert found(tmp_path) == (2, pytest.approx(3.6))


def test_the_least_of_several_groups_counts(tmp_path: Path) -> None:
    belong(tmp_path, '0::/a/b')
    put(tmp_path, 'a', cpu__max='400000 100000', memory__max=16 * GB)
    put(tmp_path, 'a/b', cpu__max='800000 100000', memory__max=8 * GB)
    assert found(tmp_path) == (4, pytest.approx(7.2))


def test_groups_of_others_do_not_count(tmp_path: Path) -> None:
    belong(tmp_path, '0::/a')
    put(tmp_path, 'b', cpu__max='100000 100000', memory__max=GB)
    put(tmp_path, 'a/below', cpu__max='100000 100000', memory__max=GB)
    assert found(tmp_path) == (64, pytest.approx(0.9 * 256))


@pytest.mark.parametrize('place', ['/docker/0123abcd', '/../../other'])
def test_a_container_sees_its_own_group_where_the_tree_would_be(
    tmp_path: Path, place: str
) -> None:
    belong(tmp_path, f'0::{place}')
    put(tmp_path, '', cpu__max='200000 100000', memory__max=2 * GB)
    assert found(tmp_path) == (2, pytest.approx(1.8))


def test_a_process_that_does_not_know_its_group_has_the_limits_of_the_tree(tmp_path: Path) -> None:
    put(tmp_path, '', cpu__max='300000 100000')
    put(tmp_path, 'memory', memory__limit_in_bytes=3 * GB)
    assert found(tmp_path) == (3, pytest.approx(2.7))


def test_less_than_a_cpu_is_one(tmp_path: Path) -> None:
    belong(tmp_path, '0::/')
    put(tmp_path, '', cpu__max='50000 100000')
    assert available_cpus(tmp_path, {}) == 1


@pytest.mark.parametrize(
    ('environment', 'cpus', 'mib'),
    [
        ({'SLURM_CPUS_ON_NODE': '8', 'SLURM_MEM_PER_NODE': '4000'}, 8, 4000),
        ({'SLURM_CPUS_ON_NODE': '8', 'SLURM_CPUS_PER_TASK': '2'}, 2, None),
        ({'SLURM_CPUS_ON_NODE': '8', 'SLURM_MEM_PER_CPU': '500'}, 8, 4000),
        ({'SLURM_CPUS_PER_TASK': '3', 'SLURM_MEM_PER_CPU': '1000'}, 3, 3000),
        ({'SLURM_MEM_PER_CPU': '2000'}, 64, 2000),
        ({'SLURM_MEM_PER_NODE': '0', 'SLURM_CPUS_PER_TASK': ''}, 64, None),
    ],
)
def test_what_slurm_gives_a_job(
    tmp_path: Path, environment: dict[str, str], cpus: int, mib: int | None
) -> None:
    gb = 256 if mib is None else mib * 2**20 / GB
    assert found(tmp_path, **environment) == (cpus, pytest.approx(0.9 * gb))


def test_a_job_in_a_smaller_group_gets_the_group(tmp_path: Path) -> None:
    belong(tmp_path, '0::/')
    put(tmp_path, '', cpu__max='100000 100000', memory__max=GB)
    job = {'SLURM_CPUS_ON_NODE': '8', 'SLURM_MEM_PER_NODE': '64000'}
    assert found(tmp_path, **job) == (1, pytest.approx(0.9))


def test_files_that_cannot_be_understood_do_not_count(tmp_path: Path) -> None:
    belong(tmp_path, 'nonsense', '0::/')
    put(tmp_path, '', cpu__max='', memory__max='lots')
    assert found(tmp_path) == (64, pytest.approx(0.9 * 256))


@pytest.mark.parametrize('error', [AttributeError, ValueError, OSError])
def test_a_system_that_does_not_tell_its_memory_sets_no_limit(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Windows has no `sysconf`; other systems may not know the name of what is asked for."""

    def refuse(name: str) -> int:
        raise error(name)

    assert 0 < MACHINE_MEMORY() < float('inf')
    monkeypatch.setattr(os, 'sysconf', refuse)
    assert MACHINE_MEMORY() == float('inf')

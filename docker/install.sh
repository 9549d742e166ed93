#!/bin/sh
# The steps that docker/Dockerfile and docker/Apptainer.def share. Run in a folder that holds the
# repository; everything goes to /opt/venv and /opt/templateflow.
#
#   install.sh torch VARIANT [INDEX]     PyTorch, for cpu or cuda, in the tested version
#   install.sh package [EXTRAS VERSION]  the package and all it needs; then what nobody needs goes
#   install.sh templates [SPACES]        templates of TemplateFlow, such as MNI152NLin2009cAsym:res-2
set -eu

VENV=${PUMBA_VENV:-/opt/venv}
TEMPLATES=/opt/templateflow

pip_install() {
    "$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt "$@"
}

# PyTorch's own index has its build for CPUs; the one on PyPI brings CUDA. What PyTorch needs
# comes from PyPI in the next step, in both cases.
torch() {
    variant=$1 index=${2:-}
    case $variant in
        cpu) index=${index:-https://download.pytorch.org/whl/cpu} ;;
        cuda) ;;
        *) echo "install.sh: VARIANT is '$variant'; it can be cpu or cuda" >&2; exit 2 ;;
    esac
    python3 -m venv "$VENV"
    pip_install --no-deps ${index:+--index-url "$index"} torch
    echo "$variant" > "$VENV/variant"
}

# Without build isolation, so that constraints.txt also decides which setuptools builds the wheel.
package() {
    extras=${1:-} version=${2:-}
    pip_install setuptools
    pip_install --no-build-isolation ".${extras:+[$extras]}"
    prune
    check "$version"
}

# Tests, headers and test programs of other packages, and OpenVINO's parts for GPUs of Intel, which
# are never used: about 460 MB.
prune() {
    packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    find "$packages" -depth -type d -name tests ! -path '*/numpy/*' -exec rm -rf {} +
    rm -rf "$packages/torch/include" "$packages/torch/test"
    rm -rf "$packages/openvino/include" "$packages/openvino/libs/cache.json" \
        "$packages"/openvino/libs/libopenvino_intel_[gn]pu_plugin.so
    find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
    "$VENV/bin/python" -m pip uninstall --quiet --yes pip
}

# A label that lies, or the wrong build of PyTorch, ends the build. After a comma, the version's line
# tells the checksum of the weights.
check() {
    wanted=$1
    installed=$("$VENV/bin/pumba" --version)
    installed=${installed%%,*}
    if [ -n "$wanted" ] && [ "$installed" != "pumba_pipe $wanted" ]; then
        echo "install.sh: $installed was installed, but VERSION is '$wanted'" >&2
        exit 1
    fi
    built=$("$VENV/bin/python" -c 'import torch; print("cuda" if torch.version.cuda else "cpu")')
    if [ "$built" != "$(cat "$VENV/variant")" ]; then
        echo "install.sh: PyTorch's build is for $built, not for $(cat "$VENV/variant")" >&2
        exit 1
    fi
}

templates() {
    mkdir -p "$TEMPLATES"
    if [ -n "${1:-}" ]; then
        # shellcheck disable=SC2086  # a list, separated by spaces
        TEMPLATEFLOW_HOME=$TEMPLATES "$VENV/bin/python" -m pumba_pipe.workflows.templates $1
    fi
    chmod -R a+rX "$TEMPLATES"
}

"$@"

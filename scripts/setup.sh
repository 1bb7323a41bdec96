#!/usr/bin/env bash
# Set up a virtual environment with dptt in it: scripts/setup.sh [extras], for instance `scripts/setup.sh test`.
# Idempotent; needs Python >= 3.11 and a package index, no root. DPTT_VENV chooses the folder (default .venv).
# PyTorch is the build for CPUs unless a GPU is seen; DPTT_TORCH_INDEX names another index for it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${DPTT_VENV:-.venv}
extras=${1:-}
stamp="$venv/.dptt-setup-${extras:-base}"
say() { printf '\n== %s\n' "$*"; }

if [ -f "$stamp" ] && [ "$stamp" -nt setup.py ] && [ "$stamp" -nt constraints.txt ]; then
    exit 0
fi
python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "error: no Python 3.11 or newer found; install one, or set PYTHON=/path/to/python" >&2
    exit 1
fi

if [ ! -x "$venv/bin/python" ]; then
    say "creating a virtual environment in $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing the system's venv module"
            apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
            "$python" -m venv "$venv"
        else
            echo "error: $python cannot create virtual environments; install the package python3-venv" >&2
            exit 1
        fi
    fi
fi

pip=("$venv/bin/python" -m pip --disable-pip-version-check)
quiet=(--quiet)
[ ! -t 1 ] || quiet=() # in a terminal, pip shows its download

gpu_seen() { [ -e /proc/driver/nvidia/version ] || [ -e /dev/kfd ] || command -v nvidia-smi >/dev/null; }
own_index() { [ -n "${PIP_INDEX_URL:-}" ] || "${pip[@]}" config list 2>/dev/null | grep -q 'index-url'; }
torch_build() {
    if [ -n "${DPTT_TORCH_INDEX:-}" ]; then
        echo "from $DPTT_TORCH_INDEX"
    elif gpu_seen; then
        echo "the build for GPUs, since there is a GPU: some gigabytes"
    elif own_index; then
        echo "from the index that your pip is set to"
    else
        echo "the build for CPUs, since no GPU is seen: 200 MB; DPTT_TORCH_INDEX=URL chooses another"
    fi
}
# PyPI has the build for NVIDIA GPUs; that for CPUs is in an index of PyTorch's, unless the user's own index has it.
install_torch() {
    local torch=(install "${quiet[@]}" --constraint constraints.txt torch)
    local cpu=https://download.pytorch.org/whl/cpu
    if [ -n "${DPTT_TORCH_INDEX:-}" ]; then
        "${pip[@]}" "${torch[@]}" --index-url "$DPTT_TORCH_INDEX"
    elif gpu_seen || own_index || ! "${pip[@]}" "${torch[@]}" --index-url "$cpu" --retries 1 --timeout 20; then
        "${pip[@]}" "${torch[@]}"
    fi
}
if ! "$venv/bin/python" -c 'from importlib.metadata import version; version("torch")' 2>/dev/null; then
    # First and pinned, so that no other package pulls another torch with gigabytes of CUDA libraries.
    say "installing PyTorch ($(grep -o '^torch[^ ]*' constraints.txt), $(torch_build))"
    install_torch
fi
say "installing dptt${extras:+ with its $extras extra} (about a minute)"
"$venv/bin/python" -c 'from importlib.metadata import version; print("torch==" + version("torch").split("+")[0])' \
    >"$venv/torch.txt"
"${pip[@]}" install "${quiet[@]}" --constraint "$venv/torch.txt" --editable ".${extras:+[$extras]}"
# The page is tested in a headless browser; without one these tests are skipped, and say so.
case ",$extras," in
*,test,*)
    if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null && [ -z "${DPTT_BROWSER:-}" ]; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing a headless browser for the tests of the page"
            (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1 ||
                echo "no browser could be installed: the tests of the page in a browser are skipped"
        else
            echo "no browser found: the tests of the page in a browser are skipped (install chromium, or set DPTT_BROWSER)"
        fi
    fi
    ;;
esac
touch "$stamp"

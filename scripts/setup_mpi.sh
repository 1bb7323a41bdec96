#!/usr/bin/env bash
# Install what MPI needs: an MPI, mpi4py, and an h5py with which all ranks write one file.
#
#   bash scripts/setup_mpi.sh                     a second environment, .venv-mpi: it borrows all but these from .venv
#   bash scripts/setup_mpi.sh --beside VENV       the same beside another environment: VENV-mpi
#   DPTT_VENV=VENV bash scripts/setup_mpi.sh      into VENV itself: your one environment on a cluster
#   ... --mpich                                   MPICH from PyPI: no compiler, no root, but no parallel HDF5
#   ... --check                                   only say what was found and what is missing; install nothing
#
# It takes the `mpicc` and the parallel HDF5 that it finds (HDF5_DIR, h5pcc, pkg-config: load your cluster's modules
# first), installs Open MPI and HDF5 as root on Debian and Ubuntu, and says what is missing elsewhere. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '\n== %s\n' "$*"; }
missing() { printf 'missing: %s\n         %s\n' "$1" "$2"; }

base=
mpich=
only_check=
while [ $# -gt 0 ]; do
    case $1 in
    --beside) base=${2:?--beside needs an environment} && shift 2 ;;
    --mpich) mpich=yes && shift ;;
    --check) only_check=yes && shift ;;
    *) echo "error: unknown argument $1; see the head of $0" >&2 && exit 2 ;;
    esac
done
if [ -z "$base" ] && [ -z "${DPTT_VENV:-}" ]; then base=.venv; fi
if [ -n "$base" ]; then venv="$base-mpi${mpich:+ch}"; else venv=$DPTT_VENV; fi
owner=${base:-$venv}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dptt
python="$venv/bin/python"
pip=("$python" -m pip --disable-pip-version-check --quiet)

# --- compiler, MPI and HDF5
compiles() { command -v mpicc >/dev/null && mpicc -x c -o /dev/null - <<<'int main(void) { return 0; }' 2>/dev/null; }
headers() { # of the Python that the environment has, or will have
    local interpreter=$owner/bin/python
    [ -x "$interpreter" ] || interpreter=${PYTHON:-python3}
    "$interpreter" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")'
}
parallel_hdf5() { # the first folder that holds include/ and lib/ of an HDF5 built with MPI
    local debian pcc flavour=openmpi folder
    mpicc --showme >/dev/null 2>&1 || flavour=mpich
    debian=/usr/lib/$(uname -m)-linux-gnu/hdf5/$flavour
    pcc=$(command -v h5pcc || true)
    for folder in "${HDF5_DIR:-}" "${HDF5_ROOT:-}" "${EBROOTHDF5:-}" "${pcc%/bin/h5pcc}" "$debian" \
        "$(pkg-config --variable=prefix "hdf5-$flavour" 2>/dev/null)" "$(pkg-config --variable=prefix hdf5 2>/dev/null)"; do
        if [ -n "$folder" ] && grep -qs '^#define H5_HAVE_PARALLEL 1' "$folder"/include/H5pubconf*.h; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}
complete() { compiles && [ -f "$(headers)" ] && parallel_hdf5 >/dev/null; }
report() {
    if ! command -v mpicc >/dev/null; then
        missing "an MPI with its compiler wrapper mpicc" \
            "a cluster: module load openmpi (or its name there); as root: apt-get install openmpi-bin libopenmpi-dev"
    elif ! compiles; then
        missing "a C compiler behind $(command -v mpicc)" "a cluster: module load gcc; as root: apt-get install gcc libc6-dev"
    fi
    if [ ! -f "$(headers)" ]; then
        missing "Python's headers ($(headers))" "as root: apt-get install python3-dev; or a Python of pyenv, conda or your cluster"
    fi
    if ! parallel_hdf5 >/dev/null; then
        missing "an HDF5 built with MPI (none in HDF5_DIR='${HDF5_DIR:-}', beside h5pcc, by pkg-config)" \
            "a cluster: module load hdf5-parallel, or HDF5_DIR=/its/folder; as root: apt-get install libhdf5-openmpi-dev"
    fi
}
if [ -n "$only_check" ]; then
    if complete; then
        echo "mpicc $(command -v mpicc), HDF5 in $(parallel_hdf5), Python's headers: a parallel h5py can be built"
        exit 0
    fi
    report
    exit 1
fi

# --- the environment
"$owner/bin/python" -c 'import importlib.metadata as m; m.version("dptt")' 2>/dev/null ||
    DPTT_VENV="$owner" bash scripts/setup.sh
if [ -n "$base" ] && [ ! -x "$python" ]; then
    say "creating $venv, which borrows torch and all the rest from $base"
    "$base/bin/python" -m venv "$venv"
    packages=$("$base/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # addsitedir, not the bare path: the editable dptt is itself found by a .pth file there
    echo "import site; site.addsitedir('$packages')" \
        >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
fi

# --- what is already there
check='
import sys
from mpi4py import MPI
import h5py
parallel = h5py.get_config().mpi
if MPI.COMM_WORLD.rank == 0:
    name = MPI.Get_library_version().split(",")[0].split(chr(10))[0]
    hdf5 = h5py.version.hdf5_version
    print(f"{name}; h5py {h5py.__version__} on HDF5 {hdf5}, parallel: {parallel}; ranks: {MPI.COMM_WORLD.size}")
if MPI.COMM_WORLD.size != 2:
    sys.exit("the launcher and mpi4py belong to different MPIs: every process is alone")
if parallel:
    with h5py.File(sys.argv[1], "w", driver="mpio", comm=MPI.COMM_WORLD) as file:
        data = file.create_dataset("x", (2, 3), "f8")
        data[MPI.COMM_WORLD.rank] = MPI.COMM_WORLD.rank + 1.0
        file.flush()
        MPI.COMM_WORLD.Barrier()
        assert data[()].sum() == 9.0, data[()]
'
try_two_ranks() {
    local folder status=0
    folder=$(mktemp -d)
    if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
    OMPI_MCA_rmaps_base_oversubscribe=1 PATH="$PWD/$venv/bin:$venv/bin:$PATH" \
        timeout 60 mpirun -n 2 "$python" -m mpi4py -c "$check" "$folder/two_ranks.h5" || status=$?
    rm -rf "$folder"
    return $status
}
has() { "$python" -c "$1" >/dev/null 2>&1; }
try_and_end() {
    say "two ranks of $venv"
    try_two_ranks ||
        echo "warning: two ranks did not work here (exit code $?); a login node may forbid mpirun: try it in a job"
    exit 0
}

install_mpich() {
    say "installing MPICH and mpi4py from PyPI into $venv"
    "${pip[@]}" install mpich 'mpi4py>=4.1'
    if has 'import h5py, sys; sys.exit(h5py.get_config().mpi)'; then
        echo "h5py stays the one from PyPI: every rank reads and writes its own rows for itself"
    fi
}
if [ -n "$mpich" ]; then
    if ! has 'import importlib.metadata as m; m.version("mpich"); m.version("mpi4py")'; then install_mpich; fi
    try_and_end
fi
if has 'import h5py, mpi4py, sys; sys.exit(not h5py.get_config().mpi)'; then
    echo "$venv has mpi4py and a parallel h5py already"
    try_and_end
fi


if ! complete && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Open MPI, parallel HDF5 and a C compiler with apt-get"
    packages=(gcc libc6-dev openmpi-bin libopenmpi-dev libhdf5-openmpi-dev)
    case $("$python" -c 'import sys; print(sys.base_prefix)') in
    /usr) [ -f "$(headers)" ] || packages+=("lib$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')-dev") ;;
    esac
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update -qq &&
        apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        echo "warning: apt-get failed"
fi
if ! complete; then
    say "no parallel HDF5 can be built here"
    report
    echo "Then run this again. Until then:"
    if compiles; then
        say "installing mpi4py for the MPI of $(command -v mpicc) into $venv"
        "${pip[@]}" install 'mpi4py>=4.1'
    else
        install_mpich
    fi
    try_and_end
fi
hdf5=$(parallel_hdf5)

# --- h5py: built once, in an environment of its own, and cached
version=$("$python" -c 'import importlib.metadata as m; print(m.version("h5py"))')
built_for=$("$python" -c 'import sys; print(sys.implementation.cache_tag)')-$(mpicc -show 2>/dev/null |
    cat - "$hdf5"/include/H5pubconf*.h <(echo "$hdf5") | cksum | cut -d' ' -f1)
folder="$cache/h5py-$version-$built_for"
"${pip[@]}" install 'mpi4py>=4.1'
if ! ls "$folder"/h5py-*.whl >/dev/null 2>&1; then
    say "compiling h5py $version with $(command -v mpicc) and HDF5 in $hdf5 (two minutes or so)"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/building-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv "$work/venv"
    # Installed here and not isolated by pip: h5py asks for an mpi4py without wheels, which compiles for ten minutes.
    "$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
        'Cython>=3,<4' 'mpi4py>=4.1' 'numpy>=2' packaging 'pkgconfig>=1.5.5' 'setuptools>=77.0.1' wheel
    printf '[build_ext]\nparallel=%s\n' "$(nproc)" >"$work/build.cfg"
    CC=mpicc CFLAGS="${CFLAGS:--O1 -g0 -w}" DIST_EXTRA_CONFIG="$work/build.cfg" HDF5_MPI=ON HDF5_DIR="$hdf5" \
        H5PY_SETUP_REQUIRES=0 "$work/venv/bin/python" -m pip --disable-pip-version-check --quiet wheel --no-deps \
        --no-build-isolation --no-binary=h5py --no-cache-dir --wheel-dir "$work/wheel" "h5py==$version"
    rm -rf "$folder"
    mv "$work/wheel" "$folder" # in one step: a build that was cut short leaves nothing to be taken for a wheel
fi
say "installing h5py $version with parallel HDF5 into $venv"
"${pip[@]}" install --no-deps --force-reinstall "$folder"/h5py-*.whl

# mpi4py must load the very library that HDF5 was built with, whatever else lies in the environment.
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
library=$(ldd "$packages"/h5py/h5.*.so | awk '$1 ~ /^libmpi(ch)?\.so/ && $3 ~ "^/" {print $3; exit}')
if [ -n "$library" ]; then
    echo "import os; os.environ.setdefault('MPI4PY_LIBMPI', '$library')" >"$packages/mpi_library.pth"
fi
try_and_end

#!/usr/bin/env bash
# Fetch the packages that a bare machine with a GPU lacks, to travel with the checkout: it may reach no package index.
# usage: bash scripts/gpu_wheels.sh [DIR=.whl]     (about 35 MiB, at most 60; then see scripts/gpu_acceptance.sh)
# Expected there: Python (PYTHON_VERSION, 3.12), PyTorch for CUDA with Triton, NumPy, SciPy, h5py, numba, pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.whl}
python=${PYTHON_VERSION:-3.12}
packages=(
    pydantic argcomplete k3d annotated-types typing-inspection typing-extensions ase gemmi mrcfile pyyaml tqdm jaxtyping wadler-lindig beartype
    matplotlib contourpy cycler fonttools kiwisolver pillow pyparsing python-dateutil six packaging
    pytest-timeout pytest-mpi pytest-xdist execnet
)
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
fetch() {
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" --implementation cp \
        "${platforms[@]/#/--platform=}" --dest "$out" "$@"
}
mkdir -p "$out"
rm -f "$out"/*.whl
fetch "${packages[@]}"
# pydantic works with one version of its core only, which it names
core=$(unzip -p "$out"/pydantic-[0-9]*.whl '*/METADATA' | sed -n 's/^Requires-Dist: pydantic-core==\([0-9.]*\).*/\1/p')
fetch "pydantic-core==$core"
size=$(du -sm "$out" | cut -f1)
printf '%s: %s packages, %s MiB\n' "$out" "$(ls "$out" | wc -l)" "$size"
[ "$size" -le 60 ] || { echo "error: $out has $size MiB; expected at most 60, so that it can travel with the checkout" >&2; exit 1; }

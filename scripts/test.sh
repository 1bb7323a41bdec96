#!/usr/bin/env bash
# Set up and run every check: style, types, tests. Arguments go to pytest, for instance `scripts/test.sh -k rotation`.
# With --fast as its first argument: style, types, and the quick tests that cover every room (tests/conftest.py).
# Three processes share the files, as many tests wait for others; `-n 0` runs them one after the other, as `--pdb` needs.
# As root on Debian or Ubuntu, all but --fast also install MPI and SLURM for tests/cluster; elsewhere these are skipped, with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
fast=()
if [ "${1:-}" = --fast ]; then
    fast=(--fast)
    shift
fi
bash scripts/setup.sh test
[ ${#fast[@]} -gt 0 ] || bash scripts/setup_cluster.sh
bin=${DPTT_VENV:-.venv}/bin
printf '\n== style and types\n'
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
if [ ${#fast[@]} -eq 0 ]; then
    printf '\n== package\n'
    bash scripts/check_package.sh
fi
printf '\n== tests\n'
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # many small problems: one thread each is fastest
exec "$bin/python" -m pytest --color=no -n 3 --dist loadfile --no-loadscope-reorder "${fast[@]}" "$@"

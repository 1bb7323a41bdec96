#!/usr/bin/env bash
# Set up and run every check: style, types, tests. Arguments go to pytest, for instance `scripts/test.sh -k rotation`.
# Two processes share the tests (see tests/conftest.py); `-n 0` runs them one after the other, as `--pdb` needs.
# As root on Debian or Ubuntu it also installs MPI and SLURM for tests/cluster; elsewhere these say why they are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test
bash scripts/setup_cluster.sh
bin=${DPTT_VENV:-.venv}/bin
printf '\n== style and types\n'
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
printf '\n== tests\n'
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # many small problems: one thread each is fastest
exec "$bin/python" -m pytest --color=no -n 2 --no-loadscope-reorder "$@"

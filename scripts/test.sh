#!/usr/bin/env bash
# Set up and run every check: style, types, tests. Arguments go to pytest, for instance `scripts/test.sh -k rotation`.
# With --fast as its first argument: style, types, and the tests of single functions; no annotations are checked and no processes started.
# With --all, as CI runs it: also the documentation site, and what tests/conftest.py calls thorough, such as launchers and SLURM in tests/cluster. As root on
# Debian or Ubuntu it installs MPI and SLURM for these; elsewhere they are skipped, with the reason.
# Three processes share the files, as many tests wait for others; `-n 0` runs them one after the other, as `--pdb` needs.
set -euo pipefail
cd "$(dirname "$0")/.."
level=()
case "${1:-}" in --fast | --all)
    level=("$1")
    shift
    ;;
esac
if [ "${level[*]}" = --all ]; then
    bash scripts/setup.sh test,docs
    bash scripts/setup_cluster.sh
else
    bash scripts/setup.sh test
fi
bin=${DPTT_VENV:-.venv}/bin
printf '\n== style and types\n'
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
if [ "${level[*]}" = --all ]; then
    printf '\n== package\n'
    bash scripts/check_package.sh
    printf '\n== documentation\n'
    bash scripts/docs.sh
fi
printf '\n== tests\n'
unset PYTHONDONTWRITEBYTECODE  # or every process would compile every file again: two thirds of the collection
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # many small problems: one thread each is fastest
exec "$bin/python" -m pytest --color=no -n 3 --dist loadfile --no-loadscope-reorder "${level[@]}" "$@"

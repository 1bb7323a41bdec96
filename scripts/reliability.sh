#!/usr/bin/env bash
# The tests of docs/reliability.md at full length, for a night: 5000 mutations of every kind of file and of the
# configuration, 750 kills of ranks and 500 of every command, beside what scripts/test.sh runs anyway. Arguments go to
# pytest.
#   DPTT_MUTATIONS=10000 bash scripts/reliability.sh -k config     10000 mutated configurations alone
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" DPTT_MUTATIONS="${DPTT_MUTATIONS:-5000}" DPTT_KILLS="${DPTT_KILLS:-500}"
exec "${DPTT_VENV:-.venv}/bin/python" -m pytest --color=no -n 2 --dist load --timeout=0 \
    tests/config/test_mutations.py tests/io/test_mutated_files.py tests/io/test_mutated_imports.py \
    tests/io/test_mutated_hdf5.py \
    tests/commands/test_kills_at_any_moment.py \
    tests/commands/test_killed_ranks.py tests/commands/test_killed_commands.py tests/commands/test_damaged_checkpoint.py \
    tests/commands/test_two_jobs.py tests/runtime/test_folder_lock.py "$@"

#!/usr/bin/env bash
# What a GPU must show before dptt is trusted on it: correctness, speed, the quickstart, [P]'s experiment, memory.
# usage, on the machine with the GPU: bash scripts/gpu_acceptance.sh OUT [--rehearse] [--minutes 9] [--only PART ...]
# Packages that the machine lacks and cannot fetch: scripts/gpu_wheels.sh makes a folder .whl of them beforehand.
# After every part OUT/acceptance.json and OUT/acceptance.txt are written anew; a part that fails or runs out of time
# costs nothing of the others. --rehearse runs the same parts, small, on a CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
site=
if compgen -G '.whl/*.whl' >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
fi
export PYTHONPATH="${site:+$site:}$PWD:$PWD/scripts${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
"$python" -m gpu_acceptance "$@"

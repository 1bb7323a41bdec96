#!/usr/bin/env bash
# From a clean clone to atoms in 3D: set up, simulate a small particle, reconstruct it, judge it, write a report.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
dptt() {
    printf '\n== dptt %s\n' "$*"
    "${DPTT_VENV:-.venv}/bin/dptt" "$@"
}
config=jobs/configs/00_minimal.yaml
begin=$(date +%s)
dptt simulate "$config" --overwrite
dptt validate "$config"
dptt reconstruct "$config" --restart
dptt analyze "$config"
dptt report runs/minimal
printf '\n== done in %s s after set-up. Open %s in a browser.\n' "$(($(date +%s) - begin))" "$PWD/runs/minimal/report.html"
"${DPTT_VENV:-.venv}/bin/python" -c '
import json
from dptt.analysis.summary import summary
print("  ", summary(json.load(open("runs/minimal/analysis.json")))[0])'

#!/usr/bin/env bash
# Build the documentation site into build/site; a warning is an error. `scripts/docs.sh serve` shows it on localhost while it is edited.
# Needs the extra `docs`:  pip install -e .[docs]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-${DPTT_VENV:-.venv}/bin/python}
"$python" scripts/options_page.py --check || { echo "docs/options.md is out of date: run python scripts/options_page.py" >&2; exit 1; }
exec "$python" -m mkdocs "${1:-build}" --strict

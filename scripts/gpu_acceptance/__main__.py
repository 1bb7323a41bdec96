"""Run the parts and write `acceptance.json` and `acceptance.txt`; see `scripts/gpu_acceptance.sh`."""

import argparse
import sys
from pathlib import Path

from gpu_acceptance.parts import PARTS
from gpu_acceptance.runner import run_parts


def main() -> int:
    """Return 0 if every part that was asked for passed, else 1."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_acceptance.sh", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument("--rehearse", action="store_true", help="the same parts, small, on a CPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="end within this time; default: %(default)g")
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    options = parser.parse_args()
    parts = [part for part in PARTS if part.name in options.only]
    return 0 if run_parts(parts, options.output, options.rehearse, 60 * options.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())

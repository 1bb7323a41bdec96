#!/usr/bin/env python
"""A series with all errors of an experiment, by abTEM and NumPy alone, and what dptt finds in it.

    python scripts/experiment_study.py make FOLDER [--seed S] [--without blur scan ...] [--fluence E]
    dptt run FOLDER/config.yaml
    python scripts/experiment_study.py judge FOLDER FOLDER/run

`make` writes arrays, the true errors (truth.json), and a configuration that is told none of them, and imports the
series (`pip install abtem`). `judge` prints a table. `check` compares the patterns with abTEM's own multislice.
"""

import argparse
from pathlib import Path

import numpy as np
from experiment_study.check import worst_difference
from experiment_study.errors import GROUPS, Sizes, changed
from experiment_study.judge import table
from experiment_study.series import LARGEST_TILT, specimen, write_configuration, write_tilts

from dptt.commands.importing import import_series
from dptt.config import load_config
from dptt.logs import set_up_logging


def main() -> None:
    """Make a series, judge a run, or check the patterns."""
    options = _parser().parse_args()
    set_up_logging(0)
    if options.command == "make":
        _make(options)
    elif options.command == "judge":
        print("\n".join(table(options.folder, options.run)))
    else:
        print(
            f"largest difference from abTEM's own patterns: {100 * worst_difference():.2f} % of their brightest pixel"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write and import a series")
    make.add_argument("folder", type=Path)
    make.add_argument("--diameter", type=float, default=17.6, help="of the particle [Å]")
    make.add_argument("--atoms", type=int, help="only so many, the innermost ones")
    make.add_argument("--tilts", type=int, default=17)
    make.add_argument("--seed", type=int, default=0, help="of the errors and the noise")
    make.add_argument("--specimen-seed", type=int, default=0)
    make.add_argument("--fluence", type=float, default=5e4, help="of a tilt [e/Å²]")
    errors = make.add_mutually_exclusive_group()
    errors.add_argument("--without", nargs="+", choices=GROUPS, default=[], help="errors that are switched off")
    errors.add_argument("--only", nargs="+", choices=GROUPS, help="all others are switched off; not noise, coherence")
    make.add_argument("--size", nargs="+", default=[], metavar="NAME=VALUE", help="of single errors, see `Sizes`")
    judge = commands.add_parser("judge", help="print what a run found")
    judge.add_argument("folder", type=Path)
    judge.add_argument("run", type=Path)
    commands.add_parser("check", help="compare with abTEM's multislice")
    return parser


def _make(options: argparse.Namespace) -> None:
    sizes = changed(Sizes(), options.size).without(options.without)
    if options.only:
        sizes = sizes.only(options.only)
    atoms = specimen(options.diameter, options.atoms, options.specimen_seed)
    print(
        f"{atoms.symbols.formula.count()}, radius {np.linalg.norm(atoms.positions, axis=1).max():.2f} Å", flush=True
    )
    angles = np.linspace(-LARGEST_TILT, LARGEST_TILT, options.tilts).round(3)
    write_tilts(options.folder, atoms, angles, sizes, options.fluence, options.seed)
    import_series(load_config(write_configuration(options.folder)), overwrite=True)


if __name__ == "__main__":
    main()

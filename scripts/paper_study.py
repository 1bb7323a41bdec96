#!/usr/bin/env python
"""The benchmarks of [P], small enough for two cores: paper_study.py pt|te [--stage NAME ...] [section.key=value ...].

Every stage prints a table with its numbers next to those of the paper and saves a figure in the run's folder. A stage
that has finished with the same configuration is not repeated.
"""

import argparse
from pathlib import Path

from paper_study import platinum, tellurium
from paper_study.stages import run_stages

from dptt.config import load_config
from dptt.logs import set_up_logging

CONFIGS = Path(__file__).resolve().parents[1] / "jobs" / "configs"
STUDIES = {
    "pt": (CONFIGS / "20_pt_alumina.yaml", platinum.STAGES),
    "te": (CONFIGS / "22_te_nanotube.yaml", tellurium.STAGES),
}


def main() -> None:
    """Run the stages of one study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes of the configuration")
    parser.add_argument("--config", type=Path, help="another configuration, for instance the full size for a GPU")
    parser.add_argument("--stage", nargs="+", help="only these stages")
    parser.add_argument("--figures", type=Path, help="folder for copies of the figures")
    options = parser.parse_args()
    path, stages = STUDIES[options.study]
    names = [stage.name for stage in stages]
    if set(options.stage or []) - set(names):
        parser.error(f"--stage {' '.join(options.stage)}: expected one or more of {', '.join(names)}")
    set_up_logging(0)
    config = load_config(options.config or path, options.overrides)
    run_stages([s for s in stages if s.name in (options.stage or names)], config, options.figures)


if __name__ == "__main__":
    main()

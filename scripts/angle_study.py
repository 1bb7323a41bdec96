#!/usr/bin/env python
"""Whether refined angles are better than the stage's: angle_study.py FOLDER [--case NAME ...] [--error DEG ...].

Five small series, of which abTEM computes the patterns (`pip install abtem`), with stage angles that are wrong by up
to 0, 0.2 and 0.5 degrees. Each is run twice, with angles left alone and with angles refined by `dptt align` and
inside the loop. The script prints a line for each series. DPTT_DATA names the folder of third-party data sets. What
has been run before is not repeated.
"""

import argparse
from pathlib import Path

import numpy as np
from angle_study.abtem_series import write_abtem_series
from angle_study.cases import CASES, configuration

from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.commands.run import run
from dptt.config import Config
from dptt.distributed.comm import SerialCommunicator
from dptt.io.alignment import read_alignment
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume
from dptt.logs import set_up_logging
from dptt.runtime.health import POSE_ERRORS
from dptt.runtime.results import load_analysis

TITLES = (
    "series",
    "e/Å²",
    "stage error [°]",
    "rms angle error nominal / align / loop [°]",
    "kept",
    "rms translation error align / loop [Å]",
    "z of kept angles",
    "z of translations (align)",
    "atoms found / true / false, angles alone",
    "the same, refined",
)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--error", nargs="+", type=float, default=[0.0, 0.2, 0.5])
    options = parser.parse_args()
    set_up_logging(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}", flush=True)
    for error in options.error:
        for name in options.case:
            print(_row(name, error, options.folder), flush=True)


def _row(name: str, stage_error: float, folder: Path) -> str:
    alone, refined = (configuration(name, stage_error, folder, refine=refine) for refine in (False, True))
    if not alone.series.exists():
        write_abtem_series(alone)
    for config in (alone, refined):
        run(config.model_copy(update={"simulation": None}), SerialCommunicator())
    nominal, true = _poses_of_series(alone)
    aligned = read_alignment(refined.run / "alignment.h5")
    volume = read_volume(refined.run / "volume.h5")
    errors = {
        "nominal": pose_errors(nominal, true),
        "align": pose_errors(_poses([(t.euler_angles, t.translation) for t in aligned.tilts.values()]), true),
        "loop": pose_errors(_poses([(t.euler_angles, t.translation) for t in volume.tilts.values()]), true),
    }
    deviations = np.array([[t.attributes.get(key, 0.0) for key in POSE_ERRORS] for t in volume.tilts.values()])
    translation_errors = np.array([t.errors[3:] for t in aligned.tilts.values()])
    kept = [axis for axis, moved in zip(("phi", "theta", "psi"), deviations[:, :3].any(0), strict=True) if moved]
    cells = (
        name,
        f"{CASES[name].fluence:.0e}",
        f"{stage_error:g}",
        " / ".join(f"{_rms(one.geodesic):.3f}" for one in errors.values()),
        ", ".join(kept) or "none",
        " / ".join(f"{_rms(errors[step].translation):.3f}" for step in ("align", "loop")),
        _scores(errors["loop"].euler, deviations[:, :3]),
        _scores(errors["align"].translation, translation_errors),
        _atoms(alone),
        _atoms(refined),
    )
    return f"| {' | '.join(cells)} |"


def _poses_of_series(config: Config) -> tuple[TiltPoses, TiltPoses]:
    """Return nominal and true poses."""
    with TiltSeries.open(config.series) as series:
        truth = series.truth()
        assert truth is not None
        nominal, true = ([(t.euler_angles, t.translation) for t in tilts] for tilts in (series.tilts, truth.tilts))
    return _poses(nominal), _poses(true)


def _poses(pairs: list) -> TiltPoses:
    return TiltPoses(np.array([angles for angles, _ in pairs]), np.array([translation for _, translation in pairs]))


def _scores(errors: np.ndarray, deviations: np.ndarray) -> str:
    """Return the rms of error / standard deviation, of those that have one."""
    known = deviations > 0
    return f"{_rms(errors[known] / deviations[known]):.2f}" if known.any() else "-"


def _atoms(config: Config) -> str:
    match = (load_analysis(config.run) or {})["atoms"]["match"]
    found = round(match["recall"] * match["num_true"])
    return f"{found} / {match['num_true']} / {match['num_found'] - found}"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


if __name__ == "__main__":
    main()

"""The two half-sets of a run: the same steps with one half of the patterns each, in folders `half_1` and `half_2`.

They are independent from ptychography on: each has its own probes and, where these are aligned or refined, its own
poses and scan positions. Only the bright-field calibration, a few numbers for the whole series, is that of all data.
"""

import shutil
from pathlib import Path

from dptt.config import Config, expand_path
from dptt.io.atomic_write import write_beside
from dptt.io.dataset import TiltSeries
from dptt.runtime.steps import current_identity, is_up_to_date

HALVES: tuple[int, int] = (1, 2)


def wants_half_sets(config: Config) -> bool:
    """Return whether `dptt run` makes half-sets: if asked to, by default if there is no true potential."""
    asked = config.analysis.half_sets
    if config.half is not None or isinstance(asked, tuple):
        return False
    if asked != "auto":
        return bool(asked)
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        return not series.has_true_potential()


def half_configs(config: Config) -> list[Config]:
    """Return the configurations of the two halves, which differ from that of the run in `run` and `half`."""
    return [config.model_copy(update={"run": config.run / f"half_{half}", "half": half}) for half in HALVES]


def share_calibration(config: Config, half: Config) -> None:
    """Copy the bright-field calibration of a run, if it has one, into the folder of a half."""
    if config.brightfield is None:
        return
    half.run.mkdir(parents=True, exist_ok=True)
    with write_beside(half.run / "brightfield.h5", overwrite=True) as partial:
        shutil.copyfile(config.run / "brightfield.h5", partial)


def half_set_files(config: Config) -> tuple[Path, Path] | None:
    """Return the volume files of two half-sets: those that the configuration names, or those of the run.

    None if there are none, or not with the present settings and series.
    """
    asked = config.analysis.half_sets
    if isinstance(asked, tuple):
        return expand_path(asked[0]), expand_path(asked[1])
    if asked is False or config.half is not None:
        return None
    halves, step = half_configs(config), "reconstruction"
    if not all(is_up_to_date(step, half, current_identity(step, half)) for half in halves):
        return None
    first, second = (half.run / "volume.h5" for half in halves)
    return first, second


def half_sets_are_outdated(config: Config) -> bool:
    """Return whether the run has half-sets that `half_set_files` leaves out: of other settings, or damaged."""
    asked = config.analysis.half_sets is not False
    present = all((half.run / "volume.h5").exists() for half in half_configs(config))
    return asked and config.half is None and present and half_set_files(config) is None

"""What earlier steps of a run found out, handed to the next one: the order of [P] figure 1."""

from dataclasses import replace
from pathlib import Path

import h5py

from dptt.build.start import TiltStart, series_start
from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.ptychography import read_tilt_image


def start_of_ptychography(config: Config, series: TiltSeries) -> dict[str, TiltStart]:
    """Return what is known of every tilt before [P] Algorithm 1: the file, and the bright-field calibration."""
    return series_start(series)


def start_of_reconstruction(config: Config, series: TiltSeries) -> dict[str, TiltStart]:
    """Return what is known of every tilt before [P] Algorithm 3: probes, positions and poses of the steps before.

    A step counts if the configuration has its section.

    Raises
    ------
    ProblemsError
        A section is there but its result is not.
    """
    starts = start_of_ptychography(config, series)
    if config.ptychography is not None:
        path = require(config.run / "ptychography.h5", "ptycho")
        with h5py.File(path, "r", locking=False) as file:
            done = [name for name in file["tilts"] if name in starts]
        for name in done:
            image = read_tilt_image(path, name)
            starts[name] = replace(starts[name], scan_positions=image.scan_positions, probe=image.probe)
    return starts


def require(path: Path, command: str) -> Path:
    """Return `path`, the result of another command.

    Raises
    ------
    ProblemsError
        It is not there; the message says which command makes it.
    """
    if not path.exists():
        raise ProblemsError(
            path, [f"there is no such file; the configuration has its section. Run `dptt {command}` or `dptt run`."]
        )
    return path

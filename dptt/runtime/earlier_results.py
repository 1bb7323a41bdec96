"""What earlier steps of a run found out, handed to the next one: the order of [P] figure 1."""

from dataclasses import replace
from pathlib import Path

import h5py
import torch

from dptt.assembly.brightfield import calibrated_tilt
from dptt.assembly.start import TiltStart, series_start
from dptt.config import Config
from dptt.io.alignment import read_alignment
from dptt.io.brightfield import read_calibration
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.ptychography import read_tilt_image
from dptt.logs import log
from dptt.solvers.brightfield import Calibration


def start_of_ptychography(config: Config, series: TiltSeries) -> dict[str, TiltStart]:
    """Return what is known of every tilt before [P] Algorithm 1: the file, and the bright-field calibration.

    Raises
    ------
    ProblemsError
        The configuration has a section `brightfield` but there is no result of it.
    """
    starts, said = calibrated_starts(config, series)
    for sentence, names in said.items():
        log.info(f"tilt{'s' * (len(names) > 1)} {', '.join(names)}: {sentence}")
    return starts


def calibrated_starts(config: Config, series: TiltSeries) -> tuple[dict[str, TiltStart], dict[str, list[str]]]:
    """Return what file and bright field say of every tilt, and what was kept or changed: sentence -> tilts."""
    starts = series_start(series)
    said: dict[str, list[str]] = {}
    if config.brightfield is None:
        return starts, said
    found = read_calibration(require(config.run / "brightfield.h5", "brightfield"))
    for tilt in series.tilts:
        if tilt.name in found.tilts:
            use = calibrated_tilt(tilt, series, found)
            said.setdefault(use.sentence, []).append(tilt.name)
            starts[tilt.name] = _calibrated(starts[tilt.name], use, config.brightfield.tilt_axis == "scan")
    return starts, said


def _calibrated(start: TiltStart, use: Calibration, axis_turns: bool) -> TiltStart:
    """Return a start in the frame of the detector and with the optics that the bright field found."""
    euler_angles, translation = start.euler_angles, start.translation
    if axis_turns:
        euler_angles, translation = use.pose(euler_angles, translation)
    return replace(
        start,
        euler_angles=euler_angles,
        translation=translation,
        scan_positions=use.positions(torch.from_numpy(start.scan_positions)).numpy(),
        aberrations=use.aberrations,
    )


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
    if config.alignment is not None:
        for name, tilt in read_alignment(require(config.run / "alignment.h5", "align")).tilts.items():
            if name in starts:
                starts[name] = replace(starts[name], euler_angles=tilt.euler_angles, translation=tilt.translation)
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

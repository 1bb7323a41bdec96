"""Results of earlier steps of a run: where the next step starts, in the order of [P] figure 1."""

from dataclasses import replace
from pathlib import Path

import torch

from dptt.assembly.brightfield import calibrated_tilt
from dptt.assembly.start import TiltStart, series_start
from dptt.config import Config
from dptt.io.alignment import read_alignment
from dptt.io.brightfield import read_calibration
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.ptychography import linked_tilts, read_tilt_image
from dptt.logs import log
from dptt.model.calibration import parameters_of
from dptt.solvers.brightfield import Calibration


def start_of_ptychography(config: Config, series: TiltSeries, *, said: bool = True) -> dict[str, TiltStart]:
    """Return the start of every tilt for [P] Algorithm 1, from the series and the bright-field calibration.

    What was kept or changed is logged if `said`.

    Raises
    ------
    ProblemsError
        The configuration has a section `brightfield` but the result does not exist.
    """
    starts, sentences = calibrated_starts(config, series)
    for sentence, names in sentences.items() if said else ():
        log.info(f"tilt{'s' * (len(names) > 1)} {', '.join(names)}: {sentence}")
    return starts


def calibrated_starts(config: Config, series: TiltSeries) -> tuple[dict[str, TiltStart], dict[str, list[str]]]:
    """Return the calibrated start of every tilt, and sentences on what was kept or changed, with their tilts."""
    starts = series_start(series)
    sentences: dict[str, list[str]] = {}
    if config.brightfield is None:
        return starts, sentences
    calibration = read_calibration(require(config.run / "brightfield.h5", "brightfield"))
    for tilt in series.tilts:
        if tilt.name in calibration.tilts:
            use = calibrated_tilt(tilt, series, calibration)
            sentences.setdefault(use.sentence, []).append(tilt.name)
            starts[tilt.name] = _calibrated(starts[tilt.name], use, config.brightfield.tilt_axis == "scan")
    return starts, sentences


def _calibrated(start: TiltStart, use: Calibration, axis_follows_scan: bool) -> TiltStart:
    """Return a start in the frame of the detector and with the optics from the bright field."""
    euler_angles, translation = start.euler_angles, start.translation
    if axis_follows_scan:
        euler_angles, translation = use.pose(euler_angles, translation)
    return replace(
        start,
        euler_angles=euler_angles,
        translation=translation,
        scan_positions=use.positions(torch.from_numpy(start.scan_positions)).numpy(),
        aberrations=use.aberrations,
    )


def start_of_reconstruction(config: Config, series: TiltSeries, *, said: bool = True) -> dict[str, TiltStart]:
    """Return the start of every tilt for [P] Algorithm 3: probe, positions and pose from the earlier steps.

    Only steps whose section is in the configuration are used. What the first of them kept or changed is logged if
    `said`.

    Raises
    ------
    ProblemsError
        The configuration has a section whose result does not exist.
    """
    starts = start_of_ptychography(config, series, said=said)
    if config.ptychography is not None:
        path = require(config.run / "ptychography.h5", "ptycho")
        for name in linked_tilts(path):
            if name not in starts:
                continue
            image = read_tilt_image(path, name)
            starts[name] = replace(
                starts[name],
                scan_positions=image.scan_positions,
                probe=image.probe,
                calibration=parameters_of(image.attributes),
            )
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
        It does not exist; the message names the command that writes it.
    """
    if not path.exists():
        raise ProblemsError(
            path,
            [f"the file does not exist, but the configuration has its section. Run `dptt {command}` or `dptt run`."],
        )
    return path

"""`dptt validate`: what was checked, what could not be, and what is wrong, as a table; needs no GPU."""

import hashlib
import json

import numpy as np

from dptt import __version__
from dptt.assembly.geometry import depth_of_field
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.start import sample_patterns
from dptt.assembly.validation import Check, as_json, check_series, table
from dptt.assembly.validation.record import UNKNOWN, WRONG
from dptt.config import Config
from dptt.config.schedules import without_effect
from dptt.io.atomic_write import replace_text
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.pattern_checks import check_patterns
from dptt.logs import log, progress_bar
from dptt.model.forward import Geometry
from dptt.runtime.folders import prepare_folder
from dptt.runtime.steps import series_checksum

LARGEST_READ = 8 * 2**30
"""Bytes of patterns that are checked one by one; of a larger series every second, third, ... pattern is."""


def validate(config: Config, *, before_run: bool = False) -> list[Check]:
    """Check files, grids, calibration and patterns; log a table and store it as validation.json in the run folder.

    Faults that make a reconstruction impossible or meaningless are errors; nothing is stored then. All others are
    warnings. With `before_run`, only those that make it meaningless are errors: a step that cannot do its work says
    so itself, and most do theirs without a bad tilt.

    Returns
    -------
    list[Check]
        The table.

    Raises
    ------
    ProblemsError
        With all errors.
    """
    errors: list[str] = []
    checks: list[Check] = []
    try:
        prepare_folder(config.run)
    except ProblemsError as error:
        errors.append(str(error))
    try:
        series_errors, checks = _check_series(config)
        errors += series_errors
    except ProblemsError as error:
        errors += error.problems if error.subject == str(config.series) else [str(error)]
    for line in table(checks) if checks else ():
        log.info(line)
    warnings = [check.sentence for check in checks if check.verdict == WRONG and not check.meaningless]
    if before_run:
        errors, warnings = [], errors + warnings
    else:  # a step says so itself
        warnings += _schedules_without_effect(config)
    errors += [check.sentence for check in checks if check.verdict == WRONG and check.meaningless]
    for warning in warnings:
        log.warning(f"warning: {warning}")
    for check in checks:
        if check.verdict == UNKNOWN and check.cure:
            log.info(f"note: {check.item}: {check.told}: {check.measured}. {check.cure}")
    if errors and before_run:
        errors.append("to reconstruct it all the same, add --no-validate")
    if errors:
        raise ProblemsError(config.series, errors)
    _store(checks, config)
    log.info(f"valid: no errors, {len(warnings)} warning{'s' * (len(warnings) != 1)}")
    return checks


def validation_is_up_to_date(config: Config) -> bool:
    """Return whether validation.json was made of this series and volume by this version."""
    try:
        stored = json.loads((config.run / "validation.json").read_text(encoding="utf-8"))
        return isinstance(stored, dict) and stored.get("identity") == _identity(config)
    except (OSError, ValueError):
        return False


def _identity(config: Config) -> str:
    """Return what a validation depends on, as a hash."""
    text = f"{__version__} {series_checksum(config)} {config.volume.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()


def _check_series(config: Config) -> tuple[list[str], list[Check]]:
    """Return errors of the series, its grids and its patterns, and the table of its calibration."""
    errors: list[str] = []
    geometry: Geometry | None = None
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        errors += [problem for problems in series.unreadable.values() for problem in problems]
        try:
            geometry = plan_series_geometry(config, series)
        except ProblemsError as error:
            errors += error.problems
        else:
            _log_summary(series, geometry)
        every = max(1, -(-sum(map(_bytes, series.tilts)) // LARGEST_READ))
        with progress_bar("validate", "tilt") as progress:
            for done, tilt in enumerate(series.tilts):
                sample = sample_patterns(tilt, series, np.arange(tilt.num_positions))
                empty_is_faulty = sample.limits.least > 0 or sample.limits.typical == 0
                errors += check_patterns(tilt, every=every, empty_is_faulty=empty_is_faulty)
                if sample.refusal:
                    errors.append(f"tilts/{tilt.name}: {sample.refusal}.")
                progress.update(done + 1, len(series.tilts))
        if every > 1:
            log.info(f"counts: checked in one of {every} patterns, because the series is large")
        return errors, check_series(series, geometry)


def _bytes(tilt: Tilt) -> int:
    return tilt.num_positions * int(np.prod(tilt.detector_shape)) * tilt.dtype.itemsize


def _schedules_without_effect(config: Config) -> list[str]:
    ptychography = [] if config.ptychography is None else without_effect(config.ptychography, "ptychography")
    return ptychography + without_effect(config.reconstruction, "reconstruction")


def _store(checks: list[Check], config: Config) -> None:
    content = {"identity": _identity(config), "checks": as_json(checks)}
    replace_text(config.run / "validation.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _log_summary(series: TiltSeries, geometry: Geometry) -> None:
    tilt = series.tilts[0]
    thetas = [t.euler_angles[1] for t in series.tilts]
    reach = np.abs(np.concatenate([t.scan_positions() for t in series.tilts])).max(0)
    for line in (
        f"series: {len(series.tilts)} tilts, {min(thetas):g}° to {max(thetas):g}°, {tilt.num_positions} patterns of "
        f"{tilt.detector_shape[0]} x {tilt.detector_shape[1]} {tilt.dtype} each",
        f"beam: {series.energy / 1e3:g} keV, wavelength {geometry.wavelength:.5f} Å, semi-angle "
        f"{series.semiangle_cutoff:g} mrad, depth of field "
        f"{depth_of_field(series.energy, series.semiangle_cutoff):.1f} Å",
        f"scan: within ±{reach[0]:.1f} Å (y) and ±{reach[1]:.1f} Å (x) of the rotation axis",
        f"volume: {' x '.join(map(str, geometry.volume_shape))} voxels of {geometry.voxel_size[2]:.4g} Å, "
        f"{geometry.num_slices} slices of {geometry.slice_thickness:.3g} Å",
    ):
        log.info(line)

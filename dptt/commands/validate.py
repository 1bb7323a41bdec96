"""`dptt validate`: all errors and warnings about a configuration and its series at once; needs no GPU."""

import numpy as np

from dptt.assembly.checks import calibration_warnings, geometry_warnings
from dptt.assembly.geometry import depth_of_field
from dptt.assembly.orientation_warnings import orientation_warnings
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.start import sample_patterns
from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.pattern_checks import check_patterns
from dptt.logs import log, progress_bar
from dptt.model.forward import Geometry
from dptt.runtime.folders import prepare_folder


def validate(config: Config) -> list[str]:
    """Check files, grids, calibration and every pattern; log a summary and return the warnings.

    Errors make a reconstruction impossible or meaningless and are raised; warnings are only logged.

    Raises
    ------
    ProblemsError
        With all errors.
    """
    errors: list[str] = []
    warnings: list[str] = []
    try:
        prepare_folder(config.run)
    except ProblemsError as error:
        errors.append(str(error))
    try:
        series_errors, warnings = _check_series(config)
        errors += series_errors
    except ProblemsError as error:
        errors.append(str(error))
    for warning in warnings:
        log.warning(f"warning: {warning}")
    if errors:
        raise ProblemsError(config.series, errors)
    log.info(f"valid: no errors, {len(warnings)} warning{'s' * (len(warnings) != 1)}")
    return warnings


def _check_series(config: Config) -> tuple[list[str], list[str]]:
    """Return errors and warnings about the series, its grids and all its patterns."""
    errors: list[str] = []
    warnings: list[str] = []
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        errors += [problem for problems in series.unreadable.values() for problem in problems]
        try:
            geometry = plan_series_geometry(config, series)
        except ProblemsError as error:
            errors += error.problems
        else:
            _log_summary(series, geometry)
            warnings += geometry_warnings(series, geometry)
        with progress_bar("validate", "tilt") as progress:
            for done, tilt in enumerate(series.tilts):
                sample = sample_patterns(tilt, series, np.arange(tilt.num_positions))
                errors += check_patterns(tilt, empty_is_faulty=sample.limits.least > 0 or sample.limits.typical == 0)
                if sample.refusal:
                    errors.append(f"tilts/{tilt.name}: {sample.refusal}.")
                warnings += calibration_warnings(tilt, series)
                progress.update(done + 1, len(series.tilts))
        if not errors:
            warnings += orientation_warnings(series)
    return errors, warnings


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

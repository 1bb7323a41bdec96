"""Whether the scan lies against the detector as the file says: one bright-field estimate for `dptt validate`."""

import numpy as np

from dptt.assembly.brightfield import BrightFieldError, bright_field_data, file_orientation, raster_matrix
from dptt.assembly.geometry import depth_of_field
from dptt.io.dataset import TiltSeries
from dptt.solvers.brightfield import MeasuredOptics, calibrated, estimate_optics
from dptt.solvers.brightfield.evidence import evidence_sentence, settings_sentence

SMALLEST_SCAN = 8
"""Positions along either side; the orientation of a smaller scan is not judged."""


def orientation_warnings(series: TiltSeries) -> list[str]:
    """Return a warning if the least tilted tilt contradicts the orientation of the scan in the file.

    There is none if the tilt cannot tell: its scan is no raster, or is too small, or the evidence is not conclusive.
    """
    tilt = min(series.tilts, key=lambda tilt: abs(tilt.euler_angles[1]))
    if tilt.scan_shape is None or min(tilt.scan_shape) < SMALLEST_SCAN:
        return []
    try:
        raster_matrix(tilt)
        estimate = estimate_optics(bright_field_data(tilt, series))
    except (BrightFieldError, ValueError):
        return []
    if not estimate.orientation_known:
        return []
    in_file = file_orientation(tilt)
    measured = MeasuredOptics(
        orientation=estimate.orientation,
        rotation_uncertainty=estimate.rotation_uncertainty,
        aberrations=estimate.aberrations,
        defocus_uncertainty=estimate.defocus_uncertainty,
        sign_significance=estimate.sign_significance,
    )
    depth = depth_of_field(series.energy, series.semiangle_cutoff)
    calibration = calibrated(in_file, tilt.aberrations, measured, depth_of_field=depth)
    if np.allclose(calibration.matrix, np.eye(2), atol=1e-6):
        return []
    return [
        f"tilt {tilt.name}: the bright field contradicts the scan rotation of {in_file.rotation:.1f}° in the file: "
        f"{evidence_sentence(estimate)}. Set {settings_sentence(estimate.orientation)} "
        f"(± {estimate.rotation_uncertainty:.2g}°)."
    ]

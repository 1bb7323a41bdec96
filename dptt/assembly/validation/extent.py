"""Does the specimen end within the scan? Electrons outside the bright disk tell, in the middle and at the border."""

import numpy as np
from numpy.typing import NDArray

from dptt.assembly.usable_pixels import evenly_spaced
from dptt.assembly.validation.record import RIGHT, UNKNOWN, Check
from dptt.assembly.validation.samples import least_tilted, patterns_in_sample
from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.forward import Geometry

ITEM = "extent of the specimen"
PATTERNS = 600
"""Patterns of the least tilted tilt that are read."""
BEYOND_DISK = 1.2
"""Radii of the bright disk beyond which electrons were scattered."""
MIDDLE, BORDER = 0.5, 0.85
"""Of half the scan: positions within the first are in its middle, beyond the second at its border."""
CONTINUES = 0.6
"""Scattering at the border over that in the middle, from which on the specimen must continue."""
CERTAIN = 4.0
"""Standard deviations by which middle and emptiest place must differ for an answer."""


def extent_check(series: TiltSeries, geometry: Geometry, blocked: str = "") -> Check:
    """Return whether the specimen scatters at the border of the scan too; `blocked` says why it cannot be told."""
    told = "ends within the scan" if geometry.specimen_thickness is None else "continues beyond the scan"
    if len(series.tilts) == 1:
        blocked = "a single tilt needs no more than its scan"
    if blocked:
        return Check(ITEM, told, blocked, UNKNOWN)
    (tilt,) = least_tilted(series.tilts, 1)
    share = _border_over_middle(tilt, series)
    if share is None:
        return Check(ITEM, told, "the patterns do not tell vacuum from specimen", UNKNOWN)
    measured = f"the border of the scan scatters {100 * min(max(share, 0.0), 1.0):.0f} % as much as its middle"
    if (share > CONTINUES) == (geometry.specimen_thickness is not None):
        return Check(ITEM, told, measured, RIGHT)
    cure = (
        "If the specimen is a film or lies on one, set volume.extended: true and volume.thickness."
        if geometry.specimen_thickness is None
        else "If the specimen ends within the scan, leave volume.extended out."
    )
    return Check(ITEM, told, measured, UNKNOWN, cure)


def _border_over_middle(tilt: Tilt, series: TiltSeries) -> float | None:
    """Return scattering at the border over that in the middle, above the emptiest place; None if it is not told."""
    number = patterns_in_sample(tilt, PATTERNS)
    indices = evenly_spaced(tilt.quick_to_read(), number)
    positions = tilt.scan_positions()
    centre, half = (positions.max(0) + positions.min(0)) / 2, np.ptp(positions, axis=0) / 2
    if not (half > 0).all():
        return None
    outward = np.abs((positions[indices] - centre) / half).max(1)
    scattered = tilt.read(indices)[:, _dark_field(tilt, series)].sum(1, dtype=np.float64) / tilt.counts_per_electron
    middle, border = scattered[outward < MIDDLE], scattered[outward > BORDER]
    emptiest = np.sort(scattered)[: max(3, len(scattered) // 10)]
    if min(len(middle), len(border), len(emptiest)) < 3:
        return None
    contrast = float(middle.mean() - emptiest.mean())
    return float(border.mean() - emptiest.mean()) / contrast if contrast > CERTAIN * _noise(middle) else None


def _noise(electrons: NDArray[np.float64]) -> float:
    """Return the standard deviation of one pattern by shot noise alone [electrons]."""
    return float(np.sqrt(max(electrons.mean(), 0.0)))


def _dark_field(tilt: Tilt, series: TiltSeries) -> NDArray[np.bool_]:
    """Return the valid pixels (ky, kx) well outside the bright disk."""
    angles = [(np.arange(n) - n // 2) * s for n, s in zip(tilt.detector_shape, series.angular_sampling, strict=True)]
    outside = np.hypot(angles[0][:, None], angles[1][None, :]) > BEYOND_DISK * series.semiangle_cutoff
    mask = tilt.mask()
    return outside if mask is None else outside & mask

"""The phase that another program found in a tilt beside that of `dptt ptycho`: on one grid, in one place."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from dptt.analysis.translation import register_translation
from dptt.io.dataset import TiltSeries
from dptt.io.ptychography import TiltImage, read_tilt_image
from dptt.io.series_data import EarlierPhase
from dptt.logs import log
from dptt.physics.electron import interaction_constant

MIN_ILLUMINATION = 0.2
"""Pixels below this fraction of the maximum illumination are not compared."""
MIN_SHARE = 0.25
"""Of the illuminated pixels that both must cover."""
REGISTRATIONS = 3
"""One after the other: what the frame cuts off differs before the first."""


@dataclass(frozen=True)
class ComparedPhases:
    """Two phases (y, x) [rad] on the grid of dptt, NaN where they are not compared, without their offset and ramp.

    Attributes
    ----------
    earlier, own
        Of the other program, moved to where dptt has the specimen, and of dptt.
    shift
        By which it was moved (y, x) [Å]: a single tilt determines no position.
    correlation
        Pearson correlation of the two.
    """

    program: str
    earlier: NDArray[np.floating]
    own: NDArray[np.floating]
    shift: tuple[float, float]
    correlation: float


def compare_with_earlier(path: Path, names: Collection[str], series: TiltSeries) -> dict[str, ComparedPhases]:
    """Return title -> comparison, of those tilts `names` in `ptychography.h5` of which the series has a phase."""
    compared = {}
    for tilt in series.tilts:
        earlier = tilt.earlier_phase() if tilt.name in names else None
        if earlier is not None:
            image = read_tilt_image(path, tilt.name)
            both = compare_phases(image, earlier, series.energy)
            if both is None:
                log.warning(f"tilt {tilt.name}: the phase of {earlier.program} covers too little to be compared")
            else:
                compared[f"{image.euler_angles[1]:+.1f}°"] = both
    return compared


def compare_phases(image: TiltImage, earlier: EarlierPhase, energy: float) -> ComparedPhases | None:
    """Return the phase of the other program beside sigma V_tot; None if they have too few pixels in common.

    Parameters
    ----------
    image
        The ptychography of the tilt.
    earlier
        What another program found in it.
    energy
        Beam energy [eV].
    """
    own = interaction_constant(energy) * image.projection.astype(np.float64)
    illuminated = image.illumination > MIN_ILLUMINATION
    shift = np.zeros(2)
    for last in (False,) * REGISTRATIONS + (True,):
        theirs = _on_grid(earlier, own.shape, image.pixel_size, shift)
        both = illuminated & np.isfinite(theirs)
        if both.sum() < MIN_SHARE * illuminated.sum():
            return None
        flat = [_flattened(phase, both) for phase in (theirs, own)]
        if min(float(np.ptp(phase[both])) for phase in flat) == 0:
            return None
        if not last:
            moved, fixed = (np.where(both, phase, 0.0)[None] for phase in flat)
            shift += register_translation(fixed, moved, (1.0, *image.pixel_size))[1:]
    correlation = float(np.corrcoef(*(phase[both] for phase in flat))[0, 1])
    shown = [np.where(both, phase, np.nan) for phase in flat]
    return ComparedPhases(earlier.program, shown[0], shown[1], (float(shift[0]), float(shift[1])), correlation)


def _on_grid(
    earlier: EarlierPhase, shape: tuple[int, ...], pixel_size: tuple[float, float], shift: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return the phase, moved by `shift` (y, x) [Å], on a grid with the rotation axis at n//2; NaN outside of it."""
    axes = [
        (((np.arange(n) - n // 2) * size - by) / pixel + axis)
        for n, size, by, pixel, axis in zip(shape, pixel_size, shift, earlier.pixel_size, earlier.axis, strict=True)
    ]
    coefficients = spline_filter(np.asarray(earlier.phase, np.float64), order=3, mode="mirror")
    points = np.meshgrid(*axes, indexing="ij")
    values: NDArray[np.floating] = map_coordinates(
        coefficients, points, order=3, mode="constant", cval=np.nan, prefilter=False
    )
    return values


def _flattened(phase: NDArray[np.floating], where: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the phase less the plane that fits it best: neither offset nor ramp is determined by patterns."""
    y, x = np.indices(phase.shape)
    planes = np.stack([np.ones(phase.shape), y, x], axis=-1)
    coefficients, *_ = np.linalg.lstsq(planes[where], phase[where], rcond=None)
    return phase - planes @ coefficients

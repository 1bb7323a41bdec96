"""Checks of the detector: mask, faulty pixels, and the bright disk that shows centre, scale and distortion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dptt.assembly.usable_pixels import disk_radius, electrons_summed
from dptt.assembly.validation.disk import Disk, find_disk
from dptt.assembly.validation.record import UNKNOWN, Check, judged
from dptt.assembly.validation.samples import sampled_patterns, spread
from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.faulty_pixels import faulty_pixels

TILTS = 8
"""Tilts whose mean patterns are evaluated."""
RADIUS_TOLERANCE, CENTRE_TOLERANCE = 0.06, 0.1
"""Tolerated relative error of the radius, and shift of the centre as a fraction of the radius."""
ROUND = 1.1
"""Ratio of the axes of the disk up to which it counts as round."""


@dataclass(frozen=True)
class DetectorSample:
    """The mean pattern of a tilt, and what it shows.

    Parameters
    ----------
    tilt
        Name of the tilt.
    valid
        Pixels that the mask leaves and that are neither hot nor dead, (ky, kx).
    excluded
        Share of the pixels, and of the electrons, that the mask excludes.
    disk
        The bright disk; None if there is none.
    hot, dead
        Numbers of unmasked pixels.
    """

    tilt: str
    valid: NDArray[np.bool_]
    excluded: tuple[float, float]
    disk: Disk | None
    hot: int
    dead: int

    @property
    def mask_inverted(self) -> bool:
        """Whether the mask excludes most pixels and most electrons."""
        return min(self.excluded) > 0.5


def sample_detector(series: TiltSeries) -> list[DetectorSample]:
    """Return the mean patterns of up to `TILTS` tilts; where a mask is inverted its complement is used."""
    return [_sample(tilt, series) for tilt in spread(series.tilts, TILTS)]


def _sample(tilt: Tilt, series: TiltSeries) -> DetectorSample:
    patterns = sampled_patterns(tilt)
    mean = patterns.mean(0, dtype=np.float64) / tilt.counts_per_electron
    mean = np.nan_to_num(mean, nan=0.0, posinf=0.0, neginf=0.0)
    mask = tilt.mask()
    valid = np.ones(tilt.detector_shape, bool) if mask is None else mask
    typical = np.minimum(mean, np.quantile(mean, 0.99))  # a hot pixel is not where the electrons are
    excluded = (1 - float(valid.mean()), 1 - float(typical[valid].sum() / max(typical.sum(), 1e-300)))
    if min(excluded) > 0.5:
        valid = ~valid
    hot, dead = faulty_pixels(mean, valid, electrons_summed(patterns, tilt), disk_radius(series))
    good = valid & ~(hot | dead)
    disk = find_disk(np.where(good, mean, 0.0), good, series.angular_sampling, series.semiangle_cutoff)
    return DetectorSample(tilt.name, good, excluded, disk, int(hot.sum()), int(dead.sum()))


def mask_check(samples: Sequence[DetectorSample]) -> Check:
    """Return whether the masks exclude a few pixels and not the pattern."""
    inverted = [sample.tilt for sample in samples if sample.mask_inverted]
    pixels, electrons = (max(sample.excluded[i] for sample in samples) for i in (0, 1))
    told = f"{pixels:.1%} of the pixels are not valid" if pixels else "all pixels are valid"
    measured = f"{electrons:.1%} of the electrons fall on excluded pixels" if pixels else "no mask"
    if inverted:
        measured += f" (tilt {inverted[0]}{' and others' * (len(inverted) > 1)})"
    cure = "The mask is inverted: True (or not zero) means a valid pixel. Invert import.detector.mask."
    return judged("mask", told, measured, right=not inverted, cure=cure, meaningless=True)


def pixels_check(samples: Sequence[DetectorSample]) -> Check:
    """Return whether any unmasked pixel is hot or dead."""
    worst = max(samples, key=lambda sample: sample.hot + sample.dead)
    faulty = worst.hot + worst.dead > 0
    measured = f"{worst.hot} hot, {worst.dead} dead (tilt {worst.tilt})" if faulty else "none hot, none dead"
    cure = "They are left out of every fit; exclude them for good by import.detector.mask."
    return judged("pixels", "those of the mask are good", measured, right=not faulty, cure=cure)


def centre_check(samples: Sequence[DetectorSample], series: TiltSeries) -> Check:
    """Return whether the zero angle is at n//2 in every tilt."""
    told = "index n//2"
    usable = [sample for sample in samples if sample.disk is not None]
    if not usable:
        return Check("zero angle", told, "there is no bright disk in the mean pattern", UNKNOWN)
    worst = max(usable, key=lambda sample: float(np.hypot(*_shift(sample, series))))
    assert worst.disk is not None
    (dy, dx), angles, shape = _shift(worst, series), series.angular_sampling, worst.valid.shape
    pixel_y, pixel_x = dy / angles[0], dx / angles[1]
    measured = f"{pixel_y:+.1f}, {pixel_x:+.1f} pixels (ky, kx) from there in tilt {worst.tilt}"
    right = np.hypot(dy, dx) <= max(CENTRE_TOLERANCE * worst.disk.radius, max(angles))
    corner = all(abs(abs(d) - n / 2) <= 1.5 for d, n in zip((pixel_y, pixel_x), shape, strict=True))
    if corner:
        measured = f"the corner of the detector (tilt {worst.tilt})"
        cure = "Set import.detector.zero_angle_at_corner: true."
    else:
        y, x = (n // 2 + d for n, d in zip(shape, (pixel_y, pixel_x), strict=True))
        cure = f"Set import.detector.centre: it is at ({y:.1f}, {x:.1f}) of the stored patterns."
    return judged("zero angle", told, measured, right=bool(right), cure=cure, meaningless=corner)


def _shift(sample: DetectorSample, series: TiltSeries) -> tuple[float, float]:
    """Return the angle (ky, kx) [mrad] from n//2 to the centre of the disk, on the periodic detector."""
    assert sample.disk is not None
    shift = []
    for at, n, angle in zip(sample.disk.centre, sample.valid.shape, series.angular_sampling, strict=True):
        shift.append(((at - n // 2 + n / 2) % n - n / 2) * angle)
    return shift[0], shift[1]


def radius_check(samples: Sequence[DetectorSample], series: TiltSeries) -> Check:
    """Return whether the disk is as large as the aperture."""
    told = f"{series.semiangle_cutoff:.2f} mrad"
    if all(tilt.probe() is not None for tilt in spread(series.tilts, TILTS)):
        return Check("aperture", told, "not compared: the probe in the file is used", UNKNOWN)
    radii = [sample.disk.radius for sample in samples if sample.disk is not None]
    if not radii:
        return Check("aperture", told, "there is no bright disk in the mean pattern", UNKNOWN)
    radius = float(np.median(radii))
    tolerance = max(RADIUS_TOLERANCE * series.semiangle_cutoff, 0.75 * max(series.angular_sampling))
    return judged(
        "aperture",
        told,
        f"the bright disk has a radius of {radius:.2f} mrad",
        right=abs(radius - series.semiangle_cutoff) <= tolerance,
        cure="Correct import.semiangle_cutoff, or import.detector.angular_sampling (mrad per pixel).",
    )


def ellipticity_check(samples: Sequence[DetectorSample], series: TiltSeries) -> Check:
    """Return whether the disk is round."""
    told = "round"
    disks = [sample.disk for sample in samples if sample.disk is not None]
    if not disks:
        return Check("distortion", told, "there is no bright disk in the mean pattern", UNKNOWN)
    e1, e2 = (float(np.median([disk.ellipticity[i] for disk in disks])) for i in (0, 1))
    typical = Disk((0.0, 0.0), 1.0, (e1, e2))
    excess = (typical.axis_ratio - 1) * series.semiangle_cutoff
    return judged(
        "distortion",
        told,
        f"the axes of the disk have a ratio of {typical.axis_ratio:.3f}",
        right=typical.axis_ratio <= ROUND or excess < 1.0 * max(series.angular_sampling),
        cure="Give import.detector.angular_sampling for both axes, or resample the patterns to round disks.",
    )

"""From a tilt to the virtual images that the bright-field methods evaluate."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from dptt.assembly.descan import find_descan
from dptt.assembly.geometry import depth_of_field
from dptt.assembly.usable_pixels import evenly_spaced, in_place, usable_pixels
from dptt.io.brightfield import SeriesCalibration
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.model.faulty_patterns import pattern_limits
from dptt.physics.electron import wavelength
from dptt.solvers.brightfield.correction import UNCHANGED, Calibration, MeasuredOptics, calibrated
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.orientation import Orientation, orientation_of

BLOCK_BYTES = 16 << 20
"""Memory for patterns held as floating-point numbers at once."""
IMAGE_BYTES = 96 << 20
"""Memory for the virtual images of a tilt."""
GROUPS_ACROSS = 16
"""Maximum number of groups of detector pixels across the bright disk: enough for shifts of about ten scan steps."""
RASTER_TOLERANCE = 0.5
"""Tolerated rms deviation of positions from a raster, in steps: jitter is acceptable."""
LARGEST_SKEW = 3.0
"""Tolerated deviation of the axes of a raster from a right angle [degrees]."""


class BrightFieldError(ProblemsError):
    """The bright field of a tilt or a series cannot be evaluated."""


def raster_matrix(tilt: Tilt) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the file's orthogonal matrix M from raster axes to positions, and the scan step (y, x) [Å].

    Raises
    ------
    BrightFieldError
        The positions are not a raster of at least 4 x 4 with perpendicular axes.
    """
    cure = "Import it with the axes scan_y and scan_x, or remove the section brightfield and set the calibration."
    if tilt.scan_shape is None or min(tilt.scan_shape) < 4:
        got = "a list of positions" if tilt.scan_shape is None else f"a raster of {tilt.scan_shape}"
        raise BrightFieldError(
            f"tilt {tilt.name}", [f"the scan is {got}; expected a raster of 4 x 4 or more. {cure}"]
        )
    positions = tilt.scan_positions().reshape(*tilt.scan_shape, 2)
    i, j = (np.arange(n) - (n - 1) / 2 for n in tilt.scan_shape)
    centred = positions - positions.mean((0, 1))
    columns = [
        np.einsum("i,ijd->d", i, centred) / (i @ i) / len(j),
        np.einsum("j,ijd->d", j, centred) / (j @ j) / len(i),
    ]
    step = (float(np.linalg.norm(columns[0])), float(np.linalg.norm(columns[1])))
    regular = i[:, None, None] * columns[0] + j[None, :, None] * columns[1]
    error = float(np.sqrt(((centred - regular) ** 2).sum(-1).mean()))
    matrix = np.stack([columns[0] / max(step[0], 1e-300), columns[1] / max(step[1], 1e-300)], axis=1)
    skew = math.degrees(math.asin(min(1.0, abs(float(matrix[:, 0] @ matrix[:, 1])))))
    if min(step) <= 0 or error > RASTER_TOLERANCE * max(step) or skew > LARGEST_SKEW:
        raise BrightFieldError(
            f"tilt {tilt.name}",
            [
                f"the scan positions deviate by {error:.3g} Å (rms) from a raster with steps of {step[0]:.3g} x "
                f"{step[1]:.3g} Å, and its axes by {skew:.1f}° from a right angle; expected at most half a step "
                f"and {LARGEST_SKEW:g}°. {cure}"
            ],
        )
    u, _, vh = np.linalg.svd(matrix)
    return u @ vh, step


def bright_field_data(tilt: Tilt, series: TiltSeries) -> BrightFieldData:
    """Return the virtual images of a tilt, read in blocks.

    Raises
    ------
    BrightFieldError
        The scan is not a raster, the patterns have no bright disk, or most of them are faulty.
    """
    _, step = raster_matrix(tilt)
    assert tilt.scan_shape is not None
    usable = usable_pixels(tilt, series)
    valid = np.ones(tilt.detector_shape, bool) if usable is None else usable
    descan = find_descan(tilt, series, tilt.scan_positions())
    displaced = None if descan is None else descan.shifts(torch.from_numpy(tilt.scan_positions()))
    sampled = evenly_spaced(tilt.quick_to_read(), 256)
    mean = in_place(tilt.read(sampled), valid, None if displaced is None else displaced[sampled]).mean(0)
    if not mean.sum() > 0:
        raise BrightFieldError(f"tilt {tilt.name}", ["its patterns hold no electrons. Leave it out of the series."])
    groups, angles, across = _groups(mean, valid, tilt, series)
    used = groups.any(0)
    groups, pixels = groups[:, used], groups.sum(1)
    images = np.zeros((len(groups), tilt.num_positions), np.float64)
    moments = np.zeros((2, tilt.num_positions), np.float64)
    sampling = series.angular_sampling
    axes = [(np.arange(n) - n // 2) * a for n, a in zip(tilt.detector_shape, sampling, strict=True)]
    directions = np.stack([axes[0][:, None] * valid, axes[1][None, :] * valid]).reshape(2, -1)
    totals = np.zeros(tilt.num_positions)
    for start, block in _blocks(tilt):
        part = slice(start, start + len(block))
        block = in_place(block, valid, None if displaced is None else displaced[part])
        flat = block.reshape(len(block), -1) / tilt.counts_per_electron
        images[:, part] = (groups @ flat[:, used].T) / pixels[:, None]
        totals[part], moments[:, part] = flat.sum(1), directions @ flat.T
    limits = pattern_limits(totals, series.num_patterns)
    if refusal := limits.refusal(totals):
        raise BrightFieldError(f"tilt {tilt.name}", [f"{refusal}, or leave the tilt out of the series."])
    faulty = limits.judge(totals).any_kind | ~np.isfinite(totals)
    if faulty.any():
        for array in (images, moments, totals):
            array[..., faulty] = array[..., ~faulty].mean(-1, keepdims=True)
    raster = (-1, *tilt.scan_shape)
    return BrightFieldData(
        images=torch.from_numpy(images.reshape(raster)),
        angles=torch.from_numpy(angles),
        counts=torch.from_numpy(images.mean(1) * pixels),
        step=step,
        wavelength=wavelength(series.energy),
        semiangle=series.semiangle_cutoff,
        pixel_angle=across * 1e-3 * max(sampling),
        centre_of_mass=torch.from_numpy(_centre_of_mass(moments, totals).reshape(raster)),
    )


def _groups(
    mean: NDArray[np.float64], valid: NDArray[np.bool_], tilt: Tilt, series: TiltSeries
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return (group, detector pixel) membership, angles of the groups (y, x) [mrad], and pixels along a side."""
    rows, columns = np.indices(tilt.detector_shape)
    angle_y, angle_x = series.angular_sampling
    disk = mean > np.quantile(mean[valid], 0.99) / 2
    centre_y, centre_x = (float(index[disk].mean()) for index in (rows, columns))
    middle_y, middle_x = (float(n // 2) for n in tilt.detector_shape)
    if np.hypot((centre_y - middle_y) * angle_y, (centre_x - middle_x) * angle_x) > 0.1 * series.semiangle_cutoff:
        centre_y, centre_x = middle_y, middle_x  # part of the disk is in shadow; `validate` warns of a wrong centre
    y, x = (rows - centre_y) * angle_y, (columns - centre_x) * angle_x
    inside = valid & (np.hypot(y, x) <= series.semiangle_cutoff - 0.25 * max(angle_y, angle_x)) & (mean > 0)
    allowed = min(GROUPS_ACROSS, math.isqrt(IMAGE_BYTES // (8 * tilt.num_positions)))
    side = max(1, math.ceil(2 * series.semiangle_cutoff / min(angle_y, angle_x) / max(allowed, 4)))
    label = np.round((rows - centre_y) / side).astype(int) * 100_000 + np.round((columns - centre_x) / side).astype(
        int
    )
    labels, sizes = np.unique(label[inside], return_counts=True)
    labels = labels[sizes >= side * side / 2]
    if inside.sum() < 4 or not len(labels):
        problem = f"only {inside.sum()} pixels lie in the bright disk of {series.semiangle_cutoff} mrad."
        raise BrightFieldError(f"tilt {tilt.name}", [f"{problem} Check semiangle_cutoff and angular_sampling."])
    groups = np.stack([(inside & (label == one)).ravel() for one in labels]).astype(np.float64)
    angles = np.stack([groups @ y.ravel(), groups @ x.ravel()], axis=1) / groups.sum(1, keepdims=True)
    return groups, angles, side


def _blocks(tilt: Tilt) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the first position and the patterns of each block."""
    size = max(1, BLOCK_BYTES // (8 * math.prod(tilt.detector_shape)))
    for start in range(0, tilt.num_positions, size):
        yield start, tilt.read(slice(start, start + size)).astype(np.float64)


def _centre_of_mass(moments: NDArray[np.float64], totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centre of mass (2, positions) of every pattern; that of all together where there is no electron."""
    centres = np.repeat(moments.sum(1, keepdims=True) / totals.sum(), len(totals), 1)
    return np.divide(moments, totals, out=centres, where=totals > 0)


def file_orientation(tilt: Tilt) -> Orientation:
    """Return rotation and parity of the scan according to the positions in the file."""
    return orientation_of(torch.from_numpy(raster_matrix(tilt)[0]))


def calibrated_tilt(tilt: Tilt, series: TiltSeries, result: SeriesCalibration) -> Calibration:
    """Return the calibration of a tilt for later steps: that of the file unless the bright field contradicts it.

    An orientation that the bright field does not determine is not changed; if it finds that of the file nevertheless,
    its aberrations are used. A tilt without a result of its own takes the orientation of the series and keeps the
    aberrations in the file.
    """
    of_tilt = result.tilts.get(tilt.name)
    measured = MeasuredOptics(
        orientation=Orientation(result.rotation, result.transposed),
        rotation_uncertainty=result.rotation_uncertainty,
        aberrations=tilt.aberrations if of_tilt is None else of_tilt.aberrations,
        defocus_uncertainty=0.0 if of_tilt is None else of_tilt.numbers["defocus_uncertainty_A"],
    )
    depth = depth_of_field(series.energy, series.semiangle_cutoff)
    use = calibrated(file_orientation(tilt), tilt.aberrations, measured, depth_of_field=depth)
    if result.trusted or use.matrix == UNCHANGED:  # optics hold for the orientation in which they were measured
        return use
    return Calibration(
        tilt.aberrations, UNCHANGED, "the file's calibration is kept: the bright field does not determine it"
    )

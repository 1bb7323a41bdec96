"""Physics checks of a tilt series: what a microscopist should know before a long reconstruction."""

import numpy as np

from dptt.assembly.geometry import SLICES_PER_DEPTH_OF_FIELD, depth_of_field
from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.forward import Geometry
from dptt.physics.probe import make_probe

DISK_TOLERANCE = 0.1
"""Tolerated relative error of the radius of the bright disk, and shift of its centre as a fraction of the radius."""


def illuminated_diameter(tilt: Tilt, series: TiltSeries, geometry: Geometry) -> float:
    """Return the diameter [Å] of the circle around the probe's centre that holds 90 % of its electrons."""
    probe = make_probe(
        geometry.window_shape,
        geometry.sampling,
        wavelength=geometry.wavelength,
        semiangle=series.semiangle_cutoff,
        aberrations=tilt.aberrations,
    )
    intensity = probe.abs().square().numpy()
    y, x = ((np.arange(n) - n // 2) * d for n, d in zip(geometry.window_shape, geometry.sampling, strict=True))
    radius = np.hypot(y[:, None], x[None, :])
    order = np.argsort(radius, axis=None)
    cumulative = np.cumsum(intensity.ravel()[order])
    return float(2 * radius.ravel()[order][np.searchsorted(cumulative, 0.9 * cumulative[-1])])


def geometry_warnings(series: TiltSeries, geometry: Geometry) -> list[str]:
    """Return warnings about scan, window and slices of a series, as sentences."""
    warnings = []
    window = min(n * d for n, d in zip(geometry.window_shape, geometry.sampling, strict=True))
    first = series.tilts[0]
    diameter = illuminated_diameter(first, series, geometry)
    if diameter > 0.9 * window:
        warnings.append(
            f"the probe is {diameter:.1f} Å wide but its window only {window:.1f} Å, so electrons wrap around. "
            "Reduce the defocus, or use a detector with finer angular sampling."
        )
    for tilt in series.tilts:
        step = _typical_step(tilt.scan_positions())
        if step > diameter / 2:
            warnings.append(
                f"tilt {tilt.name}: neighbouring positions are {step:.2f} Å apart and the probe is {diameter:.2f} Å "
                "wide; expected steps of at most half its width, so that illuminated areas overlap. Check scan step "
                "and defocus."
            )
    depth = depth_of_field(series.energy, series.semiangle_cutoff)
    if geometry.num_slices > 1 and geometry.slice_thickness > depth:
        warnings.append(
            f"slices are {geometry.slice_thickness:.1f} Å thick, the depth of field is {depth:.1f} Å; expected about "
            f"{depth / SLICES_PER_DEPTH_OF_FIELD:.1f} Å. Increase volume.num_slices."
        )
    thetas = np.sort([tilt.euler_angles[1] for tilt in series.tilts])
    if len(np.unique(np.round(thetas, 3))) < len(thetas):
        warnings.append("two tilts have the same stage angle; expected each angle once. Check tilt_angles.")
    return warnings


def calibration_warnings(tilt: Tilt, series: TiltSeries) -> list[str]:
    """Return warnings about the calibration of the detector: position and size of the mean bright disk.

    Centre and radius of the disk follow from the pixels above half of the maximum and from their area.
    """
    indices = np.unique(np.linspace(0, tilt.num_positions - 1, 256).astype(int))
    mean = tilt.read(indices).astype(np.float64).mean(0)
    mask = tilt.mask()
    if mask is not None:
        mean = np.where(mask, mean, 0)
    level = np.quantile(mean, 0.99) / 2
    disk = mean > level
    if not disk.any():
        return []
    rows, columns = np.nonzero(disk)
    shape = tilt.detector_shape
    angle_y, angle_x = series.angular_sampling
    centre = (rows.mean() - shape[0] // 2, columns.mean() - shape[1] // 2)
    shift = np.hypot(centre[0] * angle_y, centre[1] * angle_x)
    radius = np.sqrt(disk.sum() * angle_y * angle_x / np.pi)
    expected = series.semiangle_cutoff
    warnings = []
    if shift > max(DISK_TOLERANCE * expected, max(angle_y, angle_x)):
        warnings.append(
            f"tilt {tilt.name}: the bright disk is centred at pixel ({rows.mean():.1f}, {columns.mean():.1f}); "
            f"expected ({shape[0] // 2}, {shape[1] // 2}), n//2. Set import.detector.centre."
        )
    if abs(radius / expected - 1) > max(DISK_TOLERANCE, 2 * max(angle_y, angle_x) / expected):
        warnings.append(
            f"tilt {tilt.name}: the bright disk has a radius of {radius:.2f} mrad; expected the semiangle_cutoff of "
            f"{expected:.2f} mrad. Check angular_sampling and semiangle_cutoff."
        )
    return warnings


def _typical_step(positions: np.ndarray) -> float:
    """Return the median distance [Å] between successive positions."""
    if len(positions) < 2:
        return 0.0
    return float(np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1)))

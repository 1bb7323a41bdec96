"""Checks of beam, stage, scan and grids that need no pattern: ranges, and what follows from the optics."""

import numpy as np

from dptt.assembly.geometry import SLICES_PER_DEPTH_OF_FIELD, depth_of_field
from dptt.assembly.validation.record import UNKNOWN, WRONG, Check, judged
from dptt.assembly.validation.samples import least_tilted, typical_step
from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.forward import Geometry
from dptt.physics.electron import wavelength
from dptt.physics.probe import make_probe

ENERGIES = (10e3, 3e6)
"""Range of electron microscopes [eV]."""
LARGEST_IN_RADIANS, SMALLEST_RANGE_IN_RADIANS = 1.6, 0.3
"""Stage angles up to the one that span more than the other look like radians: 92° and 17°."""
BEYOND_A_STAGE = 90.0
"""[degrees] Only a needle in a holder that turns all around can be tilted further."""
ALONE, ALONE_BY = 5.0, 20.0
"""How many times further than most tilts the first or last one must be from the next to be alone, and how far [°]."""
DENSEST = 3.0
"""How many times finer than lambda/4alpha, which samples everything the aperture transmits, a scan may be."""


def energy_check(series: TiltSeries) -> Check:
    """Return whether any microscope has this energy."""
    told, (lowest, highest) = f"{series.energy / 1e3:g} keV", ENERGIES
    measured = f"microscopes have {lowest / 1e3:g} to {highest / 1e3:g} keV"
    if lowest <= series.energy <= highest:
        return Check("energy", told, measured, UNKNOWN)
    in_kev = lowest <= series.energy * 1e3 <= highest
    cure = f"Set import.energy: {series.energy:g}e3; it is in eV." if in_kev else "Correct import.energy [eV]."
    return Check("energy", told, measured, WRONG, cure, meaningless=True)


def angles_check(series: TiltSeries) -> Check:
    """Return whether the stage angles can be degrees, and each occurs once."""
    thetas = np.array([tilt.euler_angles[1] for tilt in series.tilts])
    told = f"{len(thetas)} tilts, {thetas.min():g}° to {thetas.max():g}°"
    span, largest = float(np.ptp(thetas)), float(np.abs(thetas).max())
    if len(thetas) > 2 and largest <= LARGEST_IN_RADIANS and span > SMALLEST_RANGE_IN_RADIANS:
        low, high = np.degrees(thetas.min()), np.degrees(thetas.max())
        cure = f"These look like radians; import.tilt_angles are degrees: {low:.4g} to {high:.4g}."
        return Check("tilt angles", told, f"all within {span:.3g}° of each other", WRONG, cure)
    if span >= 360:
        return Check("tilt angles", told, "a full turn or more", WRONG, "Correct import.tilt_angles [degrees].")
    values, counts = np.unique(np.round(thetas % 360, 3), return_counts=True)
    if counts.max() > 1:
        measured = f"{_signed(values[counts.argmax()]):g}° occurs {counts.max()} times"
        return Check("tilt angles", told, measured, WRONG, "Each stage angle is expected once. Check tilt_angles.")
    if apart := _alone(thetas):
        cure = "Check import.tilt_angles [degrees]: a digit or a point may be wrong."
        return Check("tilt angles", told, apart, WRONG, cure)
    if largest > BEYOND_A_STAGE:
        measured = f"beyond {BEYOND_A_STAGE:g}° only a needle can be tilted, by a holder that turns all around"
        return Check(
            "tilt angles", told, measured, UNKNOWN, "If yours is none, correct import.tilt_angles [degrees]."
        )
    return Check("tilt angles", told, "in the range of a stage", UNKNOWN)


def _signed(angle: float) -> float:
    """Return an angle of 0° to 360° as one of -180° to 180°."""
    return angle - 360 if angle > 180 else angle


def _alone(thetas: np.ndarray) -> str:
    """Return which tilt at an end of the series is far from all others; empty if none is."""
    ordered = np.sort(thetas)
    gaps = np.diff(ordered)
    if len(gaps) < 3:
        return ""
    for gap, angle in ((gaps[0], ordered[0]), (gaps[-1], ordered[-1])):
        typical = float(np.median(gaps))
        if gap > max(ALONE * typical, ALONE_BY):
            return f"{angle:g}° is {gap:.3g}° from the next, the others are {typical:.3g}° apart"
    return ""


def centre_of_scan_check(series: TiltSeries) -> Check:
    """Return whether the scan of every tilt holds the point of the rotation axis, moved by the tilt's translation."""
    worst, beyond = series.tilts[0], -np.inf
    for tilt in series.tilts:
        if (outside := _beyond(tilt)) > beyond:
            worst, beyond = tilt, outside
    y, x = _centre(worst)
    measured = f"the middle of the scan is ({y:.4g}, {x:.4g}) Å (y, x) from it (tilt {worst.name})"
    cure = "Set import.scan.centre: positions are relative to the rotation axis."
    return judged("rotation axis", "within the scan", measured, right=beyond <= 0, cure=cure)


def _centre(tilt: Tilt) -> tuple[float, float]:
    positions = tilt.scan_positions() - tilt.translation
    y, x = (positions.min(0) + positions.max(0)) / 2
    return float(y), float(x)


def _beyond(tilt: Tilt) -> float:
    """Return by how much [Å] the rotation axis lies outside the scan; negative inside."""
    positions = tilt.scan_positions() - tilt.translation
    margin = 0.5 * float(np.ptp(positions, axis=0).max()) + typical_step(positions)
    return float(np.max(np.abs(_centre(tilt)) - np.ptp(positions, axis=0) / 2) - margin)


def illuminated_diameter(tilt: Tilt, series: TiltSeries, geometry: Geometry) -> float:
    """Return the diameter [Å] of the circle around the probe's centre that holds 90 % of its electrons."""
    stored = tilt.probe()
    if stored is not None:
        intensity = np.square(np.abs(stored)).sum(0)
    else:
        probe = make_probe(
            geometry.window_shape,
            geometry.sampling,
            wavelength=geometry.wavelength,
            semiangle=series.semiangle_cutoff,
            aberrations=tilt.aberrations,
        )
        intensity = probe.abs().square().numpy()
    window = [n * d for n, d in zip(geometry.window_shape, geometry.sampling, strict=True)]
    y, x = ((np.arange(n) - n // 2) * size / n for n, size in zip(intensity.shape, window, strict=True))
    radius = np.hypot(y[:, None], x[None, :])
    order = np.argsort(radius, axis=None)
    cumulative = np.cumsum(intensity.ravel()[order])
    return float(2 * radius.ravel()[order][np.searchsorted(cumulative, 0.9 * cumulative[-1])])


def overlap_check(series: TiltSeries, geometry: Geometry, blocked: str = "") -> Check:
    """Return whether neighbouring illuminated areas overlap; `blocked` says why it cannot be told."""
    diameter = illuminated_diameter(series.tilts[0], series, geometry)
    steps = {tilt.name: typical_step(tilt.scan_positions()) for tilt in series.tilts}
    worst = max(steps, key=lambda name: steps[name])
    told, measured = f"{steps[worst]:.3g} Å apart", f"the probe is {diameter:.3g} Å wide"
    if blocked:
        return Check("overlap", told, blocked, UNKNOWN)
    cure = f"Neighbouring positions (tilt {worst}) may be half a probe apart at most. Check scan step and defocus."
    return judged("overlap", told, measured, right=steps[worst] <= diameter / 2, cure=cure)


def density_check(series: TiltSeries, blocked: str = "") -> Check:
    """Return whether the scan is not much finer than the optics can use; `blocked` says why it cannot be told."""
    (tilt,) = least_tilted(series.tilts, 1)
    step = typical_step(tilt.scan_positions())
    finest = wavelength(series.energy) / (4e-3 * series.semiangle_cutoff)
    told, measured = f"steps of {step:.3g} Å", f"the optics transmit nothing finer than {finest:.3g} Å"
    if blocked:
        return Check("scan density", told, blocked, UNKNOWN)
    cure = (
        f"Use every {max(2, int(finest / max(step, 1e-300)))}th pattern (reconstruction.every), or bin the scan. If "
        "the positions are not in Å, correct import.scan.step or import.scan.unit."
    )
    return judged("scan density", told, measured, right=step == 0 or step * DENSEST >= finest, cure=cure)


def window_check(series: TiltSeries, geometry: Geometry) -> Check:
    """Return whether the probe fits into its window."""
    window = min(n * d for n, d in zip(geometry.window_shape, geometry.sampling, strict=True))
    diameter = illuminated_diameter(series.tilts[0], series, geometry)
    cure = "Electrons wrap around. Reduce the defocus, or use a detector with finer angular sampling."
    measured = f"the probe is {diameter:.3g} Å wide"
    return judged("probe window", f"{window:.3g} Å", measured, right=diameter <= 0.9 * window, cure=cure)


def slices_check(series: TiltSeries, geometry: Geometry) -> Check:
    """Return whether slices are thinner than the depth of field."""
    depth = depth_of_field(series.energy, series.semiangle_cutoff)
    right = geometry.num_slices == 1 or geometry.slice_thickness <= depth
    cure = f"Increase volume.num_slices: about {depth / SLICES_PER_DEPTH_OF_FIELD:.3g} Å a slice are expected."
    told = f"{geometry.num_slices} of {geometry.slice_thickness:.3g} Å"
    return judged("slices", told, f"the depth of field is {depth:.1f} Å", right=right, cure=cure)

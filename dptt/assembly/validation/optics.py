"""Checks of parity, scan rotation, scan step and defocus against the shifts of the virtual images.

Shifts alone do not tell a scan rotated by 180° from a defocus of the wrong sign: potentials are positive, and that
decides. Nor do they tell a wrong step from a wrong defocus: the contrast of a weak phase object decides where the
scan is fine enough, and a power of ten between the two speaks for a wrong unit. A fault counts only if every tilt
that was evaluated shows it.
"""

import numpy as np

from dptt.assembly.brightfield import BrightFieldError, file_orientation
from dptt.assembly.geometry import depth_of_field
from dptt.assembly.validation.record import RIGHT, UNKNOWN, WRONG, Check
from dptt.assembly.validation.samples import least_tilted, typical_step
from dptt.assembly.validation.shifts import MeasuredShifts, measure_shifts
from dptt.io.dataset import Tilt, TiltSeries
from dptt.solvers.brightfield.orientation import detector_matrix, orientation_of, wrapped

PARITY, ROTATION, STEP, DEFOCUS = "detector parity", "scan rotation", "scan step", "defocus"
TILTS = 3
"""Tilts that are evaluated."""
ROTATION_TOLERANCE, DEFOCUS_TOLERANCE = 3.0, 0.12
"""[degrees]; fraction of the defocus."""
DEPTH_FRACTION = 0.5
"""Tolerated error of the defocus, as a fraction of the depth of field: a specimen has a depth itself."""
CLEAR_ENERGY, VERY_CLEAR_ENERGY = 1.1, 1.5
"""Ratios of explained energies that decide between two scan steps, with and without a defocus that speaks for one."""
SIGNIFICANT = 3.0
"""Standard deviations."""
SMALLEST_STEP = 0.005
"""[Å]: no scan is finer."""
SCALES = (0.01, 0.1, 0.25, 0.5, 2.0, 4.0, 10.0, 100.0)
"""Other scan steps that are tried where the defocus does not tell, relative to that of the file."""
FLIPS = {
    "flip_y": (False, True, False),
    "flip_x": (False, False, True),
    "transpose": (True, False, False),
    "transpose, flip_y and flip_x": (True, True, True),
}
"""Settings of `import.detector` that mirror the patterns, as arguments of `detector_matrix`."""


def optics_checks(series: TiltSeries, blocked: str = "") -> list[Check]:
    """Return the checks of parity, rotation, step and defocus.

    Parameters
    ----------
    blocked
        Why nothing can be measured; empty if it can.
    """
    (first,) = least_tilted(series.tilts, 1)
    told = _told(first)
    if first.probe() is not None:
        blocked = blocked or "not compared: the probe in the file is used"
    alike = [tilt for tilt in series.tilts if abs(tilt.aberrations["C10"] - first.aberrations["C10"]) < 1.0]
    results = [] if blocked else [measure_shifts(tilt, series) for tilt in least_tilted(alike, TILTS)]
    tilts = [result for result in results if isinstance(result, MeasuredShifts)]
    if tilts and not any(tilt.orientation_known for tilt in tilts):
        searched = measure_shifts(first, series, search=True)
        tilts = [searched, *tilts[1:]] if isinstance(searched, MeasuredShifts) else tilts
    if not tilts:
        reason = blocked or str(results[0])
        step = _range_of_step(typical_step(first.scan_positions()), told[STEP])
        others = [Check(item, told[item], reason, UNKNOWN) for item in (PARITY, ROTATION)]
        return [
            *others,
            step or Check(STEP, told[STEP], reason, UNKNOWN),
            Check(DEFOCUS, told[DEFOCUS], reason, UNKNOWN),
        ]
    defocus = -first.aberrations["C10"]
    parity, rotation = _orientation_checks(tilts, told, defocus)
    sign_free = WRONG in (parity.verdict, rotation.verdict)
    return [parity, rotation, *_length_checks(tilts, told, defocus, series, sign_free=sign_free)]


def _told(tilt: Tilt) -> dict[str, str]:
    """Return what the file says about each item."""
    try:
        orientation = file_orientation(tilt)
        angles = ("mirrored" if orientation.transposed else "not mirrored", f"{orientation.rotation:.1f}°")
    except BrightFieldError:  # the scan is no raster
        angles = ("as in the file", "as in the file")
    lengths = f"{typical_step(tilt.scan_positions()):.4g} Å", f"{-tilt.aberrations['C10'] + 0.0:.4g} Å"
    return dict(zip((PARITY, ROTATION, STEP, DEFOCUS), (*angles, *lengths), strict=True))


def _orientation_checks(tilts: list[MeasuredShifts], told: dict[str, str], defocus: float) -> tuple[Check, Check]:
    """Return the checks of parity and rotation; `defocus` [Å] is that of the file."""
    known = [tilt for tilt in tilts if tilt.orientation_known]
    mirrored = [tilt.measured.transposed != tilt.told.transposed for tilt in known]
    if not known or len(set(mirrored)) > 1:
        reason = "neither centre of mass nor contrast show it"
        return Check(PARITY, told[PARITY], reason, UNKNOWN), Check(ROTATION, told[ROTATION], reason, UNKNOWN)
    if mirrored[0]:
        cure = f"Toggle import.detector.{_mirror(known[0], defocus)}."
        measured = "the data fit only the other parity"
        rotation = Check(ROTATION, told[ROTATION], f"depends on the {PARITY}", UNKNOWN)
        return Check(PARITY, told[PARITY], measured, WRONG, cure), rotation
    parity = Check(PARITY, told[PARITY], "the data fit this parity", RIGHT)
    known = [known[0], *(_like(known[0], tilt) for tilt in known[1:])]
    first = known[0].measured.rotation - known[0].told.rotation
    errors = [first + wrapped(tilt.measured.rotation - tilt.told.rotation - first) for tilt in known]
    uncertainty = max(tilt.uncertainty for tilt in known)
    error = float(np.median(errors))
    measured = f"{wrapped(known[0].told.rotation + error):.1f}° ± {uncertainty:.1f}°"
    tolerance = max(ROTATION_TOLERANCE, SIGNIFICANT * uncertainty)
    if min(abs(one) for one in errors) > tolerance and np.ptp(errors) < 2 * tolerance + 10:
        angle = wrapped(known[0].told.rotation + error + 180.0 * (_sign(known, defocus) < 0))
        measured = f"{angle:.1f}° ± {uncertainty:.1f}°"
        return parity, Check(ROTATION, told[ROTATION], measured, WRONG, f"Set import.scan.rotation: {angle:.1f}.")
    if _sign(known, defocus) < 0 and _significance(known) < -SIGNIFICANT:
        angle = wrapped(known[0].told.rotation + 180.0)
        measured = f"{angle:.1f}°, where potentials are positive"
        return parity, Check(ROTATION, told[ROTATION], measured, WRONG, f"Set import.scan.rotation: {angle:.1f}.")
    if abs(error) > tolerance:
        return parity, Check(ROTATION, told[ROTATION], f"{measured}, but the tilts differ", UNKNOWN)
    return parity, Check(ROTATION, told[ROTATION], measured, RIGHT)


def _like(first: MeasuredShifts, tilt: MeasuredShifts) -> MeasuredShifts:
    """Return the tilt or its twin, whichever is rotated from the file as the first tilt is."""
    difference = tilt.measured.rotation - tilt.told.rotation - first.measured.rotation + first.told.rotation
    return tilt.twin() if abs(wrapped(difference)) > 90 else tilt


def _mirror(tilt: MeasuredShifts, defocus: float) -> str:
    """Return which setting of `import.detector` brings the patterns to the parity and the rotation of the scan."""
    measured = tilt.measured.matrix() * (_sign([tilt], defocus) or 1.0)
    errors = {}
    for name, setting in FLIPS.items():
        errors[name] = orientation_of(detector_matrix(*setting) @ measured).rotation - tilt.told.rotation
    best = min(errors, key=lambda name: abs(wrapped(errors[name])))
    error = wrapped(errors[best])
    return best if abs(error) < 10 else f"{best}, and set import.scan.rotation: {tilt.told.rotation + error:.1f}"


def _sign(tilts: list[MeasuredShifts], defocus: float) -> float:
    """Return -1 if every tilt has a defocus of the opposite sign to `defocus`, 1 if none has, else 0."""
    signs = {float(np.sign(tilt.defocus * defocus)) for tilt in tilts if tilt.defocus_known}
    return signs.pop() if len(signs) == 1 else 0.0


def _significance(tilts: list[MeasuredShifts]) -> float:
    """Return by how many standard deviations the tilts together show positive potentials."""
    known = [tilt.significance for tilt in tilts if tilt.defocus_known]
    return float(np.sum(known) / np.sqrt(max(len(known), 1)))


def _length_checks(
    tilts: list[MeasuredShifts], told: dict[str, str], defocus: float, series: TiltSeries, *, sign_free: bool
) -> tuple[Check, Check]:
    """Return the checks of step and defocus; `sign_free`: parity or rotation is wrong, so the sign says nothing."""
    known = [tilt for tilt in tilts if tilt.defocus_known]
    step = max(tilts[0].data.step)
    impossible = _range_of_step(step, told[STEP])
    if not known:
        reason = "the shifts of the virtual images do not fit one defocus"
        return (
            impossible or Check(STEP, told[STEP], reason, UNKNOWN),
            Check(DEFOCUS, told[DEFOCUS], reason, UNKNOWN),
        )
    values = [abs(tilt.defocus) * np.sign(defocus) if sign_free and defocus else tilt.defocus for tilt in known]
    found = float(np.median(values))
    depth = DEPTH_FRACTION * depth_of_field(series.energy, series.semiangle_cutoff)
    tolerance = max(DEFOCUS_TOLERANCE * abs(defocus), depth)
    measured = f"{found:.4g} Å from shifts"
    differs = min(abs(abs(value) - abs(defocus)) for value in values) > tolerance
    if differs and abs(defocus) > depth:
        wrong_step = _wrong_step(known, abs(defocus / found), step, told)
        if wrong_step or impossible:
            return wrong_step or impossible, Check(DEFOCUS, told[DEFOCUS], f"depends on the {STEP}", UNKNOWN)  # type: ignore[return-value]
    scale = _step_by_contrast(known)
    if not differs and abs(found) > 2 * depth:
        checked = Check(STEP, told[STEP], "shifts of the virtual images fit the defocus", RIGHT)
    elif scale == 1.0:
        checked = Check(STEP, told[STEP], "the contrast fits it best", RIGHT)
    elif scale is not None:
        cure = "Correct import.scan.step, or import.scan.unit of listed positions; positions are in Å."
        checked = Check(STEP, told[STEP], f"the contrast fits about {step * scale:.3g} Å", WRONG, cure)
    else:
        checked = Check(STEP, told[STEP], "neither shifts nor contrast show it", UNKNOWN)
    if checked.verdict == WRONG:
        return checked, Check(DEFOCUS, told[DEFOCUS], f"depends on the {STEP}", UNKNOWN)
    return impossible or checked, _defocus_check(known, told[DEFOCUS], measured, values, defocus, tolerance)


def _defocus_check(
    known: list[MeasuredShifts], told: str, measured: str, values: list[float], defocus: float, tolerance: float
) -> Check:
    """Return the check of the defocus where the step is not wrong."""
    if min(abs(value - defocus) for value in values) <= tolerance:
        return Check(DEFOCUS, told, measured, RIGHT)
    found = float(np.median(values))
    cure = f"Set import.aberrations.defocus: {found:.4g}, or add the section brightfield, which measures it."
    if found * defocus < 0 and _significance(known) < SIGNIFICANT:
        cure += f" Or else {ROTATION} is off by 180°: the data do not exclude that."
    return Check(DEFOCUS, told, measured, WRONG, cure)


def _range_of_step(step: float, told: str) -> Check | None:
    """Return a check that fails if no scan is so fine."""
    if step >= SMALLEST_STEP or step == 0:
        return None
    cure = "Positions are in Å; these look like metres or nanometres. Correct import.scan.step or import.scan.unit."
    return Check(STEP, told, f"no scan is finer than {SMALLEST_STEP} Å", WRONG, cure, meaningless=True)


def _wrong_step(known: list[MeasuredShifts], scale: float, step: float, told: dict[str, str]) -> Check | None:
    """Return a check that fails if a step of `scale` times that of the file fits better than another defocus."""
    as_told = np.median([tilt.energy(1.0, tilt.defocus) for tilt in known])
    scaled = np.median([tilt.energy(scale, tilt.defocus * scale) for tilt in known])
    power = np.log10(scale)
    unit = abs(power - round(power)) < 0.06 and round(power) != 0
    if not (scaled > CLEAR_ENERGY * as_told or (unit and as_told < CLEAR_ENERGY * scaled)):
        return None
    measured = f"shifts of the virtual images fit {step * scale:.3g} Å"
    cure = f"Multiply the positions by {scale:.3g}: positions are in Å. Correct import.scan.step or import.scan.unit."
    return Check(STEP, told[STEP], measured, WRONG, cure, meaningless=step < SMALLEST_STEP)


def _step_by_contrast(known: list[MeasuredShifts]) -> float | None:
    """Return by what the step must be multiplied to fit the contrast best; None if the contrast does not tell."""
    as_told = float(np.median([tilt.energy(1.0, tilt.defocus) for tilt in known]))
    others = {g: float(np.median([tilt.energy(g, tilt.defocus * g) for tilt in known])) for g in SCALES}
    best = max(others, key=lambda g: others[g])
    if as_told > CLEAR_ENERGY * others[best]:
        return 1.0
    return best if others[best] > VERY_CLEAR_ENERGY * as_told else None

"""Orientation and aberrations of one tilt from its bright field alone ([P], step (a))."""

import math
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.physics.aberrations import to_polar
from dptt.solvers.brightfield.centre_of_mass import curl, integrated
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.image import image_upsampling, phase_image, skewness
from dptt.solvers.brightfield.optical_estimate import OpticalEstimate
from dptt.solvers.brightfield.orientation import Orientation, wrapped
from dptt.solvers.brightfield.parallax import Shifts, align, fit_shifts
from dptt.solvers.brightfield.search import (
    REFINE_ELEMENTS,
    Candidate,
    best_of,
    distinct,
    explained_energy,
    refine,
    scan_band,
    scan_settings,
    split_frequencies,
    thinned,
)
from dptt.solvers.brightfield.signs import both_signs
from dptt.solvers.brightfield.transfer import Method, Sidebands, sidebands

Choice = Literal["auto", "single-sideband", "weak-phase", "parallax"]
GROUPS = 4
"""Interleaved groups of the data whose scatter gives the uncertainties."""
ALIGNED_ELEMENTS = 1_000_000
"""Frequencies times pixels of the measurement of shifts."""
REFINED = 3
"""Settings of each parity that are refined after the scan."""
ALIASED = 1.5
"""Scan steps in units of lambda/2alpha up to which the direct methods tell aliases apart by their transfer."""
CLEAR_SHIFT = 1.5
"""Shift of the image of the disk's edge, in scan steps, from which shifts are measured well."""


def estimate_optics(
    data: BrightFieldData,
    method: Choice = "auto",
    order: int = 1,
    near: Orientation | None = None,
    refine_rotation: bool = True,
) -> OpticalEstimate:
    """Return orientation, aberrations up to `order` and the image of one tilt.

    Parameters
    ----------
    data
        Virtual images.
    method
        `auto` selects one from the sampling.
    order
        Highest n of the aberrations Cnm, 1 to 3.
    near
        A known orientation from which the search starts: its parity is kept, and so is its choice between the twins.
        None to search for everything.
    refine_rotation
        Whether the rotation may change from there.

    Raises
    ------
    ValueError
        The images have no contrast at all.
    """
    bands = sidebands(data)
    if not bands.spectrum.abs().sum() > 0:
        raise ValueError("the virtual images of the bright disk have no contrast; expected a specimen in the beam")
    cutoff = 2e-3 * data.semiangle / data.wavelength
    full = thinned(data, bands, cutoff, REFINE_ELEMENTS)
    best = best_settings(data, bands, full, near, rotation=refine_rotation)
    start = best_of(list(best.values()))
    parity = start.orientation.transposed
    method_used, reason = choose_method(data, start.coefficients) if method == "auto" else (method, "configured")
    setting, (rotation_uncertainty, defocus_uncertainty), shifts = measure(
        data,
        start,
        method=method_used,
        full=full,
        for_shifts=thinned(data, bands, cutoff, ALIGNED_ELEMENTS),
        order=order,
        rotation=refine_rotation,
    )
    by_sign = both_signs(data, bands, full, start)
    significance = positive_potential(data, setting)
    if significance < 0 and near is None:
        setting, by_sign, significance = setting.twin(), by_sign.twin(), -significance
    upsampling = image_upsampling(data)
    return OpticalEstimate(
        orientation=setting.orientation,
        aberrations=to_polar(setting.coefficients),
        rotation_uncertainty=rotation_uncertainty,
        defocus_uncertainty=defocus_uncertainty,
        energy=setting.energy,
        other_parity=best.get(not parity, setting),
        by_sign=by_sign,
        sign_significance=significance,
        method=method_used,
        reason=reason,
        image=phase_image(method_used, data, setting.orientation, setting.coefficients, upsampling),
        image_sampling=(data.step[0] / upsampling, data.step[1] / upsampling),
        curls=(curl(data, False), curl(data, True)),
        defocus_curve=defocus_curve(data, full, setting),
        shifts=shifts,
    )


def best_settings(
    data: BrightFieldData, bands: Sidebands, full: Sidebands, near: Orientation | None, *, rotation: bool
) -> dict[bool, Candidate]:
    """Return the setting of largest explained energy for each possible parity: both, or that of `near`.

    `full` holds the frequencies of the last refinement; `rotation` says whether the rotation is refined.
    """
    low, cut = scan_band(data, bands)
    middle = thinned(data, bands, 2 * cut, REFINE_ELEMENTS)
    trials = scan_settings("weak-phase", data, bands, near)
    best = {}
    for transposed in (False, True) if near is None else (near.transposed,):
        of_parity = [trial for trial in trials if trial.orientation.transposed == transposed]
        first = distinct(of_parity, REFINED, data)
        refined = [refine("weak-phase", data, low, trial, 1, rotation=rotation) for trial in first]
        finer = refine("weak-phase", data, middle, best_of(refined), 1, rotation=rotation)
        best[transposed] = refine("weak-phase", data, full, finer, 1, rotation=rotation)
    return best


def choose_method(data: BrightFieldData, coefficients: Float[Tensor, " term"]) -> tuple[Method, str]:
    """Return the method that suits the sampling, and the reason in a sentence."""
    nyquist = data.wavelength / (2e-3 * data.semiangle)
    step = max(data.step)
    edge = 1e-3 * data.semiangle
    shift = (coefficients[0].abs() + coefficients[1:3].norm()).item() * edge / step
    phase = math.pi / data.wavelength * coefficients[0].abs().item() * edge**2
    sampling = f"the scan step of {step:.3g} Å (lambda/2alpha is {nyquist:.3g} Å)"
    shifts = f"defocus shifts the image of the disk's edge by {shift:.1f} steps"
    if step > ALIASED * nyquist and shift >= CLEAR_SHIFT:
        return "parallax", f"{sampling} undersamples the bright field, and {shifts}"
    if step > ALIASED * nyquist:
        return "weak-phase", f"{sampling} undersamples the bright field, but {shifts} only"
    if step > 1.05 * nyquist:
        return "weak-phase", f"{sampling} undersamples the bright field so little that aliases can be told apart"
    if phase < math.pi / 4:
        return "single-sideband", f"{sampling} samples the bright field, and the probe is in focus"
    return (
        "weak-phase",
        f"{sampling} samples the bright field, and defocus reaches {phase:.1f} rad at its edge",
    )


def measure(
    data: BrightFieldData,
    start: Candidate,
    *,
    method: Method,
    full: Sidebands,
    for_shifts: Sidebands,
    order: int,
    rotation: bool,
) -> tuple[Candidate, tuple[float, float], Shifts]:
    """Return the setting by `method`, the uncertainties of rotation [degrees] and defocus [Å], and the shifts.

    Parameters
    ----------
    start
        Near the optimum.
    full, for_shifts
        Frequencies for the explained energy and for the shifts of the virtual images.
    order
        Highest n of the aberrations Cnm.
    rotation
        Whether the rotation is refined.
    """
    orientation, coefficients, shifts = align(
        data, for_shifts, start.orientation, start.coefficients, order, rotation=rotation
    )
    if method == "parallax":
        setting = Candidate(orientation, coefficients, start.energy)
        k = data.angles * 1e-3
        groups = []
        for group in range(GROUPS):
            rows = slice(group, None, GROUPS)
            of_group = fit_shifts(k[rows], shifts.measured[rows], orientation, order, rotation=rotation)
            groups.append(Candidate(of_group[0], of_group[1], 0.0))
    else:
        setting = refine(method, data, full, start, order, rotation=rotation)
        groups = [
            refine(method, data, band, setting, order, rotation=rotation, iterations=12)
            for band in split_frequencies(full, GROUPS)
        ]
    energy = explained_energy("weak-phase", data, full, setting.orientation.matrix(), setting.coefficients)
    return replace(setting, energy=energy.item()), _standard_errors(setting, groups), shifts


def _standard_errors(setting: Candidate, groups: list[Candidate]) -> tuple[float, float]:
    """Return the standard errors of rotation [degrees] and defocus [Å] from independent groups of the data."""
    angles = [wrapped(one.orientation.rotation - setting.orientation.rotation) for one in groups]
    defoci = [(one.coefficients[0] - setting.coefficients[0]).item() for one in groups]
    degrees = len(groups) * (len(groups) - 1)
    return math.sqrt(sum(a * a for a in angles) / degrees), math.sqrt(sum(d * d for d in defoci) / degrees)


def positive_potential(data: BrightFieldData, setting: Candidate) -> float:
    """Return the significance [standard deviations] with which the phase is skewed to positive values.

    The integrated centre of mass and the weak-phase image both show the sign; the more significant one counts. Where
    they contradict each other, it counts less by the significance of the other.
    """
    images = [
        phase_image("weak-phase", data, setting.orientation, setting.coefficients),
        integrated(data, setting.orientation),
    ]
    low, high = sorted(skew / max(error, 1e-300) for skew, error in map(skewness, images))
    return low + high if low < 0 < high else max(low, high, key=abs)


def defocus_curve(
    data: BrightFieldData, bands: Sidebands, setting: Candidate, trials: int = 41
) -> Float[Tensor, "trial 2"]:
    """Return defocus [Å] and explained energy for a range of trial defoci about the estimate."""
    centre = setting.coefficients[0].item()
    # from zero to twice the defocus, but at least two depths of field to either side
    reach = max(abs(centre), 2 * data.wavelength / (1e-3 * data.semiangle) ** 2)
    curve = []
    few = thinned(data, bands, math.inf, REFINE_ELEMENTS // 4)
    for value in torch.linspace(centre - reach, centre + reach, trials, dtype=torch.float64):
        coefficients = torch.cat([value[None], setting.coefficients[1:]])
        energy = explained_energy("weak-phase", data, few, setting.orientation.matrix(), coefficients)
        curve.append(torch.stack([-value, energy]))
    return torch.stack(curve).flip(0)

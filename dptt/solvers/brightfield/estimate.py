"""Orientation and aberrations of one tilt from its bright field alone ([P], step (a))."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.brightfield.aberrations import to_cartesian, to_polar
from dptt.solvers.brightfield.centre_of_mass import Curl, curl, integrated
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.image import image_upsampling, phase_image, skewness
from dptt.solvers.brightfield.orientation import Orientation, wrapped
from dptt.solvers.brightfield.parallax import Shifts, align, fit_shifts
from dptt.solvers.brightfield.search import (
    REFINE_ELEMENTS,
    Candidate,
    distinct,
    explained_energy,
    refine,
    scan_band,
    scan_settings,
    split_frequencies,
    thinned,
)
from dptt.solvers.brightfield.transfer import Method, Sidebands, sidebands

Choice = Literal["auto", "single-sideband", "weak-phase", "parallax"]
GROUPS = 4
"""Interleaved parts of the data whose scatter gives the uncertainties."""
ALIGNED_ELEMENTS = 1_000_000
"""Frequencies times pixels of the measurement of shifts."""
REFINED = 3
"""Settings of each parity that are refined after the scan."""
ALIASED = 1.5
"""Scan steps in units of lambda/2alpha up to which the direct methods tell aliases apart by their transfer."""
CLEAR_SHIFT = 1.5
"""Scan steps that the image of the disk's edge must move for shifts to be measured well."""
SIGNIFICANT = 3.0
"""Standard deviations."""
AGREEMENT = 10.0
"""[degrees] within which explained energy and centre of mass must agree: strong objects move either a little."""
CLEAR_ENERGY = 1.1
"""Ratio of the explained energies of the two parities that counts as clear."""
CLEAR_CURL = 0.1
"""Difference in the share of the curl that counts as clear."""


@dataclass(frozen=True)
class OpticalEstimate:
    """What the bright field of one tilt says.

    Parameters
    ----------
    orientation
        Scan rotation [degrees] and parity relative to the stored detector frame.
    aberrations
        By name [Å, degrees], axes in the stored detector frame.
    rotation_uncertainty, defocus_uncertainty
        Standard deviations [degrees], [Å].
    energy
        Explained energy of the weak-phase model, 0 to 1, of this setting and, `other_parity`, of the other parity.
    sign_significance
        Skewness of the phase image over its standard error; positive: potentials are positive as they should.
    method, reason
        Used, and why.
    image
        Phase [rad] or contrast along the raster's axes.
    image_sampling
        Its pixel (y, x) [Å].
    curls
        Centre of mass, for both parities.
    defocus_curve
        Defocus [Å] and explained energy, all else as estimated; (trial, 2).
    shifts
        Of the virtual images, at the estimate.
    """

    orientation: Orientation
    aberrations: dict[str, float]
    rotation_uncertainty: float
    defocus_uncertainty: float
    energy: float
    other_parity: Candidate
    sign_significance: float
    method: Method
    reason: str
    image: Float[Tensor, "y x"] = field(repr=False)
    image_sampling: tuple[float, float]
    curls: tuple[Curl, Curl]
    defocus_curve: Float[Tensor, "trial 2"] = field(repr=False)
    shifts: Shifts = field(repr=False)

    @property
    def defocus(self) -> float:
        """Underfocus [Å], -C10."""
        return -self.aberrations["C10"]

    @property
    def orientation_known(self) -> bool:
        """Whether parts of the data agree on the rotation, the parity is clear, and no curl contradicts."""
        parity = self.orientation.transposed
        here, there = self.curls[int(parity)], self.curls[int(not parity)]
        clear = self.energy > CLEAR_ENERGY * self.other_parity.energy
        consistent = self.rotation_uncertainty < AGREEMENT / SIGNIFICANT
        difference = abs(wrapped(self.orientation.rotation - here.rotation, 180.0))
        contradicted = there.least < here.least - CLEAR_CURL or (
            here.least < 0.5 - CLEAR_CURL and difference > max(AGREEMENT, SIGNIFICANT * here.uncertainty)
        )
        return clear and consistent and not contradicted

    def twin(self) -> "OpticalEstimate":
        """Return the setting that explains the data equally well with V(r) -> -V(-r)."""
        return replace(
            self,
            orientation=self.orientation.turned(180.0),
            aberrations=to_polar(
                -to_cartesian(self.aberrations, max(int(name[1]) for name in self.aberrations if name[0] == "C"))
            ),
            sign_significance=-self.sign_significance,
            image=self.image if self.method == "parallax" else -self.image,
        )

    @property
    def sign_known(self) -> bool:
        """Whether the data tell the setting from its twin."""
        return abs(self.sign_significance) >= SIGNIFICANT


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
        How; `auto` chooses from the sampling.
    order
        Highest n of the aberrations Cnm, 1 to 3.
    near
        Orientation known beforehand, from which the search starts; its parity and its choice between the twins are
        kept. None to find all of it.
    refine_rotation
        Whether the rotation may change from there.

    Raises
    ------
    ValueError
        The images hold no contrast at all.
    """
    bands = sidebands(data)
    if not bands.spectrum.abs().sum() > 0:
        raise ValueError("the virtual images of the bright disk hold no contrast; expected a specimen in the beam")
    full = thinned(data, bands, 2e-3 * data.semiangle / data.wavelength, REFINE_ELEMENTS)
    every = thinned(data, bands, 2e-3 * data.semiangle / data.wavelength, ALIGNED_ELEMENTS)
    best = best_settings(data, bands, full, near, refine_rotation)
    parity = max(best, key=lambda transposed: best[transposed].energy)
    start = best[parity]
    chosen, reason = choose_method(data, start.coefficients) if method == "auto" else (method, "asked for")
    found, spread, shifts = measure(chosen, data, full, every, start, order, refine_rotation)
    found, significance = with_positive_potential(data, found, near)
    upsampling = image_upsampling(data)
    image = phase_image(chosen, data, found.orientation, found.coefficients, upsampling)
    other = best.get(not parity, found)
    return OpticalEstimate(
        orientation=found.orientation,
        aberrations=to_polar(found.coefficients),
        rotation_uncertainty=spread[0],
        defocus_uncertainty=spread[1],
        energy=found.energy,
        other_parity=other,
        sign_significance=significance,
        method=chosen,
        reason=reason,
        image=image,
        image_sampling=(data.step[0] / upsampling, data.step[1] / upsampling),
        curls=(curl(data, False), curl(data, True)),
        defocus_curve=defocus_curve(data, full, found),
        shifts=shifts,
    )


def best_settings(
    data: BrightFieldData, bands: Sidebands, full: Sidebands, near: Orientation | None, rotation: bool
) -> dict[bool, Candidate]:
    """Return the setting of largest explained energy for each parity that is in question."""
    low, cut = scan_band(data, bands)
    middle = thinned(data, bands, 2 * cut, REFINE_ELEMENTS)
    trials = scan_settings("weak-phase", data, bands, near)
    best = {}
    for transposed in (False, True) if near is None else (near.transposed,):
        of_parity = [trial for trial in trials if trial.orientation.transposed == transposed]
        first = distinct(of_parity, REFINED, data)
        refined = [refine("weak-phase", data, low, trial, 1, rotation=rotation) for trial in first]
        winner = max(refined, key=lambda one: one.energy)
        finer = refine("weak-phase", data, middle, winner, 1, rotation=rotation)
        best[transposed] = refine("weak-phase", data, full, finer, 1, rotation=rotation)
    return best


def choose_method(data: BrightFieldData, coefficients: Float[Tensor, " term"]) -> tuple[Method, str]:
    """Return the method that suits the sampling, and the reason in a sentence."""
    nyquist = data.wavelength / (2e-3 * data.semiangle)
    step = max(data.step)
    edge = 1e-3 * data.semiangle
    shift = (coefficients[0].abs() + coefficients[1:3].norm()).item() * edge / step
    phase = math.pi / data.wavelength * coefficients[0].abs().item() * edge**2
    says = f"the scan step of {step:.3g} Å against lambda/2alpha = {nyquist:.3g} Å"
    moves = f"defocus moves the image of the disk's edge by {shift:.1f} steps"
    if step > ALIASED * nyquist and shift >= CLEAR_SHIFT:
        return "parallax", f"{says} undersamples the bright field, and {moves}"
    if step > 1.05 * nyquist:
        return "weak-phase", f"{says} undersamples the bright field so little that aliases are told apart; {moves}"
    if phase < math.pi / 4:
        return "single-sideband", f"{says} samples the bright field, and the probe is in focus"
    return "weak-phase", f"{says} samples the bright field, and aberrations reach {phase:.1f} rad at the disk's edge"


def measure(
    method: Method,
    data: BrightFieldData,
    full: Sidebands,
    every: Sidebands,
    start: Candidate,
    order: int,
    rotation: bool,
) -> tuple[Candidate, tuple[float, float], Shifts]:
    """Return the setting by `method`, the uncertainties of rotation [degrees] and defocus [Å], and the shifts."""
    turned, aligned, shifts = align(data, every, start.orientation, start.coefficients, order)
    if method == "parallax":
        found = replace(start, orientation=turned if rotation else start.orientation, coefficients=aligned)
        k = data.angles * 1e-3
        parts = []
        for group in range(GROUPS):
            of_group = slice(group, None, GROUPS)
            where, what, _ = fit_shifts(k[of_group], shifts.measured[of_group], turned, aligned, order)
            parts.append(Candidate(where, what, 0.0))
    else:
        found = refine(method, data, full, start, order, rotation=rotation)
        parts = [
            refine(method, data, band, found, order, rotation=rotation, iterations=12)
            for band in split_frequencies(full, GROUPS)
        ]
    energy = explained_energy("weak-phase", data, full, found.orientation.matrix(), found.coefficients)
    return replace(found, energy=energy.item()), _spread(found, parts), shifts


def _spread(found: Candidate, parts: list[Candidate]) -> tuple[float, float]:
    """Return the standard errors of rotation [degrees] and defocus [Å] from independent parts of the data."""
    angles = [wrapped(part.orientation.rotation - found.orientation.rotation) for part in parts]
    defoci = [(part.coefficients[0] - found.coefficients[0]).item() for part in parts]
    degrees = len(parts) * (len(parts) - 1)
    return math.sqrt(sum(a * a for a in angles) / degrees), math.sqrt(sum(d * d for d in defoci) / degrees)


def with_positive_potential(
    data: BrightFieldData, found: Candidate, near: Orientation | None
) -> tuple[Candidate, float]:
    """Return the setting or its twin, whichever makes the phase skewed to positive values, and the significance.

    The skewness of the integrated centre of mass and of the weak-phase image are two looks at the same sign; the
    more significant one decides. A known orientation is kept and its significance said.
    """
    looks = [
        phase_image("weak-phase", data, found.orientation, found.coefficients),
        integrated(data, found.orientation),
    ]
    values = [skew / max(error, 1e-300) for skew, error in map(skewness, looks)]
    significance = max(values, key=abs)
    if significance < 0 and near is None:
        return found.twin(), -significance
    return found, significance


def defocus_curve(
    data: BrightFieldData, bands: Sidebands, found: Candidate, trials: int = 41
) -> Float[Tensor, "trial 2"]:
    """Return defocus [Å] and explained energy about the estimate, out to its double or two depths of field."""
    centre = found.coefficients[0].item()
    reach = max(abs(centre), 2 * data.wavelength / (1e-3 * data.semiangle) ** 2)
    curve = []
    few = thinned(data, bands, math.inf, REFINE_ELEMENTS // 4)
    for value in torch.linspace(centre - reach, centre + reach, trials, dtype=torch.float64):
        coefficients = torch.cat([value[None], found.coefficients[1:]])
        energy = explained_energy("weak-phase", data, few, found.orientation.matrix(), coefficients)
        curve.append(torch.stack([-value, energy]))
    return torch.stack(curve).flip(0)

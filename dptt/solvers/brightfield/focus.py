"""Whether a tilt is out of focus or a search has found a side peak: its own focus against that of the other tilts."""

from dataclasses import dataclass, replace

import torch

from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.search import (
    REFINE_ELEMENTS,
    Candidate,
    best_of,
    energy_difference,
    explained_energy,
    refine,
    thinned,
)
from dptt.solvers.brightfield.transfer import sidebands

TRIALS = 25
"""Foci tried about that of the other tilts."""
CLOSE = 0.5
"""Two foci on one peak differ by less than this part of how far from the others a focus is near them."""


@dataclass(frozen=True)
class FocusEvidence:
    """The focus of one tilt against the best one near that of the other tilts.

    Parameters
    ----------
    usual
        The setting of largest explained energy near the focus of the other tilts.
    difference, error
        Explained energy of the tilt's own focus less that of `usual`, and its standard deviation.
    """

    usual: Candidate
    difference: float
    error: float
    same_peak: bool
    """Whether `usual` is on the slope of the tilt's own peak: there is no other to choose."""

    @property
    def significance(self) -> float:
        """The difference in standard deviations."""
        return self.difference / max(self.error, 1e-300)


def focus_evidence(data: BrightFieldData, own: Candidate, typical: float, reach: float) -> FocusEvidence:
    """Return what speaks for the focus of the setting `own` of a tilt.

    Parameters
    ----------
    data
        Virtual images of the tilt.
    own
        Its own setting.
    typical, reach
        C10 of the other tilts [Å], and how far from it a focus is near it [Å].
    """
    bands = sidebands(data)
    full = thinned(data, bands, 2e-3 * data.semiangle / data.wavelength, REFINE_ELEMENTS)
    matrix, trials = own.orientation.matrix(), []
    for focus in torch.linspace(typical - reach, typical + reach, TRIALS, dtype=torch.float64):
        coefficients = torch.cat([focus[None], own.coefficients[1:3]])
        energy = explained_energy("weak-phase", data, full, matrix, coefficients).item()
        trials.append(Candidate(own.orientation, coefficients, energy))
    best = best_of(trials)
    refined = refine("weak-phase", data, full, best, 1, rotation=False)
    usual = refined if abs(refined.coefficients[0].item() - typical) <= reach else best
    difference, error = energy_difference(data, full, replace(own, coefficients=own.coefficients[:3]), usual)
    middle = (own.coefficients[:3] + usual.coefficients[:3]) / 2
    dip, _ = energy_difference(data, full, usual, replace(own, coefficients=middle))
    close = abs(own.coefficients[0] - usual.coefficients[0]).item() <= CLOSE * reach
    return FocusEvidence(usual, difference, error, close and dip < error)

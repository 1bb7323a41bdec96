"""Signs that one tilt may not tell: of its defocus, and of the potential; decided for all tilts together.

With the scan's orientation known, underfocus and overfocus explain the data differently, though little where the scan
is small or hardly defocused. Where the orientation is searched for, every setting has a twin, see `orientation`; only
the sign of the potential tells the two apart. What no data tell is not left to noise or rounding: the sign of the
defocus and the rotation in the file are kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.orientation import Orientation, wrapped
from dptt.solvers.brightfield.search import (
    Candidate,
    best_of,
    energy_difference,
    refine,
    scan_band,
    scan_settings,
)
from dptt.solvers.brightfield.transfer import Sidebands
from dptt.solvers.ties import ROUNDING

SIGNIFICANT = 3.0
"""Standard deviations."""
AGREEMENT = 10.0
"""[degrees] within which a rotation is the file's."""


@dataclass(frozen=True)
class BothSigns:
    """The best settings of one tilt with either sign of defocus, at one orientation.

    Parameters
    ----------
    underfocus, overfocus
        The settings, by the weak-phase model.
    error
        Standard deviation of the difference of their energies.
    """

    underfocus: Candidate
    overfocus: Candidate
    error: float

    @property
    def difference(self) -> float:
        """Explained energy with underfocus less that with overfocus."""
        return self.underfocus.energy - self.overfocus.energy

    def twin(self) -> "BothSigns":
        """Return the same for the scan rotated by 180°: what was underfocus is overfocus."""
        return BothSigns(self.overfocus.twin(), self.underfocus.twin(), self.error)


@dataclass(frozen=True)
class SeriesSign:
    """Which sign of defocus all tilts together show.

    Parameters
    ----------
    sign
        1 for underfocus, -1 for overfocus.
    significance
        Of that, in standard deviations; negative if the data prefer the other sign.
    known
        Whether the data tell it.
    """

    sign: int
    significance: float
    known: bool


def both_signs(data: BrightFieldData, bands: Sidebands, full: Sidebands, best: Candidate) -> BothSigns:
    """Return the `best` setting beside that of the other sign of defocus at the same orientation."""
    low, _ = scan_band(data, bands)
    sign = 1 if best.coefficients[0] <= 0 else -1
    start = best_of(
        [
            trial
            for trial in scan_settings("weak-phase", data, low, best.orientation)
            if sign * trial.coefficients[0] >= 0
        ]
    )
    for band in (low, full):
        start = refine("weak-phase", data, band, start, 1, rotation=False, sign=-sign)
    _, error = energy_difference(data, full, best, start)
    return BothSigns(best, start, error) if sign > 0 else BothSigns(start, best, error)


def series_sign(tilts: Sequence[BothSigns], told: int) -> SeriesSign:
    """Return the sign of defocus for which the explained energies, summed over the tilts, are larger.

    `told` is the file's sign, 0 if it has none. Where the data do not tell the sign, the file's is returned; without
    one, that of the larger sum, or underfocus if the two are equal but for rounding.
    """
    difference = sum(one.difference for one in tilts)
    total = sum(max(one.underfocus.energy, one.overfocus.energy) for one in tilts)
    error = math.sqrt(sum(one.error**2 for one in tilts))
    equal = abs(difference) <= ROUNDING * total
    shown = -1 if difference < 0 and not equal else 1
    significance = 0.0 if equal else abs(difference) / max(error, ROUNDING * total)
    if significance >= SIGNIFICANT or told == 0:
        return SeriesSign(shown, significance, significance >= SIGNIFICANT)
    return SeriesSign(told, significance * shown * told, False)


def twin_is_better(
    significance: float,
    orientation: Orientation,
    sign: SeriesSign,
    *,
    told_orientation: Orientation,
    told_sign: int,
) -> bool:
    """Return whether the twin of a setting is to be taken.

    The sign of the potential decides where the data tell it; otherwise the file's defocus, if it has one and the data
    tell the sign for this orientation; otherwise the file's rotation, if it is that of either twin; otherwise the
    sign of the potential all the same, or underfocus.

    Parameters
    ----------
    significance
        Of positive potentials of the setting, all tilts together [standard deviations].
    orientation, sign
        Of the setting, and of its defocus.
    told_orientation, told_sign
        Of the file; 0 if it has no defocus.
    """
    if abs(significance) >= SIGNIFICANT:
        return significance < 0
    if sign.known and told_sign:
        return sign.sign != told_sign
    turn = abs(wrapped(orientation.rotation - told_orientation.rotation))
    if min(turn, 180 - turn) < AGREEMENT:
        return turn > 90
    return significance < 0 if abs(significance) > ROUNDING else sign.sign < 0

"""From the bright fields of all tilts to one calibration of the series.

All tilts have the same scan orientation and the same sign of the potential. Each has a defocus of its own, as a stage
changes the height of the specimen between tilts, but the same sign of it unless its data clearly tell otherwise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dptt.assembly.brightfield import bright_field_data, file_orientation
from dptt.assembly.brightfield_tilts import numbers
from dptt.assembly.geometry import depth_of_field
from dptt.config.brightfield import BrightFieldConfig
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.physics.aberrations import to_cartesian, to_polar
from dptt.solvers.brightfield import BrightFieldData, OpticalEstimate, Orientation, estimate_optics
from dptt.solvers.brightfield.correction import DEPTH_FRACTION
from dptt.solvers.brightfield.focus import focus_evidence
from dptt.solvers.brightfield.orientation import wrapped
from dptt.solvers.brightfield.search import Candidate
from dptt.solvers.brightfield.signs import SIGNIFICANT, SeriesSign, series_sign, twin_is_better

LARGEST_DEFOCUS_CHANGE = 0.5
"""Of a tilt from the median of all, as a fraction of the median."""
LARGEST_DEVIATION = 2.0
"""[degrees] by which the rotation of one tilt may differ from that of the series, or three standard deviations if
that is more."""


@dataclass(frozen=True)
class SeriesOptics:
    """Estimates of all tilts that share one orientation and one sign of the potential."""

    estimates: dict[str, OpticalEstimate]
    """Name of the tilt -> estimate, the least tilted first."""
    orientation: Orientation
    rotation_uncertainty: float
    """[degrees]"""
    sign: SeriesSign
    """Of the defocus."""
    told_sign: int
    """Of the defocus in the file, 0 if it has none."""
    out_of_focus: tuple[str, ...] = ()
    """A sentence for every tilt whose defocus is far from that of the others."""

    @property
    def least_tilted(self) -> OpticalEstimate:
        """The estimate of the least tilted tilt."""
        return next(iter(self.estimates.values()))

    @property
    def sign_significance(self) -> float:
        """Significance of positive potentials of all tilts together [standard deviations]."""
        return sign_significance(self.estimates)


def combine_tilts(
    settings: BrightFieldConfig, series: TiltSeries, estimates: Mapping[str, OpticalEstimate]
) -> SeriesOptics:
    """Return the optics of the series from independent `estimates` of its tilts, the least tilted first.

    The rotation is the median over the tilts. A tilt whose rotation is far from it is estimated again with that
    rotation. The signs of potential and defocus are those that all tilts together show, or the file's where they show
    none. A tilt whose defocus is far from the median keeps it if its data tell it from every one near the median, and
    else takes the optics of the tilt with the median defocus.
    """
    tilts = {tilt.name: tilt for tilt in series.tilts}
    told_sign = int(np.sign(np.median([-tilts[name].aberrations.get("C10", 0.0) for name in estimates])))
    first = next(iter(estimates))
    if settings.orientation == "estimate" and twin_is_better(
        sign_significance(estimates),
        estimates[first].orientation,
        series_sign([estimate.by_sign for estimate in estimates.values()], 0),
        told_orientation=file_orientation(tilts[first]),
        told_sign=told_sign,
    ):
        estimates = {name: estimate.twin() for name, estimate in estimates.items()}
    orientation, uncertainty = _common_orientation(list(estimates.values()))
    if settings.orientation != "keep":
        estimates = _estimated_again(settings, series, estimates, orientation)
    depth = depth_of_field(series.energy, series.semiangle_cutoff)
    sign = series_sign([estimate.by_sign for estimate in estimates.values()], told_sign)
    estimates, sentences = with_plausible_defocus(
        with_common_sign(estimates, sign, depth), depth, lambda name: bright_field_data(tilts[name], series)
    )
    return SeriesOptics(estimates, orientation, uncertainty, sign, told_sign, tuple(sentences))


def sign_significance(estimates: Mapping[str, OpticalEstimate]) -> float:
    """Return the significance of positive potentials of all `estimates` together [standard deviations]."""
    return sum(e.sign_significance for e in estimates.values()) / math.sqrt(len(estimates))


def with_common_sign(
    estimates: Mapping[str, OpticalEstimate], sign: SeriesSign, depth: float
) -> dict[str, OpticalEstimate]:
    """Return the estimates, with those of the other sign of defocus at the optimum of this `sign`.

    A tilt keeps its own sign if its data tell it, or if it or that optimum is in focus within a fraction of the
    `depth` of field [Å].
    """
    result, in_focus_up_to = dict(estimates), DEPTH_FRACTION * depth
    for name, estimate in estimates.items():
        own_sign = series_sign([estimate.by_sign], 0)
        keeps = own_sign.known and own_sign.sign * estimate.defocus > 0
        setting = estimate.by_sign.underfocus if sign.sign > 0 else estimate.by_sign.overfocus
        in_focus = [sign.sign * value < in_focus_up_to for value in (-estimate.defocus, -setting.coefficients[0])]
        if keeps or any(in_focus):
            continue
        order = max(int(key[1]) for key in estimate.aberrations if key[0] == "C")
        coefficients = to_cartesian(estimate.aberrations, order)
        coefficients[:3] = setting.coefficients[:3]
        result[name] = replace(
            estimate,
            aberrations=to_polar(coefficients),
            energy=setting.energy,
            defocus_uncertainty=LARGEST_DEFOCUS_CHANGE * abs(setting.coefficients[0].item()) / SIGNIFICANT,
        )
        log.info(
            f"tilt {name}: its data do not tell the sign of its defocus of {estimate.defocus:.4g} Å; using "
            f"{result[name].defocus:.4g} Å, of the sign of the series"
        )
    return result


def sign_sentence(optics: SeriesOptics) -> str:
    """Return which sign the defocus has, and how that is known."""
    name = "underfocus" if optics.sign.sign > 0 else "overfocus"
    evidence = f"explained energy of all tilts: {optics.sign.significance:.1f} standard deviations"
    if optics.sign.known:
        return f"the sign of the defocus is known: {name} ({evidence})"
    if optics.told_sign:
        return f"the sign of the defocus cannot be told from these data ({evidence} for the file's): {name} is kept"
    return (
        f"the sign of the defocus cannot be told from these data ({evidence} for {name}), and the file has none: "
        f"{name} is taken. Set the defocus in the import section, at least roughly"
    )


def outlying_defocus(defocus: Mapping[str, float], depth: float = 0.0) -> tuple[list[str], str]:
    """Return the tilts whose defocus [Å] is far from the median, and the tilt that has the median.

    A stage changes the height of the specimen between tilts, but seldom by half of the defocus, or by the `depth` of
    field [Å] if that is more. An estimate so far from the others may have found a side peak.
    """
    names = sorted(defocus, key=lambda name: defocus[name])
    median = names[len(names) // 2]
    limit = _largest_change(defocus[median], depth)
    far = [name for name, value in defocus.items() if abs(value - defocus[median]) > limit]
    return (far if len(names) > 2 else []), median


def _common_orientation(estimates: list[OpticalEstimate]) -> tuple[Orientation, float]:
    """Return the orientation with the median rotation, and the standard deviation of that rotation [degrees]."""
    first = estimates[0].orientation
    differences = np.array([wrapped(e.orientation.rotation - first.rotation) for e in estimates])
    common = first.rotated(float(np.median(differences)))
    deviations = np.abs(differences - np.median(differences))
    from_spread = 1.4826 * float(np.median(deviations)) / math.sqrt(len(differences))
    from_tilts = float(np.median([e.rotation_uncertainty for e in estimates])) / math.sqrt(len(differences))
    return common, max(from_spread, from_tilts)


def _estimated_again(
    settings: BrightFieldConfig,
    series: TiltSeries,
    estimates: Mapping[str, OpticalEstimate],
    common: Orientation,
) -> dict[str, OpticalEstimate]:
    """Return the estimates, with those whose rotation is far from the `common` one repeated at that rotation."""
    result = dict(estimates)
    tilts = {tilt.name: tilt for tilt in series.tilts}
    for name, estimate in estimates.items():
        deviation = abs(wrapped(estimate.orientation.rotation - common.rotation))
        if deviation > max(SIGNIFICANT * estimate.rotation_uncertainty, LARGEST_DEVIATION):
            data = bright_field_data(tilts[name], series)
            result[name] = estimate_optics(data, settings.method, settings.aberration_order, common, False)
            log.info(
                f"tilt {name}: its scan rotation differs by {deviation:.1f}° from the series; estimated again with "
                f"that of the series: {numbers(result[name])}"
            )
    return result


def _largest_change(defocus: float, depth: float) -> float:
    """Return how far from the median `defocus` that of a tilt may be before it is doubted [Å]."""
    return max(LARGEST_DEFOCUS_CHANGE * abs(defocus), depth)


def with_plausible_defocus(
    estimates: Mapping[str, OpticalEstimate], depth: float, data_of: Callable[[str], BrightFieldData]
) -> tuple[dict[str, OpticalEstimate], list[str]]:
    """Return the estimates, and a sentence for each whose defocus is far from the median.

    Such a tilt keeps its optics if they explain its data better than any near the median, beyond their error, or if
    the best near the median is on the slope of the same peak. Otherwise it takes those of the tilt of median defocus.
    """
    far, median = outlying_defocus({name: estimate.defocus for name, estimate in estimates.items()}, depth)
    result, typical, sentences = dict(estimates), estimates[median], []
    for name in far:
        own = estimates[name]
        evidence = focus_evidence(
            data_of(name),
            Candidate(own.orientation, to_cartesian(own.aberrations, 1), own.energy),
            typical=-typical.defocus,
            reach=_largest_change(typical.defocus, depth),
        )
        compared = (
            f"{own.defocus:.4g} Å explains {own.energy:.1%} of its contrast, the best defocus near that of the other "
            f"tilts {own.energy - evidence.difference:.1%} ({evidence.significance:.1f} standard deviations less)"
        )
        if evidence.significance >= SIGNIFICANT or evidence.same_peak:
            sentences.append(
                f"tilt {name} is {abs(own.defocus - typical.defocus):.0f} Å out of focus: its defocus of {compared}"
            )
            continue
        sentences.append(
            f"tilt {name}: its defocus is far from that of the other tilts and not certain: {compared}; using their "
            f"median of {typical.defocus:.4g} Å"
        )
        uncertainty = LARGEST_DEFOCUS_CHANGE * abs(typical.defocus) / SIGNIFICANT
        result[name] = replace(own, aberrations=typical.aberrations, defocus_uncertainty=uncertainty)
    return result, sentences

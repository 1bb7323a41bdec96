"""From the bright fields of all tilts to one calibration of the series.

All tilts have the same scan orientation and the same sign of the potential. Each has a defocus of its own, as a stage
changes the height of the specimen between tilts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dptt.assembly.brightfield import bright_field_data
from dptt.assembly.brightfield_tilts import numbers
from dptt.config.brightfield import BrightFieldConfig
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.solvers.brightfield import OpticalEstimate, Orientation, estimate_optics
from dptt.solvers.brightfield.optical_estimate import SIGNIFICANT
from dptt.solvers.brightfield.orientation import wrapped

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
    rotation. A tilt whose defocus is far from the median takes the optics of the tilt with the median defocus.
    """
    if settings.orientation == "estimate" and sign_significance(estimates) < 0:
        estimates = {name: estimate.twin() for name, estimate in estimates.items()}
    orientation, uncertainty = _common_orientation(list(estimates.values()))
    if settings.orientation != "keep":
        estimates = _estimated_again(settings, series, estimates, orientation)
    return SeriesOptics(_with_plausible_defocus(estimates), orientation, uncertainty)


def sign_significance(estimates: Mapping[str, OpticalEstimate]) -> float:
    """Return the significance of positive potentials of all `estimates` together [standard deviations]."""
    return sum(e.sign_significance for e in estimates.values()) / math.sqrt(len(estimates))


def outlying_defocus(defocus: Mapping[str, float]) -> tuple[list[str], str]:
    """Return the tilts whose defocus [Å] is far from the median, and the tilt that has the median.

    A stage changes the height of the specimen between tilts, but not by half of the defocus. An estimate so far from
    the others has found a side peak.
    """
    names = sorted(defocus, key=lambda name: defocus[name])
    median = names[len(names) // 2]
    limit = LARGEST_DEFOCUS_CHANGE * abs(defocus[median])
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


def _with_plausible_defocus(estimates: Mapping[str, OpticalEstimate]) -> dict[str, OpticalEstimate]:
    """Return the estimates, with the optics of the tilt of median defocus for those whose defocus is far from it."""
    far, median = outlying_defocus({name: estimate.defocus for name, estimate in estimates.items()})
    result, typical = dict(estimates), estimates[median]
    for name in far:
        log.warning(
            f"tilt {name}: its defocus of {estimates[name].defocus:.4g} Å is far from that of the other tilts; using "
            f"their median of {typical.defocus:.4g} Å"
        )
        uncertainty = LARGEST_DEFOCUS_CHANGE * abs(typical.defocus) / SIGNIFICANT
        result[name] = replace(estimates[name], aberrations=typical.aberrations, defocus_uncertainty=uncertainty)
    return result

"""What `dptt validate` checks: what the file says against what the data say, one line an item.

- `record`: one line of the table, and the table
- `samples`: the parts of a series that are read
- `geometry`: energy, tilt angles, rotation axis, overlap, density of the scan, probe window, slices
- `detector`: mask, faulty pixels, zero angle, aperture, distortion; `disk` finds the bright disk
- `counts`: are these electrons?
- `extent`: does the specimen end within the scan?
- `optics`: parity, scan rotation, scan step, defocus; `shifts` measures them
"""

from dptt.assembly.validation.counts import electrons_check, sample_counts, statistics_check, too_few_electrons
from dptt.assembly.validation.detector import (
    centre_check,
    ellipticity_check,
    mask_check,
    pixels_check,
    radius_check,
    sample_detector,
)
from dptt.assembly.validation.extent import extent_check
from dptt.assembly.validation.geometry import (
    angles_check,
    centre_of_scan_check,
    density_check,
    energy_check,
    overlap_check,
    slices_check,
    window_check,
)
from dptt.assembly.validation.optics import DEFOCUS, STEP, optics_checks
from dptt.assembly.validation.record import WRONG, Check, as_json, table
from dptt.io.dataset import TiltSeries
from dptt.model.forward import Geometry

__all__ = ["Check", "as_json", "check_series", "table"]


def check_series(series: TiltSeries, geometry: Geometry | None) -> list[Check]:
    """Return all checks of a series; those that depend on an item that is wrong are left open.

    Parameters
    ----------
    geometry
        The grids; None if they cannot be planned.
    """
    samples = sample_detector(series)
    counts = sample_counts(series, samples)
    beam = [energy_check(series), angles_check(series), centre_of_scan_check(series)]
    detector = [
        mask_check(samples),
        pixels_check(samples),
        centre_check(samples, series),
        radius_check(samples, series),
        ellipticity_check(samples, series),
    ]
    electrons = electrons_check(counts, series)
    noise = statistics_check(counts, series, _depends_on([electrons]))
    blocked = _depends_on([beam[0], detector[0], detector[2], detector[3]]) or too_few_electrons(counts)
    optics = optics_checks(series, blocked)
    needs_step = _depends_on([beam[0], *(check for check in optics if check.item == STEP)])
    scan = [density_check(series, needs_step)]
    if geometry is not None:
        needs_probe = needs_step or _depends_on([check for check in optics if check.item == DEFOCUS])
        scan = [overlap_check(series, geometry, needs_probe), *scan]
        scan += [
            extent_check(
                series, geometry, _depends_on([beam[0], detector[2], electrons]) or too_few_electrons(counts)
            )
        ]
        scan += [window_check(series, geometry), slices_check(series, geometry)] if beam[0].verdict != WRONG else []
    return [*beam, *detector, electrons, noise, *optics, *scan]


def _depends_on(checks: list[Check]) -> str:
    """Return why later checks are left open: the first of `checks` that is wrong; empty if none is."""
    return next((f"depends on the {check.item}" for check in checks if check.verdict == WRONG), "")

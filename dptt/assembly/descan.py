"""The descan of a tilt from its patterns, as a start for the loop and for the bright field."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from dptt.assembly.start import TiltStart
from dptt.assembly.usable_pixels import usable_pixels
from dptt.io.dataset import Tilt, TiltSeries
from dptt.logs import log
from dptt.model.calibration import DESCAN, pattern_shifts
from dptt.solvers.brightfield.descan import Descan, measured_descan

PATTERNS, BYTES = 1024, 32 << 20
"""Patterns of a tilt that are read at most, chosen at random: evenly spaced ones may lie on a line of the raster."""
SIGNIFICANCE = 10.0
"""From which a descan is believed."""
LEAST = 0.1
"""Displacement at the edge of the scan from which it matters [pixels]."""
PLAIN = 0.3
"""The same where nothing refines it, see `starts_with_descan`. A particle in the scan looks like 0.07 pixels."""


def find_descan(
    tilt: Tilt, series: TiltSeries, positions: NDArray[np.float64], *, least: float = LEAST
) -> Descan | None:
    """Return the descan of a tilt for `positions` [Å] of all its patterns; None if there is none that matters.

    It matters if it displaces a pattern by more than the `least` [pixels].
    """
    size = int(np.prod(tilt.detector_shape)) * tilt.dtype.itemsize
    order = np.random.default_rng(0).permutation(tilt.quick_to_read())
    chosen = np.sort(order[: min(PATTERNS, BYTES // size)])
    patterns = tilt.read(chosen).astype(np.float64)
    at, centres = torch.from_numpy(positions[chosen]), pattern_centres(patterns, usable_pixels(tilt, series))
    good = torch.isfinite(centres).all(1)
    found = measured_descan(at[good], centres[good])
    matters = found.shifts(at).abs().max().item() > least and found.significance > SIGNIFICANCE
    return found if matters else None


def with_descan(start: TiltStart, tilt: Tilt, series: TiltSeries, *, least: float = LEAST) -> TiltStart:
    """Return the start of a tilt with the descan that its patterns show, if one matters and none is known."""
    if start.calibration[DESCAN].any():
        return start
    found = find_descan(tilt, series, start.scan_positions, least=least)
    if found is None:
        return start
    calibration = start.calibration.clone()
    calibration[DESCAN] = found.matrix.reshape(-1)
    return replace(start, calibration=calibration)


def starts_with_descan(
    starts: Mapping[str, TiltStart], series: TiltSeries, *, refined: bool = True
) -> dict[str, TiltStart]:
    """Return the starts of all tilts with the descan that their patterns show, and say how large it is.

    Unless it is `refined` afterwards, it is used only where it is so large that no specimen looks like it: without it
    nothing would fit.
    """
    tilts, least = {tilt.name: tilt for tilt in series.tilts}, LEAST if refined else PLAIN
    found = {name: with_descan(start, tilts[name], series, least=least) for name, start in starts.items()}
    if sentence := descan_sentence(found):
        log.info(sentence)
    return found


def descan_sentence(starts: Mapping[str, TiltStart]) -> str:
    """Say by how much the descan displaces the patterns; nothing if it does not."""
    largest = [_largest(start) for start in starts.values() if start.calibration[DESCAN].any()]
    if not largest:
        return ""
    return (
        f"the beam moves on the detector with the scan: descan of {min(largest):.2g} to {max(largest):.2g} pixels at "
        f"the edge, in {len(largest)} of {len(starts)} tilts"
    )


def _largest(start: TiltStart) -> float:
    shifts = pattern_shifts(start.calibration, torch.from_numpy(start.scan_positions))
    return 0.0 if shifts is None else torch.linalg.vector_norm(shifts, dim=1).max().item()


def pattern_centres(
    patterns: Float[np.ndarray, "pos ky kx"], mask: NDArray[np.bool_] | None
) -> Float[torch.Tensor, "pos 2"]:
    """Return the centre of mass of every pattern (y, x) [pixels from n//2]; NaN of an empty one."""
    if mask is not None:
        patterns = np.where(mask, patterns, 0.0)
    totals = patterns.sum((1, 2))
    axes = [np.arange(n) - n // 2 for n in patterns.shape[1:]]
    with np.errstate(invalid="ignore", divide="ignore"):
        centres = np.stack([patterns.sum(2) @ axes[0], patterns.sum(1) @ axes[1]], axis=1) / totals[:, None]
    return torch.from_numpy(centres)

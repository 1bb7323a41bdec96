"""Patterns and virtual images as the page embeds them, for ``web/patterns.js``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.report.drawing import robust_limits
from dptt.report.embedding import quantised
from dptt.report.measured import Diffraction, MeasuredTilt, ScanMap

FEWEST_ELECTRONS = 0.25
"""Variance of shot noise below which the difference is not magnified further [electrons per pixel]."""


def diffraction_data(diffraction: Diffraction) -> dict[str, Any]:
    """Return the patterns of all tilts; the page begins with the tilt nearest to 0°."""
    thetas = [abs(tilt.theta) for tilt in diffraction.tilts]
    shape = diffraction.tilts[0].mean.shape
    return {
        "shape": list(shape),
        "sampling": list(diffraction.sampling),
        "semiangle": diffraction.semiangle,
        "floor": FEWEST_ELECTRONS,
        "start": int(np.argmin(thetas)),
        "tilts": [_tilt(tilt) for tilt in diffraction.tilts],
    }


def _tilt(tilt: MeasuredTilt) -> dict[str, Any]:
    entry = {
        "name": tilt.name,
        "theta": tilt.theta,
        "count": len(tilt.positions),
        "step": tilt.step,
        "electrons": float(tilt.mean.sum()),
        "positions": _between_extremes(tilt.positions, 16),
        "mean": _between_extremes(tilt.mean, 16),
        "maps": {name: _map(map_, tilt) for name, map_ in tilt.maps.items()},
        "sampled": tilt.sampled.tolist(),
    }
    stacks = {"measured": tilt.measured} | ({} if tilt.modelled is None else {"modelled": tilt.modelled})
    if len(tilt.sampled):
        top = max(float(np.sqrt(stack.max(initial=0.0))) for stack in stacks.values()) or 1.0
        entry |= {name: quantised(np.sqrt(np.maximum(stack, 0)), (0.0, top), 8) for name, stack in stacks.items()}
    return entry


def _map(map_: ScanMap, tilt: MeasuredTilt) -> dict[str, Any]:
    known = np.flatnonzero(np.isfinite(map_.values))
    indices = np.arange(len(tilt.positions)) if map_.indices is None else map_.indices
    low, high = robust_limits(map_.values)
    spread = np.sqrt(len(tilt.positions) / max(len(indices), 1))
    return {
        "title": map_.title,
        "unit": map_.unit,
        "colours": map_.colours,
        "values_low": low,
        "values_high": high,
        "step": tilt.step * float(spread),
        "indices": indices[known].tolist(),
        "values": quantised(map_.values[known], (low, high), 8),
    }


def _between_extremes(values: NDArray[np.floating], bits: int) -> dict[str, Any]:
    finite = np.nan_to_num(values)
    return quantised(finite, (float(finite.min()), float(finite.max())), bits)

"""Checks of the counts in a tilt series, for ``dptt validate``: reads the patterns block by block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.dataset import Tilt

BLOCK_BYTES = 64 * 2**20
EMPTY = "no counts at all"
CURES = {
    "pixels that are NaN or infinite": "Mask them, or export the data again.",
    "negative counts": "Subtract less background, or mask the pixels.",
    EMPTY: "Check the beam blanker, or leave these positions out (import.scan.flyback: the end of every row).",
    "pixels at the largest value of {dtype}": "Mask the pixels, or convert with a wider type.",
}


def check_patterns(
    tilt: Tilt, *, every: int = 1, empty_is_faulty: bool = True, block_bytes: int = BLOCK_BYTES
) -> list[str]:
    """Return one sentence for each kind of bad pattern in `tilt`, with their number and the first five.

    Checks for counts that are not finite, negative counts, empty patterns and saturated pixels (at the largest value
    of an integer type). Pixels that the tilt's mask excludes are ignored.

    Parameters
    ----------
    tilt
        A tilt of an open series.
    every
        Check only every `every`-th pattern.
    empty_is_faulty
        Whether a pattern without counts is a fault; at a few electrons per pattern it is not.
    block_bytes
        Memory for one block of patterns [byte].
    """
    numbers = np.arange(0, tilt.num_positions, every)
    pattern_bytes = int(np.prod(tilt.detector_shape)) * tilt.dtype.itemsize
    block_size = max(1, block_bytes // pattern_bytes)
    mask = tilt.mask()
    bad: dict[str, list[int]] = {kind: [] for kind in CURES}
    for start in range(0, numbers.size, block_size):
        block = numbers[start : start + block_size]
        counts = tilt.read(block)
        valid = counts.reshape(block.size, -1) if mask is None else counts[:, mask]
        for kind, is_bad in _bad_patterns(valid).items():
            bad[kind] += block[is_bad].tolist()
    if not empty_is_faulty:
        del bad[EMPTY]
    return [_sentence(tilt, kind, positions, numbers.size) for kind, positions in bad.items() if positions]


def _bad_patterns(counts: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    """Return a boolean array per kind of problem: which of the patterns (n, pixels) have it."""
    lowest, highest = counts.min(axis=1), counts.max(axis=1)  # both are NaN if a pixel is
    not_finite = ~(np.isfinite(lowest) & np.isfinite(highest))
    negative = (counts < 0).any(axis=1)
    empty = (lowest == 0) & (highest == 0)
    is_integer = counts.dtype.kind in "iu"
    saturated = highest == np.iinfo(counts.dtype).max if is_integer else np.zeros(len(counts), bool)
    return dict(zip(CURES, (not_finite, negative, empty, saturated), strict=True))


def _sentence(tilt: Tilt, kind: str, positions: list[int], num_read: int) -> str:
    first = ", ".join(str(number) for number in positions[:5]) + (", ..." if len(positions) > 5 else "")
    problem = kind.format(dtype=tilt.dtype)
    return f"tilts/{tilt.name}: {len(positions)} of {num_read} patterns have {problem}: {first}. {CURES[kind]}"

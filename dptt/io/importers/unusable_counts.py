"""Counts that are NaN or infinite, which no reconstruction can use: refused unless the mask leaves them out."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError

FIRST = 3
"""Patterns, and pixels, that are named."""


@dataclass
class _OfTilt:
    """Patterns of one tilt with such counts."""

    source: str
    tilt: int
    read: int = 0
    patterns: list[int] = field(default_factory=list)
    pixels: NDArray[np.int64] | None = None
    """How often each pixel (ky, kx) was NaN or infinite."""


class UnusableCounts:
    """A tally of NaN and infinite counts on valid pixels over all tilts."""

    def __init__(self) -> None:
        self._tilts: dict[int, _OfTilt] = {}

    def tally(
        self,
        patterns: NDArray[Any],
        sums: NDArray[Any],
        *,
        mask: NDArray[np.bool_] | None,
        source: str,
        tilt: int,
    ) -> None:
        """Count those in the next `patterns` (n, ky, kx), of the given `sums` (n,), of a tilt."""
        if patterns.dtype.kind != "f":
            return
        entry = self._tilts.setdefault(tilt, _OfTilt(source, tilt))
        first, entry.read = entry.read, entry.read + len(patterns)
        # the sums tell whether to look: they are finite unless a value is not, or, very rarely, one overflows
        if np.isfinite(sums).all():
            return
        unusable = ~np.isfinite(patterns) if mask is None else ~np.isfinite(patterns) & mask
        entry.patterns += (first + np.flatnonzero(unusable.any((1, 2)))).tolist()
        pixels = unusable.sum(0)
        entry.pixels = pixels if entry.pixels is None else entry.pixels + pixels

    def refuse(self) -> None:
        """Raise ImportDescriptionError if there were any: one sentence a tilt, with number, place and cure."""
        bad = [entry for entry in self._tilts.values() if entry.patterns]
        if bad:
            raise ImportDescriptionError(bad[0].source, [_sentence(entry) for entry in bad])


def _sentence(entry: _OfTilt) -> str:
    assert entry.pixels is not None
    pixels = np.argwhere(entry.pixels).tolist()
    always = bool((entry.pixels[entry.pixels > 0] == entry.read).all())
    places = _some([f"({y}, {x})" for y, x in pixels])
    cure = (
        "The same pixels in all patterns: mask them with import.detector.mask."
        if always
        else "Export the data again, or write numbers there: the mean of the neighbours, or zeros in a whole "
        "pattern, which leaves it out. Pixels that are bad in many patterns can be masked with import.detector.mask."
    )
    return (
        f"tilt {entry.tilt:04d}: {len(entry.patterns)} of {entry.read} patterns have NaN or infinite counts "
        f"({int(entry.pixels.sum())} in all): patterns {_some([str(number) for number in entry.patterns])}; pixels "
        f"(ky, kx) of the imported pattern {places}; expected finite counts. {cure}"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:FIRST]) + (f" and {len(names) - FIRST} more" if len(names) > FIRST else "")

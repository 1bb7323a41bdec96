"""Negative counts, which read-out noise and the subtraction of a dark image leave: refused, set to zero, or kept."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError

Choice = Literal["error", "clip", "keep"]
CAUSE = "Read-out noise, or a dark image that was subtracted, leaves them."


@dataclass
class NegativeCounts:
    """What becomes of negative counts on valid pixels, and a tally of them over all tilts."""

    choice: Choice
    pixels: int = 0
    """Valid pixels of all patterns so far."""
    negative: int = 0
    """Those with negative counts."""
    least: float = 0.0
    below_zero: float = 0.0
    """Sum of all negative counts."""
    total: float = 0.0
    """Sum of all counts."""

    def treat(
        self,
        patterns: NDArray[Any],
        sums: NDArray[Any],
        *,
        mask: NDArray[np.bool_] | None,
        source: str,
        tilt: int,
    ) -> NDArray[Any]:
        """Return the `patterns` (n, ky, kx) with `sums` (n,) of a tilt as they are to be written; NaN stays.

        Raises
        ------
        ImportDescriptionError
            There are negative counts, and the choice is to refuse them.
        """
        total = np.nan if mask is not None else float(sums.sum(dtype=np.float64))
        if np.isfinite(total) and patterns.min() >= 0:  # as is usual; the rest takes four times as long
            self.pixels += patterns.size
            self.total += total
            return patterns
        below = (patterns < 0) if mask is None else (patterns < 0) & mask
        self._add(patterns, below, mask)
        if not below.any() or self.choice == "keep":
            return patterns
        if self.choice == "clip":
            return np.where(below, patterns.dtype.type(0), patterns)
        raise ImportDescriptionError(
            source,
            [
                f"tilt {tilt:04d}: {int(below.any((1, 2)).sum())} of the first {len(patterns)} patterns read have "
                f"negative counts; {self._description()}; expected none. {CAUSE} Export the counts as the detector "
                f"gave them, mask the pixels, or set import.negative: clip sets negative counts to zero, which adds "
                f"{self._added()} to the mean of these patterns; keep leaves them, but no reconstruction takes them."
            ],
        )

    def add(self, other: "NegativeCounts") -> None:
        """Add the tally of other tilts."""
        self.pixels += other.pixels
        self.negative += other.negative
        self.least = min(self.least, other.least)
        self.below_zero += other.below_zero
        self.total += other.total

    def remarks(self) -> list[str]:
        """Return what was done to negative counts, as a sentence; nothing if there are none."""
        if not self.negative:
            return []
        done = f"set to zero, which adds {self._added()} to the mean pattern" if self.choice == "clip" else "kept"
        advice = "" if self.choice == "clip" else " No reconstruction takes them."
        return [f"negative counts are {done}: {self._description()}. {CAUSE}{advice}"]

    def _add(self, patterns: NDArray[Any], below: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> None:
        self.pixels += len(patterns) * (patterns[0].size if mask is None else int(mask.sum()))
        self.negative += int(below.sum())
        self.total += float(np.nansum(patterns if mask is None else patterns[:, mask], dtype=np.float64))
        if below.any():
            self.least = min(self.least, float(patterns[below].min()))
            self.below_zero += float(patterns[below].sum(dtype=np.float64))

    def _description(self) -> str:
        return f"{self.negative} of {self.pixels} valid pixels are negative, the least is {self.least:.4g}"

    def _added(self) -> str:
        return f"{-100 * self.below_zero / self.total:.3g} %" if self.total > 0 else "all there is"

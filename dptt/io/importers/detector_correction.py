"""Dark and gain reference: counts = (raw - dark) x gain, in the frame of the foreign detector."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.importers.description import ArraySource, Detector
from dptt.io.importers.foreign_array import open_array


@dataclass(frozen=True)
class Correction:
    """What is subtracted from, and then multiplied with, every pattern (ky, kx); None for nothing."""

    dark: NDArray[np.float32] | None
    gain: NDArray[np.float32] | None

    def apply(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Return corrected patterns (n, ky, kx) as float32; as they are without a dark or gain reference."""
        if self.dark is None and self.gain is None:
            return patterns
        corrected = patterns.astype(np.float32)
        if self.dark is not None:
            corrected -= self.dark
        if self.gain is not None:
            corrected *= self.gain
        return corrected


def read_correction(detector: Detector) -> Correction:
    """Return the references of `detector`, transposed like its patterns."""
    return Correction(_image(detector.dark, detector.transpose), _image(detector.gain, detector.transpose))


def _image(source: ArraySource | None, transpose: bool) -> NDArray[np.float32] | None:
    """Return an image, or the mean of all frames (..., ky, kx), read a part of the first axis at a time."""
    if source is None:
        return None
    with open_array(source) as array:
        whole = (slice(None),) * (len(array.shape) - 1)
        if len(array.shape) == 2:
            image = array.read_all().astype(np.float64)
        else:
            parts = (array.read((slice(n, n + 1), *whole)) for n in range(array.shape[0]))
            means = [part.reshape(-1, *array.shape[-2:]).mean(axis=0, dtype=np.float64) for part in parts]
            image = np.mean(means, axis=0)
    return (image.T if transpose else image).astype(np.float32)

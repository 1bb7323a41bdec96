"""Patterns of many scan positions from slices and a probe: the forward model alone, without measured data.

The plain implementation, for any device and precision: with the functions of `physics` against which everything else
is tested. `kernels.dispatch` takes compiled code where there is some.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from dptt.physics.multislice import diffraction_intensity, multislice
from dptt.physics.patches import extract_patches
from dptt.physics.probe import detector_shift, shift_probe

CHUNK_BYTES = 64 * 2**20
"""Maximum memory for the slices and waves of the positions that are computed together."""


@dataclass(frozen=True)
class Exposures:
    """Scan positions of one tilt, and the slices that their waves pass through."""

    transmission: Complex[Tensor, "slice Y X"]
    """Of every slice, on the image grid, which is periodic."""
    probe: Complex[Tensor, "mode y x"]
    """Modes in front of the first slice, window centred at n//2, sum |probe|² = electrons per pattern."""
    corners: Int[Tensor, "pos 2"]
    """Of the windows [pixels], and the remainders `shifts`: see `physics.patches.split_positions`."""
    shifts: Float[Tensor, "pos 2"]
    """[pixels]"""
    propagator: Callable[[int], Complex[Tensor, "y x"]]
    """Number of slices -> propagator over their thickness, corner order."""
    band: Bool[Tensor, "y x"]
    """Frequencies that the propagator lets through, corner order."""
    detector_shape: tuple[int, int]
    """Pixels (ky, kx) about the zero angle; not more than those of the window."""
    pattern_shifts: Float[Tensor, "pos 2"] | None = None
    """By how much every pattern is displaced along (y, x) [detector pixels], see `physics.probe.detector_shift`."""
    negligible: float = 0.0
    """Fraction of the electrons. Compiled code leaves out a slice at a position where it would scatter no more than
    these of the beam as it is without a specimen, and the plain code does not."""

    @property
    def window(self) -> tuple[int, int]:
        """Pixels of the probe (y, x)."""
        return self.probe.shape[-2], self.probe.shape[-1]


def diffraction_patterns(exposures: Exposures) -> Iterator[Float[Tensor, "pos ky kx"]]:
    """Yield the expected electrons per pixel, zero angle at n//2, one chunk of positions after another."""
    probe, window, num_slices = exposures.probe, exposures.window, len(exposures.transmission)
    to_next_slice = exposures.propagator(1).to(probe)
    position_bytes = 8 * math.prod(window) * (num_slices + 4 * len(probe))
    for chunk in torch.arange(len(exposures.corners)).split(max(1, CHUNK_BYTES // position_bytes)):
        shifts = exposures.shifts[chunk]
        shifted = shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1])
        patches = extract_patches(exposures.transmission, exposures.corners[chunk], window)
        exit_waves = multislice(shifted, patches, to_next_slice)
        if exposures.pattern_shifts is not None:
            along_y, along_x = exposures.pattern_shifts[chunk].unbind(1)
            exit_waves = exit_waves * detector_shift(window, along_y, along_x)[:, None]
        yield detected(diffraction_intensity(exit_waves), exposures.detector_shape)


def detected(intensity: Float[Tensor, "pos y x"], detector_shape: tuple[int, int]) -> Float[Tensor, "pos ky kx"]:
    """Return the pixels of the detector, zero angle at n//2, from a far field in corner order."""
    centred = torch.fft.fftshift(intensity, dim=(-2, -1))
    first_y, first_x = (n // 2 - d // 2 for n, d in zip(intensity.shape[-2:], detector_shape, strict=True))
    return centred[:, first_y : first_y + detector_shape[0], first_x : first_x + detector_shape[1]]

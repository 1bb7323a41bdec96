"""Measured patterns beside those that a finished volume predicts, for the page and not for the reconstruction."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dptt.io.dataset import Tilt
from dptt.io.volumes import ReconstructedTilt
from dptt.kernels import project_slices
from dptt.kernels.losses import LOSSES
from dptt.model.calibration import BACKGROUND, BLUR, parameters_of, pattern_shifts
from dptt.model.forward import Geometry
from dptt.model.losses import Misfit
from dptt.model.patterns import centre_window
from dptt.model.shot_noise import shot_noise_moments
from dptt.physics.multislice import diffraction_intensity, multislice, propagate
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.point_spread import spread, spread_weights
from dptt.physics.potential import transmission
from dptt.physics.probe import detector_shift, shift_probe
from dptt.physics.rotation import sampling_map

CHUNK_PIXELS = 4_000_000
"""Of the patterns that are computed or read at once: 32 MB as complex64."""


def measured_patterns(
    tilt: Tilt, indices: NDArray[np.integer], shape: tuple[int, int], mask: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Return patterns (n, ky, kx) in electrons on a grid of this shape, zero angle at n//2; masked pixels are 0."""
    counts = tilt.read(np.asarray(indices))
    electrons = counts.astype(np.float32) / tilt.counts_per_electron
    if mask is not None:
        electrons = np.where(mask, electrons, np.float32(0))
    corner = centre_window(electrons, shape).numpy()
    return np.fft.fftshift(corner, axes=(1, 2)).astype(np.float32)


def in_chunks(indices: NDArray[np.integer], shape: tuple[int, int]) -> Iterator[NDArray[np.integer]]:
    """Yield the indices in pieces of at most `CHUNK_PIXELS` pixels of patterns of this shape."""
    number = max(1, CHUNK_PIXELS // math.prod(shape))
    for start in range(0, len(indices), number):
        yield indices[start : start + number]


@dataclass(frozen=True)
class TiltModel:
    """The forward model of one tilt of a finished volume ([P] eq. 14): its slices are computed once."""

    geometry: Geometry
    transmitted: torch.Tensor
    """(slice, Y, X), complex64."""
    probe: torch.Tensor
    """(mode, y, x) before the first slice, complex64."""
    mask: torch.Tensor | None
    """Valid pixels (y, x), corner order."""
    positions: torch.Tensor
    """(n, 2) [Å], of the selection that was reconstructed."""
    displaced: torch.Tensor | None
    """By how much their patterns are displaced by descan (n, 2) [pixels]; None if none is."""
    background: float
    """Electrons per pixel that are no scattering."""
    blur: float
    """Variance of the detector's point spread [pixels²]."""

    @classmethod
    def of(
        cls, volume: NDArray[np.number], result: ReconstructedTilt, mask: NDArray[np.bool_] | None, geometry: Geometry
    ) -> "TiltModel":
        """Return the model of a tilt that has a probe and scan positions."""
        assert result.probe is not None and result.scan_positions is not None
        kind = torch.complex64 if np.iscomplexobj(volume) else torch.float32
        projected = project_slices(
            torch.from_numpy(np.ascontiguousarray(volume)).to(kind),
            sampling_map(
                torch.tensor(result.euler_angles, dtype=torch.float64),
                torch.tensor(result.translation, dtype=torch.float64),
                geometry.voxel_size,
            ),
            geometry.num_slices,
            geometry.voxel_size[0],
        )
        slices = geometry.refined(projected)
        at_centre = torch.from_numpy(np.asarray(result.probe)).to(torch.complex64)
        positions = torch.from_numpy(np.asarray(result.scan_positions, dtype=np.float64))
        found, electrons = parameters_of(result.attributes), float(at_centre.abs().square().sum())
        return cls(
            geometry,
            transmission(slices, geometry.sigma).to(torch.complex64),
            propagate(at_centre, geometry.propagator(geometry.first_slice_depth, torch.complex64)),
            None if mask is None else centre_window(mask[None], geometry.window_shape)[0],
            positions,
            pattern_shifts(found, positions),
            found[BACKGROUND].item() * electrons / math.prod(geometry.on_voxels.window_shape),
            found[BLUR].item(),
        )

    def intensities(self, chosen: NDArray[np.integer]) -> torch.Tensor:
        """Return modelled patterns (n, y, x) [electrons], corner order, at positions of the selection."""
        geometry, indices = self.geometry, torch.from_numpy(chosen)
        corners, shifts = split_positions(
            self.positions[indices],
            geometry.sampling,
            (self.transmitted.shape[1], self.transmitted.shape[2]),
            geometry.window_shape,
        )
        shifts = shifts.to(torch.float32)
        waves = shift_probe(self.probe, shifts[:, None, 0], shifts[:, None, 1])
        patches = extract_patches(self.transmitted, corners, geometry.window_shape)
        propagator = geometry.propagator(geometry.slice_thickness, torch.complex64)
        exit_waves = multislice(waves, patches, propagator)
        if self.displaced is not None:
            along_y, along_x = self.displaced[indices].to(torch.float32).unbind(1)
            exit_waves = exit_waves * detector_shift(geometry.window_shape, along_y, along_x)[:, None]
        return spread(diffraction_intensity(exit_waves), spread_weights(self.blur)) + self.background

    def shown(self, model: torch.Tensor) -> NDArray[np.float32]:
        """Return modelled patterns with the zero angle at n//2; masked pixels are 0."""
        if self.mask is not None:
            model = model * self.mask
        return np.fft.fftshift(model.numpy(), axes=(1, 2)).astype(np.float32)

    def figures_of_fit(
        self, model: torch.Tensor, measured: NDArray[np.float32], *, loss: str, epsilon: float
    ) -> NDArray[np.float32]:
        """Return the loss of every pattern over that of shot noise; 1 means that all else is explained.

        `loss` is the name of what was minimised, with `epsilon` as the configuration has it.
        """
        formula = LOSSES[loss]
        data = torch.from_numpy(np.fft.ifftshift(measured, axes=(1, 2)).copy())
        epsilon = epsilon * float(data.sum((1, 2)).mean()) / data[0].numel() + formula.dark_electrons
        misfit = Misfit(loss, epsilon, self.mask)
        losses, _ = formula.value_and_slope(model, data, epsilon)
        if self.mask is not None:
            losses = losses.masked_fill(~self.mask, 0)
        expected = shot_noise_moments(misfit, model)[0].sum((1, 2))
        return (losses.sum((1, 2)) / expected).numpy()

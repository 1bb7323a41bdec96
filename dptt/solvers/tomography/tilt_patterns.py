"""The measured patterns of one tilt, as a solver uses them."""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dptt.kernels.losses import LOSSES
from dptt.model.calibration import BACKGROUND, BLUR, NUM_PARAMETERS
from dptt.model.forward import Geometry
from dptt.model.losses import Misfit
from dptt.solvers.tomography.settings import TomographySettings


@runtime_checkable
class TiltPatterns(Protocol):
    """The measured patterns of one tilt, read by index and only where this rank needs them."""

    name: str
    """Of the tilt, for messages."""
    scale: float
    """Electrons per count."""
    mean_electrons: float
    """Mean electrons of a pattern, the same on all ranks."""
    mask: Bool[Tensor, "y x"] | None
    """Valid detector pixels, corner order."""
    seconds_reading: float
    """Time that `read` has taken so far [s]."""

    def read(self, indices: Tensor) -> Shaped[Tensor, "pos y x"]:
        """Return patterns in corner order, in the detector's own type."""
        ...

    def prefetch(self, indices: Tensor) -> None:
        """Begin to read `indices`, which the next `read` returns."""
        ...

    def usable(self, indices: Tensor) -> Bool[Tensor, " pos"]:
        """Return which of the patterns `indices`, read before, are not faulty."""
        ...


def tilt_misfit(
    settings: TomographySettings,
    patterns: TiltPatterns,
    geometry: Geometry,
    device: torch.device | None = None,
    *,
    calibration: Float[Tensor, " parameter"] | None = None,
) -> Misfit:
    """Return the loss of one tilt: its floor is a fraction of the mean electrons per pixel, and that of the loss.

    `calibration` has the background, a fraction of the mean electrons per pixel too, and the blur of the detector.
    """
    per_pixel = electrons_per_pixel(patterns, geometry)
    mask = None if patterns.mask is None else patterns.mask.to(device)
    floor = settings.epsilon * per_pixel + LOSSES[settings.loss].dark_electrons
    found = torch.zeros(NUM_PARAMETERS) if calibration is None else calibration
    background, blur = found[BACKGROUND].item() * per_pixel, found[BLUR].item()
    return Misfit(settings.loss, floor + background, mask, background, blur)


def electrons_per_pixel(patterns: TiltPatterns, geometry: Geometry) -> float:
    """Return the mean electrons per pixel of the window, without the angles that padding adds."""
    return patterns.mean_electrons / math.prod(geometry.on_voxels.window_shape)

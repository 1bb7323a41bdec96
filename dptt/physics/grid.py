"""Coordinates of sampled windows and volumes."""

import torch
from jaxtyping import Float
from torch import Tensor


def spatial_frequencies(
    shape: tuple[int, int],
    sampling: tuple[float, float],
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 x"]]:
    """Return the frequencies (ky, kx) [1/Å] of a window of pixels `sampling` [Å], in FFT corner order."""
    ky, kx = (torch.fft.fftfreq(n, d, dtype=dtype, device=device) for n, d in zip(shape, sampling, strict=True))
    return ky[:, None], kx[None, :]


def centred_coordinates(
    length: int, spacing: float, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, " n"]:
    """Return the positions [Å] of `length` samples relative to the sample at index length//2."""
    return (torch.arange(length, dtype=dtype, device=device) - length // 2) * spacing

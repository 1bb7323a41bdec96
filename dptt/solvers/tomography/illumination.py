"""The illumination of every slice by the scan positions of a minibatch, as the probe propagates in vacuum.

The bounds in `solvers.tomography.steps` need it at every depth: where the probe crosses over inside the specimen it
is many times that of the entrance plane, if the scan is sparse. It follows from positions and probe alone, which all
ranks of a group hold, so that every rank computes the same numbers and nothing is sent.
"""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor


def slice_illumination(
    probe: Complex[Tensor, "mode y x"],
    propagator: Complex[Tensor, "y x"],
    num_slices: int,
    *,
    corners: Int[Tensor, "pos 2"],
    shifts: Float[Tensor, "pos 2"],
    image_shape: tuple[int, int],
    rows: range | None = None,
) -> tuple[Float[Tensor, "slice row X"], Float[Tensor, " slice"]]:
    """Return sum over positions and modes of |psi_k|² [electrons per pixel] in every slice k, and its maximum there.

    Of the images only `rows` are kept, by default all; the maxima are those of whole images.

    Parameters
    ----------
    probe
        Modes in front of the first slice.
    propagator
        Between slices.
    corners, shifts
        Of the windows [pixels], see `physics.patches.split_positions`; the image is periodic.
    """
    density = torch.fft.rfft2(position_density(corners, shifts.to(probe.real.dtype), image_shape))
    rows = rows or range(image_shape[0])
    slices = probe.real.new_empty((num_slices, len(rows), image_shape[1]))
    maxima, spectrum = slices.new_empty(num_slices), torch.fft.fft2(probe)
    for number in range(num_slices):
        intensity = torch.view_as_real(torch.fft.ifft2(spectrum)).square().sum((0, -1))
        image = torch.fft.irfft2(torch.fft.rfft2(intensity, s=image_shape) * density, s=image_shape).clamp_min_(0)
        slices[number], maxima[number] = image[rows.start : rows.stop], image.max()
        if number + 1 < num_slices:
            spectrum = spectrum * propagator
    return slices, maxima


def position_density(
    corners: Int[Tensor, "pos 2"], shifts: Float[Tensor, "pos 2"], image_shape: tuple[int, int]
) -> Float[Tensor, "Y X"]:
    """Return the number of windows that begin at every pixel; one between pixels counts for its four neighbours."""
    low = torch.floor(shifts)
    fraction = shifts - low
    first = corners + low.to(corners.dtype)
    density = shifts.new_zeros(image_shape)
    for y in (0, 1):
        for x in (0, 1):
            rows, columns = (first[:, 0] + y) % image_shape[0], (first[:, 1] + x) % image_shape[1]
            share = torch.stack([1 - fraction, fraction])
            density.view(-1).index_add_(0, rows * image_shape[1] + columns, share[y, :, 0] * share[x, :, 1])
    return density

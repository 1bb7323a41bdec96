"""The phase image of a setting, and its skewness, which shows the sign of the potential."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.brightfield.data import TAPER, BrightFieldData
from dptt.solvers.brightfield.orientation import Orientation
from dptt.solvers.brightfield.transfer import BLOCK, REGULARISATION, Method, kernel, refined_grid, sidebands

LARGEST = 1 << 18
"""Pixels of an upsampled image."""
BLOCKS = 4
"""Blocks along each side of an image; their scatter gives the uncertainty of the skewness."""


def image_upsampling(data: BrightFieldData) -> int:
    """Return the upsampling of an image of the scan, up to the resolution 2 alpha/lambda and four-fold at most."""
    wanted = math.ceil(4e-3 * data.semiangle / data.wavelength * max(data.step) - 0.05)
    allowed = int(math.sqrt(LARGEST / (data.scan_shape[0] * data.scan_shape[1])))
    return max(1, min(4, wanted, allowed))


def phase_image(
    method: Method,
    data: BrightFieldData,
    orientation: Orientation,
    coefficients: Float[Tensor, " term"],
    upsampling: int = 1,
) -> Float[Tensor, "y x"]:
    """Return the image along the raster's axes: phase [rad], or contrast of the summed bright field for parallax.

    Frequencies that the method does not transfer are zero, and so is the mean phase, which is unknown.
    """
    spectrum = sidebands(data).spectrum
    alias, frequencies, shape = refined_grid(data, upsampling)
    weights, matrix = data.weights(), orientation.matrix()
    matched, transferred = [], []
    for block in torch.arange(len(alias)).split(max(1, BLOCK // len(weights))):
        response = kernel(method, data, frequencies[block] @ matrix.T, coefficients)
        matched.append((spectrum[alias[block]] * weights * response.conj()).sum(1))
        transferred.append((weights * (response.real.square() + response.imag.square())).sum(1))
    power = torch.cat(transferred)
    image = (torch.cat(matched) / (power + REGULARISATION * power.mean())).reshape(shape)
    if method != "parallax":
        image = -1j * image
    image[0, 0] = 0
    return torch.fft.ifft2(image).real * upsampling**2


def skewness(image: Float[Tensor, "y x"]) -> tuple[float, float]:
    """Return the skewness of the image inside the fading edges, and its standard error from a jackknife over blocks.

    Potentials are peaks on a flat background, so the phase is skewed to positive values and that of the twin to
    negative ones.
    """
    rows, columns = (math.ceil(TAPER * n) for n in image.shape)
    inside = image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]
    blocks = [b for band in inside.tensor_split(BLOCKS, 0) for b in band.tensor_split(BLOCKS, 1) if b.numel()]
    sums = torch.stack([torch.stack([b.pow(power).sum() for power in range(4)]) for b in blocks])
    skew = _skewness(sums.sum(0))
    without_block = [_skewness(sums.sum(0) - one) for one in sums]
    mean = sum(without_block) / len(without_block)
    variance = (len(without_block) - 1) / len(without_block) * sum((value - mean) ** 2 for value in without_block)
    return skew, math.sqrt(variance)


def _skewness(sums: Float[Tensor, "4"]) -> float:
    """Return the skewness from sums of powers 0 to 3."""
    number, first, second, third = sums.tolist()
    mean = first / number
    variance = second / number - mean**2
    centred = third / number - 3 * mean * second / number + 2 * mean**3
    return centred / max(variance, 1e-300) ** 1.5

"""How the patterns of some scan positions answer to small errors of the experiment: exact derivatives.

The wave and its derivatives go through the slices together. An error is one of few directions (`DIRECTIONS`), common
to all errors that a tilt may have: the stretch of a scan moves every position by a linear function of its place, a
descan every pattern. From the derivatives of an intensity I follow the gradient of the loss and its Gauss-Newton
matrix, sum c/(4 I) dI dI, exact where the model is close to the patterns; times 4/c it is the Fisher information.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.kernels import Batch
from dptt.model.calibration import focus_paths
from dptt.model.losses import Misfit
from dptt.physics.grid import spatial_frequencies
from dptt.physics.point_spread import spread_derivative
from dptt.physics.probe import detector_shift, phase_ramp

STRETCH, DESCAN, FOCUS, BACKGROUND, BLUR = slice(0, 4), slice(4, 6), slice(6, 9), slice(9, 10), slice(10, 11)
"""Of `DIRECTIONS`, see `Response`."""
DIRECTIONS = 11
HALO = 4
DIFFERENCES = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Of the potential in windows that are `HALO` pixels wider: a derivative of eighth order, the same in every slab."""


@dataclass(frozen=True)
class Response:
    """Of the patterns of some positions, to

    - ``STRETCH``: a deformation of what the probe sees about its centre, by the matrix yy, yx, xy, xx: what is at r
      moves to r + M r. This is what is left of a linear error of the scan, if the specimen is deformed with it.
    - ``DESCAN``: a shift of the pattern along y, x [pixels]
    - ``FOCUS``: C10, C12 cos(2 phi12), C12 sin(2 phi12) [Å]
    - ``BACKGROUND``: electrons in every pixel
    - ``BLUR``: the variance of the detector's point spread [pixels²]
    """

    gradient: Float[Tensor, "pos direction"]
    """dL/d(direction), double precision, on the host."""
    curvature: Float[Tensor, "pos direction direction"]
    """Gauss-Newton matrix of the loss."""


def pattern_response(
    batch: Batch, *, wavelength: float, sampling: tuple[float, float], curvature: float, chunk: int = 16
) -> Response:
    """Return the response of the patterns of a batch, whose slices reach `HALO` pixels beyond their windows.

    Parameters
    ----------
    wavelength, sampling
        Electron wavelength [Å] and pixel (y, x) of the probe [Å].
    curvature
        c, the second derivative of the loss with respect to an amplitude far above its floor.
    chunk
        Positions at once: their waves take 10 times the memory of waves alone.
    """
    parts = [
        _of_chunk(batch, slice(start, start + chunk), wavelength, sampling, curvature)
        for start in range(0, len(batch.corners), chunk)
    ]
    if not parts:
        return Response(torch.zeros(0, DIRECTIONS).double(), torch.zeros(0, DIRECTIONS, DIRECTIONS).double())
    return Response(torch.cat([part.gradient for part in parts]), torch.cat([part.curvature for part in parts]))


def _of_chunk(
    batch: Batch, some: slice, wavelength: float, sampling: tuple[float, float], curvature: float
) -> Response:
    window, device, loss = batch.window, batch.probe.device, batch.loss
    assert isinstance(loss, Misfit)  # of a solver, always
    shifts = batch.shifts[some]
    ramp = phase_ramp(window, shifts[:, 0], shifts[:, 1])[:, None].to(batch.probe.dtype)
    spectrum = torch.fft.fft2(batch.probe) * ramp
    waves = torch.fft.ifft2(torch.stack([spectrum, *_probe_changes(spectrum, wavelength, sampling)]))
    waves = torch.cat([waves[:1], waves.new_zeros((4, *waves.shape[1:])), waves[1:]])  # wave, stretch, focus
    coordinates = _about_probe(window, shifts)
    rows, columns = (
        (batch.corners_within[some, axis, None] + torch.arange(-HALO, n + HALO, device=device)) % batch.image[axis]
        for axis, n in enumerate(window)
    )
    for number, image in enumerate(batch.transmission):
        wide = image[rows[:, :, None], columns[:, None, :]]
        patch = wide[:, HALO:-HALO, HALO:-HALO]
        deformed = [-slope * along for slope in _slopes(wide) for along in coordinates]
        through = waves * patch[:, None]
        for place, change in enumerate(deformed, 1):
            through[place].addcmul_(waves[0], change[:, None])
        waves = through
        if number < len(batch.transmission) - 1:
            waves = torch.fft.ifft2(torch.fft.fft2(waves) * batch.propagator)
    centred = _about_probe(window, torch.zeros_like(shifts))
    turned = [
        waves[0] * (2j * math.pi / length * along[:, None]) for length, along in zip(window, centred, strict=True)
    ]
    waves = torch.cat([waves[:5], torch.stack(turned), waves[5:]])
    if batch.pattern_shifts is not None:
        displaced = detector_shift(window, *batch.pattern_shifts[some].unbind(1))
        waves = waves * displaced[:, None].to(waves.dtype)
    far = torch.fft.fft2(waves, norm="ortho")
    intensity = far[0].abs().square().sum(1)
    by_wave = [loss.counted(change) for change in 2 * (far[0].conj() * far[1:]).real.sum(2)]
    by_detector = [torch.ones_like(intensity), spread_derivative(intensity, loss.blur)]
    changes = torch.stack([*by_wave, *by_detector])
    measured = batch.measured[some].to(intensity.dtype) * batch.measured_scale
    counted = loss.counted(intensity)
    slope = replace(loss, blur=0.0)(counted, measured)[1]
    weight = curvature / 4 / (counted + loss.epsilon)
    if loss.mask is not None:
        weight = weight * loss.mask
    gradient = torch.einsum("pyx,dpyx->pd", slope, changes)
    weighted = (changes * weight.sqrt()).transpose(0, 1).flatten(2)  # a product: an einsum takes five times longer
    return Response(gradient.double().cpu(), (weighted @ weighted.transpose(1, 2)).double().cpu())


def _probe_changes(spectrum: Tensor, wavelength: float, sampling: tuple[float, float]) -> list[Tensor]:
    """Return the derivatives of a probe's spectrum by FOCUS."""
    ky, kx = spatial_frequencies((spectrum.shape[-2], spectrum.shape[-1]), sampling, device=spectrum.device)
    return [spectrum * (-1j * math.pi * wavelength * path) for path in focus_paths(ky, kx)]


def _about_probe(
    window: tuple[int, int], shifts: Tensor
) -> tuple[Float[Tensor, "pos y 1"], Float[Tensor, "pos 1 x"]]:
    """Return the distance (y, x) [pixels] of the pixels of every window from the centre of the probe."""
    y, x = (torch.arange(n, device=shifts.device) - n // 2 for n in window)
    return (y - shifts[:, :1])[:, :, None], (x - shifts[:, 1:])[:, None, :]


def _slopes(wide: Complex[Tensor, "pos v u"]) -> tuple[Tensor, Tensor]:
    """Return the derivatives along y and x [1/pixel] of windows that are wider by `HALO` pixels on every side."""
    height, width = wide.shape[-2] - 2 * HALO, wide.shape[-1] - 2 * HALO
    along_y, along_x = torch.zeros(()), torch.zeros(())
    for distance, weight in enumerate(DIFFERENCES, 1):
        after, before = HALO + distance, HALO - distance
        rows, columns = slice(HALO, HALO + height), slice(HALO, HALO + width)
        along_y = along_y + weight * (
            wide[:, after : after + height, columns] - wide[:, before : before + height, columns]
        )
        along_x = along_x + weight * (wide[:, rows, after : after + width] - wide[:, rows, before : before + width])
    return along_y, along_x

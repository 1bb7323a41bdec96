"""Figures of the volume in Fourier space: the missing wedge and the power spectrum."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report.content import VoxelSize
from dptt.report.drawing import BLACK, ORANGE, SKY, mark_spacings, new_figure
from dptt.report.planes import plane_extent

TAPER = 0.1  # of each edge, so that the faces of the box do not cause a cross
MAX_DECADES = 8.0


def wedge_section(volume: NDArray[np.floating]) -> NDArray[np.float64]:
    """|F|² (kz, kx) in the plane ky = 0 of the volume tapered in z and x, zero frequency in the centre."""
    projected = volume.sum(axis=1, dtype=np.float64)
    return np.fft.fftshift(np.abs(np.fft.fft2((projected - projected.mean()) * _taper(projected.shape))) ** 2)


def wedge_mean(volume: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of |F|² over all ky, (kz, kx). By Parseval along y it is a sum over the planes y, one at a time."""
    taper, mean = _taper((volume.shape[0], volume.shape[2])), float(volume.mean())
    power = np.zeros(taper.shape)
    for y in range(volume.shape[1]):
        power += np.abs(np.fft.fft2((volume[:, y] - mean) * taper)) ** 2
    return np.fft.fftshift(power)


def _taper(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Separable window: one inside, falling to zero as half a cosine over `TAPER` of each edge."""
    rise = [np.clip(np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (TAPER * n), 0, 1) for n in shape]
    z, x = ((1 - np.cos(np.pi * r)) / 2 for r in rise)
    return np.outer(z, x)


def wedge_figure(
    potential: NDArray[np.floating],
    voxel_size: VoxelSize,
    truth: NDArray[np.floating] | None = None,
    tilt_range: tuple[float, float] | None = None,
) -> Figure:
    """Logarithm of the power in the plane across the tilt axis, with lines at the outermost tilts [degrees]."""
    shown = [(n, v) for n, v in (("Reconstruction", potential), ("Truth", truth)) if v is not None]
    nz, _, nx = potential.shape
    sampling = (1 / (nz * voxel_size[0]), 1 / (nx * voxel_size[2]))
    height = float(np.clip(3.6 * voxel_size[2] / voxel_size[0], 1.6, 4.2))
    figure = new_figure(len(shown) * (height + 0.5))
    grid = figure.subplots(len(shown), 2, squeeze=False)
    for row, (name, volume) in zip(grid, shown, strict=True):
        for axes, (which, power) in zip(
            row, (("ky = 0", wedge_section(volume)), ("mean over ky", wedge_mean(volume))), strict=True
        ):
            decades = np.log10(np.maximum(power, 1e-300) / max(power.max(), 1e-300))
            low = max(float(np.percentile(decades, 2)), -MAX_DECADES)
            extent = plane_extent(power.shape, sampling)  # type: ignore[arg-type]
            image = axes.imshow(decades, extent=extent, cmap="viridis", vmin=min(low, -1.0), vmax=0)
            axes.set(title=f"{name}, {which}", xlabel="kx [1/Å]", ylabel="kz (beam) [1/Å]")
            figure.colorbar(image, ax=axes, label="log₁₀ power / maximum", aspect=25)
            if not 0.4 < voxel_size[2] / voxel_size[0] < 2.5:
                axes.set_aspect("auto")
            if tilt_range is not None:
                _draw_wedge(axes, tilt_range)
    return figure


def _draw_wedge(axes: Axes, tilt_range: Sequence[float]) -> None:
    """Draw the lines ``kz = kx tan(theta)`` that the outermost tilts sample (y is the tilt axis)."""
    limits = axes.get_xlim(), axes.get_ylim()
    half = 2 * max(map(abs, (*limits[0], *limits[1])))
    for theta in np.radians(tilt_range):
        kx, kz = half * np.cos(theta), half * np.sin(theta)
        axes.plot([-kx, kx], [-kz, kz], color="white", linestyle="--", linewidth=1)
    axes.set(xlim=limits[0], ylim=limits[1])


def power_figure(spectra: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """Power of named spectra on a logarithmic scale against frequency [1/Å]."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    for (name, frequency, power), colour in zip(spectra, (BLACK, ORANGE, SKY), strict=False):
        positive = (power > 0) & (frequency > 0)
        axes.semilogy(frequency[positive], power[positive], color=colour, label=name)
    axes.set(xlabel="spatial frequency [1/Å]", ylabel="mean power [V²·Å⁶]", xlim=(0, None))
    axes.set_title("Power spectrum")
    axes.grid(True)
    if len(spectra) > 1:
        axes.legend()
    mark_spacings(axes)
    return figure

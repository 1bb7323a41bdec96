"""Figure of the probe: complex modes in colour, with amplitude as lightness and phase as hue."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report.content import ProbeModes
from dptt.report.drawing import WIDTH, compact, draw_scale_bar, new_figure
from dptt.report.planes import plane_extent

MAX_MODES, MAX_TILTS = 5, 4
LIGHTNESS, CHROMA = 0.78, 0.115  # at full amplitude: the most colourful ring of equal lightness within sRGB

# Ottosson (2020), "A perceptual color space for image processing": Oklab to cone responses, and these to linear sRGB
OKLAB_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def complex_colours(values: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """RGB (…, 3) of complex values of modulus 0 (black) to 1: hue from the phase, lightness from the modulus."""
    modulus, phase = np.clip(np.abs(values), 0, 1), np.angle(values)
    chroma = CHROMA * modulus
    oklab = np.stack([LIGHTNESS * modulus, chroma * np.cos(phase), chroma * np.sin(phase)], axis=-1)
    linear = np.clip((oklab @ OKLAB_TO_CONES.T) ** 3 @ CONES_TO_RGB.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def mode_powers(modes: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Share (mode,) of each mode in the intensity of the probe; sums to one."""
    power: NDArray[np.float64] = np.sum(np.abs(modes) ** 2, axis=(1, 2), dtype=np.float64)
    return power / max(float(power.sum()), 1e-300)


def probe_figure(probes: Sequence[ProbeModes]) -> Figure:
    """Modes of a few tilts, each on its own scale of lightness, with its share of the intensity.

    The first mode is also shown in the far field, where its phase is the aberration function.
    """
    shown = probes[:MAX_TILTS]
    columns = min(max(len(p.modes) for p in shown), MAX_MODES) + 2
    panel = min(2.4, (WIDTH - 0.6) / columns)
    figure = new_figure(len(shown) * (panel + 0.5))
    grid = figure.subplots(len(shown), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, probe in zip(grid, shown, strict=True):
        modes = np.nan_to_num(probe.modes)
        _draw_far_field(row[0], modes[0], probe)
        for m, (axes, mode, power) in enumerate(zip(row[1:-1], modes, mode_powers(modes), strict=False)):
            axes.imshow(complex_colours(_normalised(mode)), extent=plane_extent(mode.shape, probe.sampling))
            axes.set_title(f"{probe.name}, mode {m + 1}: {100 * power:.1f} %", fontsize=9)
            draw_scale_bar(axes)
    _draw_wheel(grid[0][-1])
    return figure


def far_field(mode: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Probe (y, x) in the plane of its aperture, the zero angle at ``n // 2``, with the phase zero in its middle."""
    wave = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(mode.astype(np.complex128))))
    middle = wave[wave.shape[0] // 2, wave.shape[1] // 2]
    return wave * np.exp(-1j * np.angle(middle))


def _draw_far_field(axes: Axes, mode: NDArray[np.complexfloating], probe: ProbeModes) -> None:
    wave = _normalised(far_field(mode))
    axes.imshow(complex_colours(wave))
    stated = [f"{k} {compact(v)} {'°' if k.startswith('phi') else 'Å'}" for k, v in probe.aberrations.items()]
    axes.set_title(f"{probe.name}, far field" + (f"\n{', '.join(stated[:2])}" if stated else ""), fontsize=9)


def _normalised(wave: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    normalised: NDArray[np.complexfloating] = wave / max(float(np.abs(wave).max()), 1e-300)
    return normalised


def _draw_wheel(axes: Axes) -> None:
    """Draw the legend: the unit disc in the same colours."""
    y, x = np.mgrid[1:-1:201j, -1:1:201j]
    disc = x + 1j * y
    rgba = np.dstack([complex_colours(disc), np.abs(disc) <= 1])
    axes.imshow(rgba, extent=(-1, 1, -1, 1))
    axes.set(xlim=(-2, 2), ylim=(-2, 2))
    for angle, label in ((0, "0"), (90, "π/2"), (180, "π"), (270, "−π/2")):
        rim = 1.3 * np.exp(1j * np.radians(angle))
        axes.text(rim.real, rim.imag, label, ha="center", va="center", fontsize=8.5)
    axes.set_title("Hue: phase [rad]\nLightness: amplitude", fontsize=9)

"""Figures of the bright field: contrast against defocus, shifts of virtual images, curl against rotation, images."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILION,
    WIDTH,
    compact,
    draw_scale_bar,
    new_figure,
    robust_limits,
    signed,
)
from dptt.report.planes import plane_extent

MAX_IMAGES, COLUMNS = 12, 4
MAX_CURVES = 5

Floats = NDArray[np.floating]


def evenly(names: list[str], number: int) -> list[str]:
    """Return at most `number` of the names, evenly spaced, including the first and the last."""
    indices = np.unique(np.linspace(0, len(names) - 1, min(number, len(names))).round().astype(int))
    return [names[index] for index in indices]


def contrast_figure(curves: Mapping[str, tuple[Floats, float]]) -> Figure:
    """Explained contrast against defocus; `curves`: title -> ((trial, [defocus, fraction]), estimate [Å])."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    colours = [BLUE, VERMILION, ORANGE, GREEN, PURPLE]
    for name, colour in zip(evenly(list(curves), MAX_CURVES), colours, strict=False):
        curve, best = curves[name]
        axes.plot(curve[:, 0], 100 * curve[:, 1], color=colour, label=f"{name}: {compact(best)} Å")
        axes.axvline(best, color=colour, linewidth=0.8, linestyle=":")
    axes.set(xlabel="defocus [Å], underfocus positive", ylabel="explained contrast [%]", ylim=(0, None))
    axes.set_title("Share of the contrast that a weak phase object explains")
    axes.legend()
    return figure


def shift_figure(title: str, angles: Floats, measured: Floats, fitted: Floats) -> Figure:
    """Shifts of virtual images: as arrows over the bright disk, and measured against fitted on both scan axes."""
    figure = new_figure(3.6)
    disk, lines = figure.subplots(1, 2)
    reach = 1.15 * float(np.abs(angles).max())
    centred = measured - measured.mean(0)
    longest = max(float(np.hypot(*centred.T).max()), 1e-12)
    scale = longest / (0.3 * reach)
    disk.quiver(
        *(angles[:, 1], angles[:, 0], centred[:, 1], centred[:, 0]),
        angles="xy",
        scale_units="xy",
        scale=scale,
        width=0.004,
        color=BLUE,
    )
    disk.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")
    disk.set(xlabel="detector angle x [mrad]", ylabel="detector angle y [mrad]")
    disk.set_title(f"{title}: shifts along the scan axes, at most {longest:.3g} Å", fontsize=9)
    residual = float(np.median(np.hypot(*(measured - fitted).T)))
    for axis, (name, colour) in enumerate((("slow scan axis", BLUE), ("fast scan axis", VERMILION))):
        lines.plot(fitted[:, axis], measured[:, axis], ".", color=colour, markersize=4, label=name)
    ends = [float(fitted.min()), float(fitted.max())]
    lines.plot(ends, ends, color="0.4", linewidth=0.8)
    lines.set(xlabel="shift from the fitted aberrations [Å]", ylabel="measured shift [Å]")
    lines.set_title(f"Measured against fitted shifts, median residual {residual:.3g} Å", fontsize=9)
    lines.legend()
    return figure


def curl_figure(angles: Floats, shares: Mapping[str, Floats], rotation: float) -> Figure:
    """Share of curl in the centre-of-mass field against scan rotation [degrees] for both parities."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    for (name, share), colour in zip(shares.items(), (BLUE, ORANGE), strict=False):
        axes.plot(angles, 100 * share, color=colour, label=f"detector {name}")
    axes.axvline(rotation, color=VERMILION, linewidth=1.2, label=f"result: {signed(rotation)}°")
    opposite = (rotation + 360) % 360 - 180
    label = f"opposite contrast: {signed(opposite)}°"
    axes.axvline(opposite, color=VERMILION, linewidth=1.0, linestyle=":", label=label)
    axes.axhline(50, color="0.6", linewidth=0.8)
    axes.set(xlabel="scan rotation [°]", ylabel="share of curl [%]", xlim=(-180, 180), ylim=(0, 115))
    axes.set_xticks(range(-180, 181, 45))
    axes.set_title("Curl of the centre of mass: lowest at the correct rotation, 50 % for noise")
    axes.legend(ncols=4, loc="upper center")
    return figure


def image_figure(images: Mapping[str, tuple[Floats, Floats, str]]) -> Figure:
    """Phase or parallax images along the scan axes: title -> (image, pixel (y, x) [Å], method)."""
    names = evenly(list(images), MAX_IMAGES)
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    first, sampling, _ = images[names[0]]
    width = min(5.0, WIDTH / columns - 0.3)
    aspect = first.shape[0] * float(sampling[0]) / (first.shape[1] * float(sampling[1]))
    figure = new_figure(rows * (width * min(aspect, 2.0) + 0.5))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        image, pixel, method = images[name]
        low, high = robust_limits(image)
        extent = plane_extent(image.shape, (float(pixel[0]), float(pixel[1])))
        drawn = axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent)
        label = "bright field, relative" if method == "parallax" else "phase [rad]"
        figure.colorbar(drawn, ax=axes, label=label, shrink=0.85, pad=0.02)
        axes.set_title(name, fontsize=9)
        draw_scale_bar(axes)
    figure.suptitle(", ".join(sorted({method for _, _, method in images.values()})), fontsize=10)
    return figure

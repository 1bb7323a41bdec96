"""What was found of the experiment of every tilt, with standard errors: scan, descan, focus, background, blur."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dptt.report.content import column
from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, new_figure
from dptt.report.figures.convergence import tilt_angles

PANELS = {
    "Scan rotation": ("[°]", {"scan_rotation_deg": "rotation"}),
    "Scan geometry": (
        "[%]",
        {
            "scan_scale_percent": "scale",
            "scan_y_longer_than_x_percent": "y longer than x",
            "scan_shear_percent": "shear",
        },
    ),
    "Descan": (
        "[pixels/Å]",
        {f"descan_{elements}_px_per_A": elements for elements in ("yy", "yx", "xy", "xx")},
    ),
    "Zero angle": ("[pixels]", {f"zero_angle_{axis}_px": axis for axis in "yx"}),
    "Focus": (
        "change [Å]",
        {"C10_change_A": "C10", "C12_cos_change_A": "C12 cos 2φ", "C12_sin_change_A": "C12 sin 2φ"},
    ),
    "Background": ("[% of the electrons]", {"background_percent": "background"}),
    "Blur of the detector": ("[pixels]", {"blur_px": "blur"}),
}
"""Title -> label of the vertical axis, and name of a parameter -> its label."""
FIXED_MEAN = (
    "The mean scale of all tilts is that of the file: patterns tell the product of scan step and angle of a pixel, "
    "so that a scan 1 % larger looks like a camera length 1 % shorter."
)
SAME = 1e-3
"""[%] A mean scale within it is not looked for."""
COLOURS = (BLACK, BLUE, ORANGE, GREEN)
COLUMNS = 3


def found_panels(tilts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the titles of the panels of which something was found."""
    return [
        title
        for title, (_, parameters) in PANELS.items()
        if any(np.any(np.nan_to_num(column(tilts, name)) != 0) for name in parameters)
    ]


def experiment_figure(tilts: Sequence[Mapping[str, Any]]) -> Figure:
    """Parameters of the experiment against the tilt angle, with bars of one standard error."""
    angle, known = tilt_angles(tilts, len(tilts))
    order = np.argsort(angle)
    titles = found_panels(tilts)
    rows = -(-len(titles) // COLUMNS)
    figure = new_figure(0.4 + 2.3 * rows)
    grid = figure.add_gridspec(rows, COLUMNS)
    for place, title in enumerate(titles):
        axes = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS])
        label, parameters = PANELS[title]
        for colour, (name, short) in zip(COLOURS, parameters.items(), strict=False):
            values, errors = (column(tilts, key)[order] for key in (name, f"{name}_error"))
            if np.any(np.nan_to_num(values) != 0):
                axes.errorbar(
                    angle[order], values, np.nan_to_num(errors), fmt="o-", color=colour, markersize=3, label=short
                )
        axes.axhline(0, color="0.7", linewidth=0.8)
        axes.set(xlabel="theta [°]" if known else "tilt", ylabel=label, title=title)
        if len(parameters) > 1:
            axes.legend(fontsize="x-small")
        axes.grid(True)
    return figure


def found_sentences(tilts: Sequence[Mapping[str, Any]]) -> str:
    """Return mean, spread and typical standard error of what was found."""
    lines = []
    for title in found_panels(tilts):
        unit = PANELS[title][0].removeprefix("change ").strip("[]")
        for name, short in PANELS[title][1].items():
            values, errors = column(tilts, name), column(tilts, f"{name}_error")
            if not np.any(np.nan_to_num(values) != 0):
                continue
            subject = title if len(PANELS[title][1]) == 1 else f"{title}, {short}"
            error = f", each ± {np.nanmedian(errors):.2g}" if np.any(np.nan_to_num(errors) > 0) else ""
            spread = f"{np.nanmean(values):.3g} with a spread of {np.nanstd(values):.2g}"
            lines.append(f"{subject}: {spread} {unit} over the tilts{error}.")
    scale = np.nan_to_num(column(tilts, "scan_scale_percent"))
    if np.any(scale != 0) and abs(scale.mean()) < SAME:
        lines.append(FIXED_MEAN)
    return " ".join(lines)

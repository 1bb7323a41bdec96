"""Figures of convergence: losses, changes of the geometry, computing time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from dptt.report.content import column, numbers, vectors
from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure

CHANGES = {
    "angles_deg": ("angles [°]", BLUE),
    "translations_A": ("translations [Å]", ORANGE),
    "positions_A": ("scan positions [Å]", GREEN),
}
SECONDS = {"read": SKY, "compute": BLUE, "communicate": ORANGE}


def loss_figure(epochs: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and held-out loss by epoch and, where geometry is refined, its change per epoch; on log axes."""
    epoch = epoch_numbers(epochs)
    changes = {key: column(epochs, "changes", key) for key in CHANGES}
    refined = {key: value for key, value in changes.items() if np.any(value > 0)}
    figure = new_figure(3.3)
    panels = figure.subplots(1, 2 if refined else 1, squeeze=False)[0]
    axes = panels[0]
    _draw_positive(axes, epoch, column(epochs, "loss"), BLACK, "loss")
    _draw_positive(axes, epoch, column(epochs, "held_out_loss"), VERMILION, "held-out loss")
    axes.set(xlabel="epoch", ylabel="loss per electron", title="Convergence")
    if refined:
        for key, value in refined.items():
            _draw_positive(panels[1], epoch, value, CHANGES[key][1], CHANGES[key][0])
        panels[1].set(xlabel="epoch", ylabel="RMS change", title="Change of the geometry per epoch")
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        panel.grid(True, which="both")
        _label_log_axis(panel)
        panel.set_xlim(epoch.min() - 0.5, epoch.max() + 0.5)
        panel.legend()
    return figure


def epoch_numbers(epochs: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Number of each epoch; its place in the list where no number was recorded."""
    recorded = column(epochs, "epoch")
    return np.where(np.isfinite(recorded), recorded, np.arange(1, len(epochs) + 1))


def _draw_positive(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str, label: str) -> None:
    """Draw a curve on a log axis, with gaps where values are missing, zero or negative; nothing if all are."""
    positive = np.where(y > 0, y, np.nan)
    if np.isfinite(positive).any():
        marker = "o" if len(x) <= 40 else None
        axes.semilogy(x, positive, color=colour, label=label, marker=marker, markersize=3)


def _label_log_axis(axes: Axes) -> None:
    """Label with plain numbers, at 1, 2 and 5 of each decade if there are few decades."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def tilt_loss_figure(epochs: Sequence[Mapping[str, Any]], tilts: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of each tilt against its angle after the last epoch."""
    loss = tilt_losses(epochs, tilts)
    angle, known = tilt_angles(tilts, len(loss))
    order = np.argsort(angle)
    figure = new_figure(2.8)
    axes = figure.subplots()
    axes.plot(angle[order], loss[order], "o-", color=BLACK, markersize=4)
    axes.set(xlabel="tilt angle theta [°]" if known else "tilt", ylabel="loss per electron", title="Loss by tilt")
    if np.isfinite(loss).any():
        worst = int(np.nanargmax(loss))
        name = str(tilts[worst].get("name", worst)) if known else str(worst)
        axes.annotate(f"worst: {name}", (angle[worst], loss[worst]), (0, 7), textcoords="offset points", ha="center")
        axes.margins(y=0.2)
    axes.grid(True)
    return figure


def tilt_losses(epochs: Sequence[Mapping[str, Any]], tilts: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Final loss (tilts,): from the tilts, else from the last epoch that recorded it; empty if unknown."""
    final = column(tilts, "loss")
    recorded = [values for epoch in epochs if (values := numbers(epoch, "tilt_losses")) is not None]
    return final if np.isfinite(final).any() or not recorded else recorded[-1]


def tilt_angles(tilts: Sequence[Mapping[str, Any]], num: int) -> tuple[NDArray[np.float64], bool]:
    """Theta [degrees] of each tilt and True; indices and False where angles are missing or their number differs."""
    theta = vectors(tilts, "euler_angles", 3)[:, 1]
    if len(theta) == num and np.isfinite(theta).all():
        return theta, True
    return np.arange(num, dtype=float), False


def time_figure(epochs: Sequence[Mapping[str, Any]]) -> Figure:
    """Seconds of each epoch spent reading, computing and communicating."""
    epoch = epoch_numbers(epochs)
    seconds = {name: np.nan_to_num(column(epochs, "seconds", name)) for name in SECONDS}
    total = sum(float(values.sum()) for values in seconds.values())
    figure = new_figure(2.7)
    axes = figure.subplots()
    bottom = np.zeros(len(epochs))
    for name, values in seconds.items():
        share = 100 * values.sum() / total if total > 0 else 0.0
        axes.bar(epoch, values, bottom=bottom, width=0.9, color=SECONDS[name], label=f"{name} {share:.0f} %")
        bottom = bottom + values
    axes.set(xlabel="epoch", ylabel="time [s]", title="Time by epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure

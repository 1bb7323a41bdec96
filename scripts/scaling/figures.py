"""Figures of the scaling study."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure
from scaling.prediction import GPUS, SIZES, fastest

MODES = {"scan": BLUE, "slab": VERMILION, "scan-slab": GREEN, "tilt": ORANGE}
SECONDS = {"read": SKY, "compute": BLUE, "communicate": ORANGE, "idle": "0.8"}


def measured_figure(results: list[dict[str, Any]]) -> Figure:
    """Seconds of an epoch against ranks, strong and weak, and where the time of every rank went."""
    studies = [study for study in ("strong", "weak") if any(one["study"] == study for one in results)]
    figure = new_figure(3.4)
    panels = figure.subplots(1, len(studies) + 1, squeeze=False)[0]
    for panel, study in zip(panels, studies, strict=False):
        here = [one for one in results if one["study"] == study]
        alone = next((one for one in here if one["ranks"] == 1), None)
        for mode, colour in MODES.items():
            line = [one for one in here if one["mode"] == mode and one["ranks"] > 1]
            if line:
                points = ([alone] if alone else []) + line
                ranks = [one["ranks"] for one in points]
                panel.plot(ranks, [one["epoch_seconds"] for one in points], "o-", color=colour, label=mode)
        if alone:
            most = max(one["ranks"] for one in here)
            ideal = alone["epoch_seconds"] / (most if study == "strong" else 1)
            panel.plot([1, most], [alone["epoch_seconds"], ideal], ":", color=BLACK, label="ideal")
        panel.set(xscale="log", yscale="log", xlabel="ranks", ylabel="seconds an epoch", title=f"{study} scaling")
        _plain_ranks(panel, sorted({one["ranks"] for one in here}))
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.legend()
    _seconds_of_ranks(panels[-1], results)
    return figure


def prediction_figure(curves: list[dict[str, Any]], machine: str) -> Figure:
    """Predicted speed-up and memory of the fastest exact layout for 1 to 1024 GPUs."""
    figure = new_figure(3.4)
    speed, memory = figure.subplots(1, 2)
    for size, colour in zip(SIZES, (BLUE, GREEN, VERMILION), strict=True):
        best = [one for count in GPUS if (one := fastest(curves, size, count))]
        first = best[0]
        gpus = [one["gpus"] for one in best]
        speeds = [first["gpus"] * first["efficiency"] * first["epoch_seconds"] / one["epoch_seconds"] for one in best]
        speed.plot(gpus, speeds, "o-", color=colour, label=f"{size}³")
        scan = [one for one in curves if one["size"] == size and one["slabs"] == 1]
        alone = scan[0]["epoch_seconds"]
        speed.plot([o["gpus"] for o in scan], [alone / o["epoch_seconds"] for o in scan], "--", color=colour, lw=1)
        memory.plot(gpus, [one["peak_GiB"] for one in best], "o-", color=colour, label=f"{size}³")
    speed.plot(GPUS, GPUS, ":", color=BLACK)
    speed.set(
        xscale="log",
        yscale="log",
        xlabel="GPUs",
        ylabel="times one GPU",
        title=f"{machine}, predicted (dashed: scan)",
    )
    memory.set(
        xscale="log",
        yscale="log",
        xlabel="GPUs",
        ylabel="GiB a GPU",
        title="memory with patterns that fit, predicted",
    )
    memory.set_yticks([2, 5, 10, 20, 40], ["2", "5", "10", "20", "40"])
    for panel in (speed, memory):
        _plain_ranks(panel, [1, 4, 16, 64, 256, 1024])
        panel.grid(True)
        panel.legend()
    return figure


def resolution_figure(curves: list[dict[str, Any]]) -> Figure:
    """Return resolution along the beam and correlation with the truth, against epochs and against seconds.

    Along the beam it is worst; the mean over all directions is soon limited by the voxels.
    """
    figure = new_figure(5.6)
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    styles = {"tilt": "-", "scan": "--"}
    colours = {count: f"C{i}" for i, count in enumerate(sorted({one["ranks"] for one in curves}))}
    for row, (key, label) in zip(
        panels, (("along_beam_A", "along the beam, FSC 0.5 [Å]"), ("correlation", "correlation")), strict=True
    ):
        for panel, by in zip(row, ("epoch", "seconds"), strict=True):
            for one in curves:
                line = [point for point in one["curve"] if point[key] is not None]
                name = (
                    f"{one['ranks']} {one['kind']} rank(s)"
                    if one["kind"] == "scan"
                    else f"{one['ranks']} tilt groups"
                )
                x, y = ([point[what] for point in line] for what in (by, key))
                panel.plot(x, y, styles[one["kind"]], marker="o", color=colours[one["ranks"]], label=name)
        row[0].set_ylabel(label)
    panels[1, 0].set_xlabel("epoch")
    panels[1, 1].set_xlabel("seconds")
    panels[0, 0].legend(frameon=False, fontsize=8)
    return figure


def _seconds_of_ranks(panel: Axes, results: list[dict[str, Any]]) -> None:
    """Draw one bar a rank of the runs with most ranks."""
    strong = [one for one in results if one["study"] == "strong"] or results
    most = max(one["ranks"] for one in strong)
    bars = [(one, rank) for one in strong if one["ranks"] == most for rank in range(most)]
    bottom = [0.0] * len(bars)
    for kind, colour in SECONDS.items():
        heights = [one["seconds_of_ranks"].get(kind, [0.0] * most)[rank] for one, rank in bars]
        panel.bar(range(len(bars)), heights, bottom=bottom, color=colour, label=kind)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    names = [f"{one['mode']} {rank}" for one, rank in bars]
    panel.set_xticks(range(len(bars)), names, rotation=60, ha="right")
    panel.set(ylabel="seconds an epoch", title=f"{most} ranks")
    panel.legend()


def _plain_ranks(panel: Axes, ranks: list[int]) -> None:
    panel.set_xticks(ranks, [str(count) for count in ranks])
    panel.minorticks_off()

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
    """Seconds per epoch against ranks for strong and weak scaling, and how every rank spent its time."""
    studies = [study for study in ("strong", "weak") if any(run["study"] == study for run in results)]
    figure = new_figure(3.4)
    panels = figure.subplots(1, len(studies) + 1, squeeze=False)[0]
    for panel, study in zip(panels, studies, strict=False):
        runs = [run for run in results if run["study"] == study]
        single = next((run for run in runs if run["ranks"] == 1), None)
        for mode, colour in MODES.items():
            parallel = [run for run in runs if run["mode"] == mode and run["ranks"] > 1]
            if parallel:
                points = ([single] if single else []) + parallel
                ranks = [run["ranks"] for run in points]
                panel.plot(ranks, [run["epoch_seconds"] for run in points], "o-", color=colour, label=mode)
        if single:
            max_ranks = max(run["ranks"] for run in runs)
            ideal = single["epoch_seconds"] / (max_ranks if study == "strong" else 1)
            panel.plot([1, max_ranks], [single["epoch_seconds"], ideal], ":", color=BLACK, label="ideal")
        title = f"{study.capitalize()} scaling"
        panel.set(xscale="log", yscale="log", xlabel="ranks", ylabel="time per epoch [s]", title=title)
        _plain_ranks(panel, sorted({run["ranks"] for run in runs}))
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
        best = [layout for count in GPUS if (layout := fastest(curves, size, count))]
        gpus = [layout["gpus"] for layout in best]
        one_gpu_seconds = best[0]["gpus"] * best[0]["efficiency"] * best[0]["epoch_seconds"]
        speeds = [one_gpu_seconds / layout["epoch_seconds"] for layout in best]
        speed.plot(gpus, speeds, "o-", color=colour, label=f"{size}³")
        scan = [layout for layout in curves if layout["size"] == size and layout["slabs"] == 1]
        scan_speeds = [scan[0]["epoch_seconds"] / layout["epoch_seconds"] for layout in scan]
        speed.plot([layout["gpus"] for layout in scan], scan_speeds, "--", color=colour, lw=1)
        memory.plot(gpus, [layout["peak_GiB"] for layout in best], "o-", color=colour, label=f"{size}³")
    speed.plot(GPUS, GPUS, ":", color=BLACK)
    speed.set(
        xscale="log",
        yscale="log",
        xlabel="GPUs",
        ylabel="speed-up over one GPU",
        title=f"Predicted speed-up, {machine.upper()} (dashed: scan mode)",
    )
    memory.set(
        xscale="log",
        yscale="log",
        xlabel="GPUs",
        ylabel="memory per GPU [GiB]",
        title="Predicted memory, including cached patterns",
    )
    memory.set_yticks([2, 5, 10, 20, 40], ["2", "5", "10", "20", "40"])
    for panel in (speed, memory):
        _plain_ranks(panel, [1, 4, 16, 64, 256, 1024])
        panel.grid(True)
        panel.legend()
    return figure


def resolution_figure(curves: list[dict[str, Any]]) -> Figure:
    """Draw resolution along the beam and correlation with the truth, against epochs and against seconds.

    The resolution along the beam is the lowest; that over all directions soon reaches the limit of the voxels.
    """
    figure = new_figure(5.6)
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    styles = {"tilt": "-", "scan": "--"}
    colours = {count: f"C{i}" for i, count in enumerate(sorted({run["ranks"] for run in curves}))}
    for row, (key, label) in zip(
        panels,
        (("along_beam_A", "resolution along the beam, FSC 0.5 [Å]"), ("correlation", "correlation with the truth")),
        strict=True,
    ):
        for panel, by in zip(row, ("epoch", "seconds"), strict=True):
            for run in curves:
                points = [point for point in run["curve"] if point[key] is not None]
                name = f"{run['ranks']} scan rank(s)" if run["kind"] == "scan" else f"{run['ranks']} tilt groups"
                x, y = [point[by] for point in points], [point[key] for point in points]
                panel.plot(x, y, styles[run["kind"]], marker="o", color=colours[run["ranks"]], label=name)
        row[0].set_ylabel(label)
    panels[1, 0].set_xlabel("epoch")
    panels[1, 1].set_xlabel("time [s]")
    panels[0, 0].legend(frameon=False, fontsize=8)
    return figure


def _seconds_of_ranks(panel: Axes, results: list[dict[str, Any]]) -> None:
    """Draw one bar for each rank of the runs with the largest number of ranks."""
    strong = [run for run in results if run["study"] == "strong"] or results
    max_ranks = max(run["ranks"] for run in strong)
    bars = [(run, rank) for run in strong if run["ranks"] == max_ranks for rank in range(max_ranks)]
    bottom = [0.0] * len(bars)
    for kind, colour in SECONDS.items():
        heights = [run["seconds_of_ranks"].get(kind, [0.0] * max_ranks)[rank] for run, rank in bars]
        panel.bar(range(len(bars)), heights, bottom=bottom, color=colour, label=kind)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    names = [f"{run['mode']} {rank}" for run, rank in bars]
    panel.set_xticks(range(len(bars)), names, rotation=60, ha="right")
    panel.set(ylabel="time per epoch [s]", title=f"Time by rank, {max_ranks} ranks")
    panel.legend()


def _plain_ranks(panel: Axes, ranks: list[int]) -> None:
    panel.set_xticks(ranks, [str(count) for count in ranks])
    panel.minorticks_off()

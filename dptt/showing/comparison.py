"""Several runs on one page: their numbers in a table, their curves together, their slices at one point."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dptt.io.dataset import TiltSeries
from dptt.io.volumes import ReconstructedVolume, read_volume
from dptt.logs import read_metrics
from dptt.report.content import ReportContent, column, curve, find, number
from dptt.report.grids import Layer, volume_layers
from dptt.report.headline import headline_facts
from dptt.report.page import document, navigation
from dptt.runtime.results import load_analysis
from dptt.showing.latest import run_config, unfinished_volume

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Of the runs: Okabe & Ito, distinguishable with any kind of colour vision."""
HELD_OUT = ", held-out"
CURVES = '<section id="curves-section"><h2>Curves</h2>\n<div id="curves" class="charts"></div></section>'


def comparison_page(runs: Sequence[Path]) -> str:
    """Return one page of several runs; each may be finished, running, or without a volume.

    Raises
    ------
    ProblemsError
        A folder holds no result.
    """
    names = short_names(runs)
    contents = [_content(name, run) for name, run in zip(names, runs, strict=True)]
    layers = [
        Layer(content.title, content.potential(), content.voxel_size)
        for content in contents
        if content.volume is not None
    ]
    data: dict[str, Any] = {"charts": _charts(contents)}
    links = [("numbers", "Numbers"), ("curves-section", "Curves")]
    body = [_table(contents), CURVES]
    if layers:
        data["slices"] = {**volume_layers(layers), "difference": _on_one_grid(layers)}
        links.append(("slices-section", "Slices"))
        body.append(
            '<section id="slices-section"><h2>Slices</h2>\n<div id="slices"></div>\n<p class="hint">All volumes are '
            "cut at the same point from the rotation centre and share one colour scale. The first run decides where "
            "the specimen is.</p></section>"
        )
    return document(f"dptt: comparison of {len(runs)} runs", [navigation(links), *body], data)


def short_names(runs: Sequence[Path]) -> list[str]:
    """Return the parts of the paths that tell them apart."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{i + 1}: {run}" for i, run in enumerate(runs)]


def _content(name: str, run: Path) -> ReportContent:
    config = run_config(run)
    result: ReconstructedVolume | None = None
    if (run / "volume.h5").exists():
        result = read_volume(run / "volume.h5")
    elif config.series.exists():
        with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
            result = unfinished_volume(run, config, series)
    return ReportContent(
        title=name,
        volume=None if result is None else result.volume,
        voxel_size=(1.0, 1.0, 1.0) if result is None else result.voxel_size,
        epochs=read_metrics(run / "metrics.jsonl"),
        analysis=load_analysis(run) or {},
    )


def _on_one_grid(layers: Sequence[Layer]) -> bool:
    """Return whether there are two volumes, of the same voxels: only then their difference is shown."""
    if len(layers) != 2 or layers[0].volume.shape != layers[1].volume.shape:
        return False
    return bool(np.allclose(layers[0].voxel_size, layers[1].voxel_size, rtol=1e-6))


def _table(contents: Sequence[ReportContent]) -> str:
    """Return the numbers of the headlines, a column for each run."""
    facts = [{fact.label: fact.value for fact in headline_facts(content)} for content in contents]
    labels = list(dict.fromkeys(label for known in facts for label in known))
    rows = [(label, [known.get(label, "–") for known in facts]) for label in labels]
    for label, key in (("Loss", "loss"), ("Held-out loss", "held_out_loss")):
        last = [number(content.epochs[-1], key) if content.epochs else None for content in contents]
        if any(value is not None for value in last):
            rows.append((label, ["–" if value is None else f"{value:.4g}" for value in last]))
    rows.append(("Epochs", [str(len(content.epochs)) for content in contents]))
    head = "".join(f"<th>{escape(content.title)}</th>" for content in contents)
    lines = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
        for label, values in rows
    )
    return (
        '<section id="numbers"><h2>Numbers</h2>\n<table><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{lines}</tbody></table></section>"
    )


def _charts(contents: Sequence[ReportContent]) -> list[dict[str, Any]]:
    loss = [
        _curve(c.title + ending, column(c.epochs, "epoch"), column(c.epochs, key), i)
        for i, c in enumerate(contents)
        for key, ending in (("loss", ""), ("held_out_loss", HELD_OUT))
        if np.isfinite(column(c.epochs, key)).any()
    ]
    correlation = [
        _curve(c.title, *found, i)
        for i, c in enumerate(contents)
        if (found := curve(find(c.analysis, "fsc"), "frequency", "correlation")) is not None
    ]
    charts: list[dict[str, Any]] = []
    if loss:
        charts.append(
            {"title": "Loss", "xLabel": "epoch", "yLabel": "loss per electron", "logarithmic": True, "curves": loss}
        )
    if correlation:
        charts.append(
            {
                "title": "Fourier shell correlation",
                "xLabel": "spatial frequency [1/Å]",
                "yLabel": "correlation",
                "limits": [-0.1, 1.05],
                "curves": correlation,
            }
        )
    return charts


def _curve(name: str, x: np.ndarray, y: np.ndarray, run: int) -> dict[str, Any]:
    kept = np.isfinite(x)
    return {
        "name": name,
        "x": x[kept].tolist(),
        "y": [float(value) if np.isfinite(value) else None for value in y[kept]],
        "dashed": name.endswith(HELD_OUT),
        "colour": COLOURS[run % len(COLOURS)],
    }

"""Figures, scaling.json and scaling.md from the measurements of a folder."""

import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from dptt.assembly.workload import plan_workload
from dptt.config import load_config
from dptt.planning.machine import KNOWN, read_machine
from dptt.report.drawing import DPI, STYLE
from scaling.figures import measured_figure, prediction_figure, resolution_figure
from scaling.prediction import GPUS, SIZES, compared, fastest, gpu_curves
from scaling.runs import results

PREDICTED_GPUS = "h200"


def write_report(out: Path) -> None:
    """Write scaling.json, scaling.md and the figures of the measurements in `out`."""
    measured, runs = results(out), out / "runs.json"
    curves = gpu_curves(PREDICTED_GPUS)
    tilts = [json.loads(path.read_text()) for path in sorted(out.glob("resolution-*/curve.json"))]
    comparison: list[dict[str, Any]] = []
    if measured and runs.exists() and (out / "machine.json").exists():
        run = json.loads(runs.read_text())
        workload = plan_workload(load_config(run["config"], run["overrides"]))
        machine = read_machine(str(out / "machine.json"))
        if run["launcher"].startswith("torchrun"):  # the ranks share the cores of one host
            machine = machine.changed(ranks_per_node=max(entry["ranks"] for entry in measured))
        comparison = [compared(entry, workload, machine) for entry in measured]
    document = {"measured": measured, "compared": comparison, "predicted": curves, "resolution": tilts}
    (out / "scaling.json").write_text(json.dumps(document, indent=1) + "\n")
    sections = [
        _measured_section(measured),
        _compared_section(comparison),
        _resolution_section(tilts),
        _predicted_section(curves),
    ]
    (out / "scaling.md").write_text("\n\n".join(section for section in sections if section) + "\n")
    with matplotlib.rc_context(STYLE):
        if measured:
            _save(measured_figure(measured), out / "measured.png")
        if tilts:
            _save(resolution_figure(tilts), out / "resolution.png")
        _save(prediction_figure(curves, PREDICTED_GPUS), out / "predicted.png")
    print(f"wrote {out / 'scaling.md'}, {out / 'scaling.json'} and figures")


def _measured_section(measured: list[dict[str, Any]]) -> str:
    rows = [
        [
            *(run["study"], run["layout"], f"{run['epoch_seconds']:.1f}"),
            *(_range(run["seconds_of_ranks"].get(kind, [])) for kind in ("read", "compute", "communicate", "idle")),
            f"{run['bytes_per_update'] / 1e6:.3f}",
            f"{max(run['peak_bytes']) / 2**20:.0f}",
        ]
        for run in measured
    ]
    titles = ["study", "layout", "s per epoch", "read", "compute", "communicate", "idle", "MB per update", "peak MiB"]
    return rows and "## Measured\n\n" + _markdown(titles, rows) or ""


def _compared_section(comparison: list[dict[str, Any]]) -> str:
    rows = [
        [run["study"], run["layout"]]
        + [
            f"{predicted * factor:.3g} / {value * factor:.3g} ({100 * (predicted / value - 1):+.0f} %)"
            if value
            else "–"
            for key, factor in (
                ("epoch_seconds", 1),
                ("cpu_seconds", 1),
                ("bytes_per_update", 1e-6),
                ("peak_bytes", 2**-20),
            )
            for predicted, value in [run[key]]
        ]
        for run in comparison
    ]
    titles = ["study", "layout", "s per epoch", "CPU s of rank 0", "MB per update", "peak MiB"]
    return rows and "## Predicted / measured\n\n" + _markdown(titles, rows) or ""


def _resolution_section(tilts: list[dict[str, Any]]) -> str:
    rows = [
        [f"{run['kind']} {run['ranks']}"]
        + [
            " / ".join(f"{p[key]:.2f}" if p[key] else "–" for key in ("resolution_A", "along_beam_A"))
            + f" / {p['correlation']:.3f} ({p['seconds']:.0f} s)"
            for p in run["curve"]
        ]
        for run in tilts
    ]
    if not rows:
        return ""
    titles = ["ranks", *(f"epoch {p['epoch']}" for p in tilts[0]["curve"])]
    caption = "Resolution, FSC 0.5 [Å] / along the beam [Å] / correlation with the truth (seconds since the start)"
    return f"## Time to resolution\n\n{caption}\n\n" + _markdown(titles, rows)


def _predicted_section(curves: list[dict[str, Any]]) -> str:
    rows = []
    for count in GPUS:
        row = [str(count)]
        for size in SIZES:
            best = fastest(curves, size, count)
            row += (
                [
                    f"{best['scan']} × {best['slabs']}",
                    f"{best['epoch_seconds']:.3g}",
                    f"{100 * best['efficiency']:.0f} %",
                    f"{best['peak_GiB']:.1f}",
                ]
                if best
                else ["does not fit", "–", "–", "–"]
            )
        rows.append(row)
    titles = ["GPUs"] + [f"{size}³: {what}" for size in SIZES for what in ("scan × slabs", "s", "efficiency", "GiB")]
    machine = KNOWN[PREDICTED_GPUS]
    return f"## Predicted: {machine.name}\n\n{machine.source}.\n\n" + _markdown(titles, rows)


def _range(values: list[float]) -> str:
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    return f"{low:.1f}" if high - low < 0.05 else f"{low:.1f}–{high:.1f}"


def _markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI)

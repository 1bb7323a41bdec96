"""The figures of a part, one a line: from `benchmark.json`, `quickstart.json`, or the last line of pytest."""

import json
import re
from pathlib import Path


def figures_of(folder: Path) -> list[str]:
    """Return what a part has measured, as far as it got."""
    found = []
    if (benchmark := folder / "benchmark.json").exists():
        document = json.loads(benchmark.read_text())
        found += [line for result in document["results"] for line in _contest(result)]
        found += [line for particle in document["particles"] for line in _epochs(particle)]
    if (quickstart := folder / "quickstart.json").exists():
        found += [_variant(one) for one in json.loads(quickstart.read_text())]
    summary = re.findall(r"^.*\d+ passed.*$|^.*\d+ failed.*$", (folder / "log.txt").read_text(errors="replace"), re.M)
    return found + [line.strip("= ") for line in summary[-1:]]


def _contest(result: dict) -> list[str]:
    errors = result.get("gradient_error", {})
    lines = [result["name"]]
    for who, seconds in result["median_seconds"].items():
        peak = result["peak_bytes"][who]
        parts = [f"{who:9s}{seconds:9.4f} s", f"{result['ratio_to_bare'][who]:6.2f} x bare transforms"]
        parts += [f"peak {peak / 1e6:.0f} MB"] if peak is not None else []
        parts += [f"error of the gradient {errors[who]:.0e}"] if who in errors else []
        lines.append("  " + ", ".join(parts))
    return lines


def _epochs(particle: dict) -> list[str]:
    return [particle["name"]] + [
        f"  epoch {one['epoch']}: {one['seconds']:.1f} s, "
        + ("no resolution yet" if one["resolution_A"] is None else f"{one['resolution_A']:.3f} Å (FSC 0.5)")
        + f", mean correlation of the shells {one['mean_correlation']:.4f}"
        for one in particle["curve"]
    ]


def _variant(one: dict) -> str:
    text = f"{one['name']}: {one['seconds']:.1f} s, final loss {one['loss']:.6g}"
    if one["difference"] is not None:
        text += (
            f", volume differs from the CPU's by {one['difference']:.1e} of its norm (at most {one['allowed']:.0e})"
        )
    if one["peak_bytes"] is not None:
        text += f", peak {one['peak_bytes'] / 2**20:.0f} MiB of {one['planned_bytes'] / 2**20:.0f} MiB planned"
    return text

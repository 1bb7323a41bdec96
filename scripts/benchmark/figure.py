"""The plot of a benchmark: time over that of the bare transforms, of every contestant."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"naive": "#bbbbbb", "plain": "#7799bb", "dptt": "#224477"}


def draw(document: dict, path: Path) -> None:
    """Save bars of the ratios, a mark at what is to be reached, and a note if the machine was not quiet."""
    results = document["results"]
    figure, axes = plt.subplots(figsize=(8, 0.8 + 1.1 * len(results)), layout="constrained")
    for row, result in enumerate(results):
        present = [who for who in COLOURS if who in result["ratio_to_bare"]]
        for offset, who in enumerate(present):
            value = result["ratio_to_bare"][who]
            y = row + 0.26 * (offset - (len(present) - 1) / 2)
            axes.barh(y, value, 0.24, color=COLOURS[who], label=None if row else who)
            axes.text(value, y, f" {value:.2f}", va="center", fontsize=8)
        axes.plot([result["to_reach"]] * 2, [row - 0.42, row + 0.42], "k--", lw=1, label=None if row else "to reach")
    axes.set_yticks(
        range(len(results)), [r["name"].replace(": ", ":\n").replace("batches, ", "batches,\n") for r in results]
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("time / time of the bare transforms")
    about = document["machine"]
    quiet = "" if all(r["quiet"] for r in results) else " — machine was not quiet"
    axes.set_title(f"{about['device']}, {about['threads']} threads{quiet}", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)

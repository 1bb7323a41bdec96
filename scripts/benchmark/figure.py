"""The plots of a benchmark: time over that of the bare transforms, and what every epoch of a particle reached."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1}
COLOURS = {"naive": "#bbbbbb", "plain": "#7799bb", "portable": "#55aa88", "dptt": "#224477", "fast": "#cc6633"}


def draw(document: dict, path: Path) -> None:
    """Save bars of the ratios, a mark at what is to be reached, and a note if the machine was not quiet."""
    results = document["results"]
    figure, axes = plt.subplots(figsize=(8, 0.8 + 1.1 * len(results)), layout="constrained")
    for row, result in enumerate(results):
        present = [who for who in COLOURS if who in result["ratio_to_bare"]]
        for offset, who in enumerate(present):
            value = result["ratio_to_bare"][who]
            y = row + 0.78 / len(present) * (offset - (len(present) - 1) / 2)
            axes.barh(y, value, 0.72 / len(present), color=COLOURS[who], label=None if row else who)
            axes.text(1.03 * value, y, f"{value:.2f}", va="center", fontsize=8, bbox=BEHIND, zorder=3)
        if result["to_reach"]:
            axes.plot(
                [result["to_reach"]] * 2, [row - 0.42, row + 0.42], "k--", lw=1, label=None if row else "to reach"
            )
    axes.set_yticks(
        range(len(results)), [r["name"].replace(": ", ":\n").replace("batches, ", "batches,\n") for r in results]
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(0.8, 2 * max(max(result["ratio_to_bare"].values()) for result in results))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("time / time of the bare transforms")
    about = document["machine"]
    quiet = "" if all(r["quiet"] for r in results) else " — machine was not quiet"
    axes.set_title(f"{about['device']}, {about['threads']} threads{quiet}", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_particles(document: dict, path: Path) -> None:
    """Save resolution and mean correlation of the shells against epochs, with seconds at the top."""
    particles = document["particles"]
    figure, axes = plt.subplots(2, len(particles), figsize=(4.6 * len(particles), 5), squeeze=False, sharex="col")
    for (upper, lower), one in zip(axes.T, particles, strict=True):
        epochs = [entry["epoch"] for entry in one["curve"]]
        for panel, what, key in (
            (upper, "resolution", "resolution_A"),
            (lower, "mean_correlation", "mean_correlation"),
        ):
            values = [float("nan") if entry[key] is None else entry[key] for entry in one["curve"]]
            panel.plot(epochs, values, "o-", color=COLOURS["dptt"])
            reached = one["reached"][what]
            label = f"within 5 % of its end: {reached['epochs']} epochs, {reached['seconds']:.0f} s"
            panel.axvline(reached["epochs"], color="#aa3333", ls="--", lw=1, label=label)
            panel.legend(fontsize=8, frameon=False)
        upper.set_title(one["name"], fontsize=9)
        upper.set_ylim(0, None)
        lower.set_xlabel("epoch")
    axes[0, 0].set_ylabel("resolution, FSC 0.5 (Å)")
    axes[1, 0].set_ylabel("mean FSC with the truth")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)

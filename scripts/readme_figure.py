"""Draw docs/figures/atoms.png, the picture of the README, from the run of scripts/quickstart.sh.

    python scripts/readme_figure.py runs/minimal/series.h5 runs/minimal/volume.h5 docs/figures/atoms.png

Left a few patterns of the tilt nearest to zero, in the middle the reconstruction, on the right the specimen.
"""

import argparse
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume
from dptt.report.content import VoxelSize
from dptt.report.rendering import fourier_interpolate, opacity_levels, render, views

EDGE = 19.0
"""Edge of the rendered cube [Å]: the particle's diameter and a little more."""
FINER = 3
PIXELS = 420
NUM_PATTERNS, GAP = 6, 3


def rendering(potential: NDArray[np.floating], voxel_size: VoxelSize) -> NDArray[np.float64]:
    """Return an oblique view (down, right, 3) of a potential, interpolated so that atoms look round."""
    low, high = opacity_levels(potential)
    for axis in range(3):
        potential = fourier_interpolate(potential, axis, FINER)
    density = np.clip((potential - low) / (high - low), 0, 1)
    return render(density, tuple(d / FINER for d in voxel_size), views()[2], EDGE, PIXELS)


def mosaic(patterns: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return amplitudes of some patterns (scan_y, scan_x, ky, kx) side by side, NaN between them."""
    padded = np.pad(np.sqrt(patterns), ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=np.nan)
    rows, columns, height, width = padded.shape
    return padded.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)[:-GAP, :-GAP]


def main() -> None:
    """Read a series and its volume, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", type=Path)
    parser.add_argument("volume", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    volume = read_volume(options.volume)
    with TiltSeries.open(options.series) as series:
        truth = series.truth()
        tilt = min(series.tilts, key=lambda one: abs(one.euler_angles[1]))
        num_tilts, scan = len(series.tilts), tilt.scan_shape
        patterns = tilt.read(np.arange(np.prod(scan))).reshape(*scan, *series.detector_shape)
    start = (scan[0] - 2 * NUM_PATTERNS) // 2
    patterns = patterns[start : start + 2 * NUM_PATTERNS : 2, start : start + 2 * NUM_PATTERNS : 2]

    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.15))
    figure.subplots_adjust(left=0.005, right=0.995, top=0.9, bottom=0.01, wspace=0.04)
    axes[0].imshow(mosaic(patterns.astype(np.float64)), cmap="magma", interpolation="nearest")
    axes[0].set_title(f"Input: {num_tilts} tilts × {np.prod(scan)} patterns ({NUM_PATTERNS**2} shown)")
    axes[1].set_title("Output: potential in 3D, near atoms yellow")
    axes[2].set_title(f"The simulated specimen: {len(truth.atomic_numbers)} atoms")
    for panel, potential in zip(axes[1:], (volume.volume.real, truth.volume.real), strict=True):
        image = rendering(potential, volume.voxel_size)
        panel.imshow(image, extent=(0, EDGE, EDGE, 0), interpolation="lanczos")
    axes[1].plot([1, 6], [EDGE - 1.2] * 2, color="white", linewidth=3)
    axes[1].text(3.5, EDGE - 1.7, "5 Å", color="white", ha="center", va="bottom")
    for panel in axes:
        panel.set_axis_off()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=105)
    Image.open(drawn).convert("RGB").quantize(255).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()

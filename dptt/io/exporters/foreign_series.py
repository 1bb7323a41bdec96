"""A tilt series as detectors of other makers leave it: to try `dptt init` and `dptt import` on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.dataset import Tilt, TiltSeries

EMPAD_PIXELS, EMPAD_ROWS = 128, 130
"""Pixels of an EMPAD along each side; a frame has two more rows, of other readings."""


def write_empad(folder: Path, series: TiltSeries) -> tuple[int, int]:
    """Write a raw file of the EMPAD for every tilt, and `angles.txt`; return how many of its pixels are one of ours.

    A raw file holds frames (130, 128) of 32-bit floats, without a head. Every electron of a pixel of the series falls
    on a random one of the smaller pixels of the EMPAD within it, so that binning gives the series back. The zero
    angle stays at n//2, to half a small pixel; what is then beyond the first row and column is lost.
    """
    ky, kx = series.detector_shape
    if EMPAD_PIXELS % ky or EMPAD_PIXELS % kx:
        raise ValueError(f"patterns of {ky} x {kx} pixels; expected divisors of {EMPAD_PIXELS}")
    factors = EMPAD_PIXELS // ky, EMPAD_PIXELS // kx
    generator = np.random.default_rng(0)
    for number, tilt in enumerate(series.tilts, 1):
        rows, columns = tilt.scan_shape or (1, tilt.num_positions)
        with write_beside(folder / f"scan_x{columns}_y{rows}_{number:02d}.raw") as partial:
            with partial.open("wb") as file:
                for pattern in _patterns(tilt):
                    frame = np.zeros((EMPAD_ROWS, EMPAD_PIXELS), dtype="<f4")
                    frame[:EMPAD_PIXELS] = _spread(pattern, factors, generator)
                    file.write(frame.tobytes())
    _write_angles(folder / "angles.txt", series)
    return factors


def write_numpy(folder: Path, series: TiltSeries) -> None:
    """Write an .npy file (scan_y, scan_x, ky, kx) for every tilt, with the stage angle in its name."""
    for tilt in series.tilts:
        angle = tilt.euler_angles[1]
        name = f"tilt_{'m' if angle < 0 else 'p'}{abs(angle):g}.npy"
        shape = (*(tilt.scan_shape or (1, tilt.num_positions)), *tilt.detector_shape)
        with write_beside(folder / name) as partial, partial.open("wb") as file:
            np.save(file, np.asarray(tilt.read(slice(None))).reshape(shape))


def _patterns(tilt: Tilt) -> Iterator[NDArray[np.int64]]:
    for position in range(tilt.num_positions):
        yield np.asarray(tilt.read(slice(position, position + 1)))[0].astype(np.int64)


def _spread(
    pattern: NDArray[np.int64], factors: tuple[int, int], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return the counts on pixels that are smaller by `factors`, every electron on a random one."""
    fine = np.zeros((pattern.shape[0] * factors[0], pattern.shape[1] * factors[1]))
    y, x = np.divmod(np.repeat(np.arange(pattern.size), pattern.ravel()), pattern.shape[1])
    y = y * factors[0] + generator.integers(factors[0], size=len(y)) - (factors[0] - 1) // 2
    x = x * factors[1] + generator.integers(factors[1], size=len(x)) - (factors[1] - 1) // 2
    inside = (y >= 0) & (x >= 0)
    np.add.at(fine, (y[inside], x[inside]), 1.0)
    return fine


def _write_angles(path: Path, series: TiltSeries) -> None:
    with write_beside(path) as partial:
        partial.write_text("".join(f"{tilt.euler_angles[1]:g}\n" for tilt in series.tilts), encoding="utf-8")

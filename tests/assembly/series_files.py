"""Small tilt series with patterns that are known by construction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData

DETECTOR, SAMPLING, SEMIANGLE = (24, 21), (2.5, 2.8), 15.0


def disk(
    electrons: float = 900.0, centre: tuple[float, float] = (12, 10), semiangle: float = SEMIANGLE
) -> np.ndarray:
    """Return a uniform bright disk about the detector index `centre`."""
    ky, kx = ((np.arange(n) - c) * a for n, c, a in zip(DETECTOR, centre, SAMPLING, strict=True))
    inside = np.hypot(ky[:, None], kx[None, :]) <= semiangle
    return inside * (electrons / inside.sum())


def raster(shape: tuple[int, int] = (5, 4), step: float = 0.4) -> np.ndarray:
    """Return positions (n, 2) around the rotation axis [Å]."""
    y, x = ((np.arange(n) - n // 2) * step for n in shape)
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def write_series(
    path: Path, angles=(-30.0, 0.0, 40.0), aberrations=None, pattern=None, positions=None, sampling=SAMPLING, **tilt
) -> Path:
    """Write a series with the same pattern at all positions of all tilts."""
    pattern = disk() if pattern is None else pattern
    positions = raster() if positions is None else positions
    counts = pattern.dtype.kind in "iu"
    patterns = np.repeat(pattern[None] if counts else pattern[None].astype(np.float32), len(positions), 0)
    write_tilt_series(
        path,
        SeriesHeader(300e3, SEMIANGLE, sampling, {"C10": -60.0} if aberrations is None else aberrations),
        [TiltData(patterns, positions, (0.0, angle, 0.0), (0.1, -0.2), **tilt) for angle in angles],
        overwrite=True,
    )
    return path


@contextmanager
def opened(path: Path, **sections) -> Iterator[tuple[Config, TiltSeries]]:
    """Yield a configuration with `sections` and the open series at `path`."""
    with TiltSeries.open(path) as series:
        yield Config(series=path, run=path.parent / "run", **sections), series

"""The data of the page: what was measured in every tilt, and what the volume predicts at the same scan positions."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dptt.assembly.modelled_patterns import TiltModel, in_chunks, measured_patterns
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.selection import reconstructed_positions
from dptt.assembly.usable_pixels import usable_pixels
from dptt.config import Config
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedVolume
from dptt.logs import log
from dptt.model.forward import Geometry
from dptt.report.measured import Diffraction, MeasuredTilt, ScanMap
from dptt.runtime.earlier_results import start_of_reconstruction

READ = 2**29
"""Patterns of all tilts that are read for virtual images [bytes]: seconds from a local disk. Of a larger series every
n-th position is shown."""
EMBEDDED_PIXELS = 1_500_000
"""Pixels of all patterns in the page, one byte each before compression."""
LARGEST_PATTERN = 64
"""Pixels along an edge of an embedded pattern; larger ones are binned."""
FEWEST_PATTERNS = 9
"""Of a tilt that has any; where this is too much, every n-th tilt has some."""
MODELLED_PIXELS = 1_500_000_000
"""Pixels times slices times modes of the patterns that are modelled for the map of the fit: a minute on a core."""
BRIGHT, DARK = 0.95, 1.1
"""The bright field ends and the dark field begins at these multiples of the convergence semi-angle."""


def diffraction(
    run: Path, series: TiltSeries, result: ReconstructedVolume | None, config: Config
) -> Diffraction | None:
    """Return what the page shows of the patterns; None if no tilt has any.

    What cannot be modelled is left out with a warning: the page shows what was measured.
    """
    tilts = [tilt for tilt in series.tilts if result is None or tilt.name in result.tilts]
    if not tilts:
        return None
    geometry = None if result is None else _geometry(run, series, result, config)
    shape = series.detector_shape if geometry is None else geometry.window_shape
    binning = -(-max(shape) // LARGEST_PATTERN)
    angles = {t.name: t.euler_angles[1] if result is None else result.tilts[t.name].euler_angles[1] for t in tilts}
    tilts = sorted(tilts, key=lambda tilt: angles[tilt.name])
    maker = _Maker(series, result, config, geometry, shape=shape, binning=binning, num_tilts=len(tilts))
    every = maker.every_with_patterns
    return Diffraction(
        tilts=[maker.tilt(tilt, angles[tilt.name], i % every == every // 2) for i, tilt in enumerate(tilts)],
        sampling=(series.angular_sampling[0] * binning, series.angular_sampling[1] * binning),
        semiangle=series.semiangle_cutoff,
    )


def _geometry(run: Path, series: TiltSeries, result: ReconstructedVolume, config: Config) -> Geometry | None:
    """Return the grids of the reconstruction, if the earlier steps still give the same."""
    try:
        geometry = plan_series_geometry(config, series, start_of_reconstruction(config, series, said=False))
    except ProblemsError as error:
        log.warning(f"warning: the page lacks the modelled patterns: {error}")
        return None
    if geometry.volume_shape != result.volume.shape:
        log.warning(
            f"warning: the page lacks the modelled patterns: {run} has a volume of {result.volume.shape} voxels, but "
            f"its configuration gives {geometry.volume_shape}"
        )
        return None
    return geometry


class _Maker:
    """Makes the entries of the tilts, all with the same share of reading, computing and space."""

    def __init__(
        self,
        series: TiltSeries,
        result: ReconstructedVolume | None,
        config: Config,
        geometry: Geometry | None,
        *,
        shape: tuple[int, int],
        binning: int,
        num_tilts: int,
    ) -> None:
        self._series, self._result, self._config, self._geometry = series, result, config, geometry
        self._shape, self._binning, self._num_tilts = shape, binning, num_tilts
        embedded = math.prod(n // binning for n in shape) * (1 if geometry is None else 2)
        self._patterns = EMBEDDED_PIXELS // (embedded * num_tilts)
        self.every_with_patterns = max(1, -(-FEWEST_PATTERNS // max(self._patterns, 1)))
        self._patterns *= self.every_with_patterns

    def tilt(self, tilt: Tilt, theta: float, with_patterns: bool) -> MeasuredTilt:
        """Return the entry of one tilt."""
        positions = tilt.scan_positions()
        size = math.prod(tilt.detector_shape) * tilt.dtype.itemsize
        read = spread(tilt.num_positions, tilt.scan_shape, max(1, READ // (size * self._num_tilts)))
        mask = usable_pixels(tilt, self._series)
        mean, bright, dark = self._virtual_images(tilt, read, mask)
        maps = {
            "bright field": ScanMap("Bright field", "electrons", bright, read),
            "dark field": ScanMap("Dark field", "electrons", dark, read),
        }
        wanted = spread(tilt.num_positions, tilt.scan_shape, self._patterns) if with_patterns else np.arange(0)
        model = self._model(tilt, mask)
        selection = reconstructed_positions(self._config, tilt)
        sampled = wanted if model is None else np.unique(selection[_nearest(selection, wanted)])
        measured, modelled = measured_patterns(tilt, sampled, self._shape, mask), None
        if model is not None:
            maps["figure of fit"] = self._fits(tilt, model, selection, mask)
            chosen = np.searchsorted(selection, sampled)
            pieces = [model.shown(model.intensities(part)) for part in in_chunks(chosen, self._shape)]
            modelled = binned(np.concatenate(pieces or [measured]), self._binning)
        return MeasuredTilt(
            name=tilt.name,
            theta=theta,
            positions=positions,
            step=scan_step(positions),
            mean=binned(mean[None], self._binning)[0],
            maps=maps,
            sampled=sampled,
            measured=binned(measured, self._binning),
            modelled=modelled,
        )

    def _virtual_images(
        self, tilt: Tilt, read: NDArray[np.integer], mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean pattern, and electrons in the bright and the dark field of the patterns `read`."""
        ny, nx = self._shape
        y, x = (np.arange(n) - n // 2 for n in (ny, nx))
        angle = np.hypot(
            *np.meshgrid(*(k * s for k, s in zip((y, x), self._series.angular_sampling, strict=True)), indexing="ij")
        )
        semiangle = self._series.semiangle_cutoff
        inside, outside = angle <= BRIGHT * semiangle, angle >= DARK * semiangle
        total, bright, dark = np.zeros((ny, nx)), [], []
        for part in in_chunks(read, self._shape):
            patterns = measured_patterns(tilt, part, self._shape, mask)
            total += patterns.sum(0, dtype=np.float64)
            bright.append(patterns[:, inside].sum(1, dtype=np.float64))
            dark.append(patterns[:, outside].sum(1, dtype=np.float64))
        return (total / len(read)).astype(np.float32), np.concatenate(bright), np.concatenate(dark)

    def _model(self, tilt: Tilt, mask: NDArray[np.bool_] | None) -> TiltModel | None:
        if self._result is None or self._geometry is None:
            return None
        found = self._result.tilts[tilt.name]
        if found.probe is None or found.scan_positions is None:
            return None
        return TiltModel.of(self._result.volume, found, mask, self._geometry)

    def _fits(
        self, tilt: Tilt, model: TiltModel, selection: NDArray[np.integer], mask: NDArray[np.bool_] | None
    ) -> ScanMap:
        """Return the figure of fit at as many scan positions as `MODELLED_PIXELS` allow."""
        work = math.prod(self._shape) * len(model.transmitted) * len(model.probe) * self._num_tilts
        whole = len(selection) == tilt.num_positions
        chosen = spread(len(selection), tilt.scan_shape if whole else None, max(1, MODELLED_PIXELS // work))
        assert self._result is not None  # there is a model
        told = self._config.reconstruction.loss_for(None)  # of a volume that does not say it
        loss = str(self._result.attributes.get("loss_function", told))
        fits = [
            model.figures_of_fit(
                model.intensities(part),
                measured_patterns(tilt, selection[part], self._shape, mask),
                loss=loss,
                epsilon=self._config.reconstruction.epsilon,
            )
            for part in in_chunks(chosen, self._shape)
        ]
        unit = "(loss over that of shot noise; 1: all else is explained)"
        return ScanMap("Figure of fit", unit, np.concatenate(fits), selection[chosen], "inferno")


def spread(number: int, scan_shape: tuple[int, int] | None, most: int) -> NDArray[np.integer]:
    """Return ascending indices of at most `most` of `number` scan positions, evenly over a raster or along a list."""
    if scan_shape is None:
        return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int))
    stride = next(
        s for s in range(1, max(scan_shape) + 1) if math.prod(-(-n // s) for n in scan_shape) <= max(most, 1)
    )
    rows, columns = (np.arange(min(stride // 2, (n - 1) // 2), n, stride) for n in scan_shape)
    return (rows[:, None] * scan_shape[1] + columns).ravel()


def scan_step(positions: NDArray[np.floating]) -> float:
    """Return the typical distance [Å] between neighbours: the edge of the area of one position."""
    if len(positions) < 2:
        return 1.0
    spans = np.ptp(positions, axis=0)
    if spans.min() <= 0:  # a line
        return float(spans.max() / (len(positions) - 1)) or 1.0
    return float(np.sqrt(spans.prod()) / (np.sqrt(len(positions)) - 1))


def binned(patterns: NDArray[np.floating], binning: int) -> NDArray[np.float32]:
    """Return patterns (n, y, x) summed over squares of pixels, the zero angle in pixel n//2 of the result."""
    if binning == 1:
        return patterns.astype(np.float32, copy=False)
    for axis in (1, 2):
        n = patterns.shape[axis]
        length = n // binning
        first = n // 2 - length // 2 * binning - binning // 2  # of the pixels that are summed; below 0: unmeasured
        widths = [(0, 0)] * 3
        widths[axis] = (max(-first, 0), max(first + length * binning - n, 0))
        kept = np.take(np.pad(patterns, widths), range(max(first, 0), max(first, 0) + length * binning), axis=axis)
        patterns = kept.reshape(*kept.shape[:axis], length, binning, *kept.shape[axis + 1 :]).sum(axis + 1)
    return patterns.astype(np.float32)


def _nearest(ascending: NDArray[np.integer], wanted: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the places in `ascending` of the numbers nearest to those `wanted`."""
    right = np.searchsorted(ascending, wanted).clip(1, max(len(ascending) - 1, 1)).clip(0, len(ascending) - 1)
    left = (right - 1).clip(0)
    return np.where(np.abs(ascending[left] - wanted) <= np.abs(ascending[right] - wanted), left, right)

"""A tilt series: whether its calibration is right, and what it looks like."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dptt.assembly.validation import Check
from dptt.commands.validate import validate
from dptt.interface.pictures import Picture, Pictures
from dptt.interface.settings import Tree, configuration, with_sections
from dptt.interface.tables import Table, facts
from dptt.interface.workplace import Folder, working
from dptt.io.dataset import Tilt, TiltSeries
from dptt.report.figures.series import TiltData, series_figure

SHOWN_BYTES = 2**30
"""Patterns of a tilt that are read to show it; of a larger tilt every second, third, ... one is."""
BLOCK_BYTES = 2**26

Values = Mapping[str, Any]


class Checks(tuple[Check, ...]):
    """What `Series.check` found: item, told, measured, verdict, cure of every check."""

    def _table(self) -> Table:
        wrong = sum(check.verdict == "wrong" for check in self)
        rows = [(check.item, check.told, check.measured, check.verdict, check.cure) for check in self]
        return Table(f"{len(self)} checks, {wrong} wrong", ("item", "told", "measured", "verdict", "cure"), rows)

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()


class Series:
    """A tilt series in a file, with the settings it was read with; made by `dptt.read` and `dptt.simulate`.

    Attributes
    ----------
    path
        The file; patterns are read from it when they are needed.
    run
        Folder of results that the configuration file names; None if there is none.
    """

    def __init__(self, tree: Tree, run: Path | None = None, folder: Folder | None = None) -> None:
        self.tree = tree
        self.run = run
        self.path = configuration(tree, run or Path("run"), "read").series
        self._folder = folder  # kept as long as the series in it
        with self.open():
            pass

    def open(self) -> TiltSeries:
        """Return the open file, a context manager, for its patterns, positions, poses and ground truth.

        >>> series = dptt.read("series.h5")
        >>> with series.open() as file:
        ...     file.tilts[0].read(slice(0, 2)).shape  # patterns (n, ky, kx)
        (2, 16, 14)
        """
        return TiltSeries.open(self.path, leave_out_bad_tilts=True)

    def check(self, *, volume: Values | None = None) -> Checks:
        """Compare what the file says with what its data say, as `dptt validate` does.

        Parameters
        ----------
        volume
            Keys of the section `volume`, such as ``{"thickness": 22}`` [Å]: the grid to check.

        Returns
        -------
        Checks
            One entry an item; the last line of a notebook cell shows them as a table.

        Raises
        ------
        ProblemsError
            The series cannot be reconstructed, or not in a meaningful way; with everything that is wrong.

        Examples
        --------
        >>> checks = dptt.read("series.h5").check()
        >>> [check.verdict for check in checks if check.item == "aperture"]
        ['right']
        """
        folder = Folder(self.run)
        config = configuration(with_sections(self.tree, {"volume": volume}), folder.path, "Series.check")
        with working(config, "validate"):
            return Checks(validate(config))

    def show(self, tilts: Iterable[str] = ()) -> Pictures:
        """Show mean patterns with the aperture, and virtual bright-field images.

        Parameters
        ----------
        tilts
            Names of tilts, at most six look well; the first, the middle and the last if left out.

        Raises
        ------
        KeyError
            There is no such tilt.

        Examples
        --------
        >>> dptt.read("series.h5").show(["0000", "0002"])
        Pictures: series; .save(folder) writes them as PNG
        """
        with self.open() as series:
            by_name = {tilt.name: tilt for tilt in series.tilts}
            names = list(by_name)
            chosen = list(tilts) or [names[i] for i in sorted({0, len(names) // 2, len(names) - 1})]
            if missing := [name for name in chosen if name not in by_name]:
                raise KeyError(f"no tilt {', '.join(missing)} in {self.path}; expected {names[0]} to {names[-1]}")
            data = [_tilt_data(by_name[name], series) for name in chosen]
            sampling, semiangle = series.angular_sampling, series.semiangle_cutoff
        return Pictures((Picture("series", "Data", lambda: series_figure(data, sampling, semiangle)),))

    def __repr__(self) -> str:
        with self.open() as series:
            thetas = [tilt.euler_angles[1] for tilt in series.tilts]
            return (
                f"Series {self.path}: {len(thetas)} tilts from {min(thetas):g}° to {max(thetas):g}°, "
                f"{series.num_patterns} patterns of {_size(series.detector_shape)} pixels, "
                f"{series.energy / 1e3:g} keV, {series.semiangle_cutoff:g} mrad"
            )

    def _repr_html_(self) -> str:
        with self.open() as series:
            thetas = [tilt.euler_angles[1] for tilt in series.tilts]
            first = series.tilts[0]
            scan = "listed positions" if first.scan_shape is None else f"raster of {_size(first.scan_shape)}"
            values = {
                "tilts": f"{len(thetas)}, from {min(thetas):g}° to {max(thetas):g}°",
                "left out": ", ".join(series.unreadable) or "none",
                "patterns": f"{series.num_patterns} of {_size(series.detector_shape)} pixels, {first.dtype}",
                "scan of a tilt": scan,
                "beam energy": f"{series.energy / 1e3:g} keV",
                "convergence semi-angle": f"{series.semiangle_cutoff:g} mrad",
                "angle a pixel (y, x)": " x ".join(f"{angle:.4g}" for angle in series.angular_sampling) + " mrad",
                "defocus of the first tilt": f"{-first.aberrations['C10']:g} Å (underfocus positive)",
            }
        return facts(f"Series {self.path}", values).html()


def _tilt_data(tilt: Tilt, series: TiltSeries) -> TiltData:
    """Return mean pattern and bright-field signal of a tilt, read in blocks."""
    pattern_bytes = int(np.prod(tilt.detector_shape)) * tilt.dtype.itemsize
    every = max(1, -(-tilt.num_positions * pattern_bytes // SHOWN_BYTES))
    chosen = np.arange(0, tilt.num_positions, every)
    valid = np.ones(tilt.detector_shape, bool) if (mask := tilt.mask()) is None else mask
    angles = [
        (np.arange(n) - n // 2) * step for n, step in zip(tilt.detector_shape, series.angular_sampling, strict=True)
    ]
    inside = valid & (np.hypot(angles[0][:, None], angles[1][None, :]) <= series.semiangle_cutoff)
    total, signal = np.zeros(tilt.detector_shape), np.zeros(len(chosen))
    size = max(1, BLOCK_BYTES // (8 * int(np.prod(tilt.detector_shape))))
    for start in range(0, len(chosen), size):
        patterns = tilt.read(chosen[start : start + size]).astype(np.float64) / tilt.counts_per_electron
        total += patterns.sum(0)
        signal[start : start + size] = patterns[:, inside].sum(1)
    return TiltData(
        name=tilt.name,
        theta=tilt.euler_angles[1],
        mean_pattern=np.where(valid, total / len(chosen), np.nan),
        positions=tilt.scan_positions()[chosen],
        bright_field=signal,
    )


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"

"""Formats that RosettaSciIO reads: Merlin .mib, blockfile .blo, Gatan .dm3 and .dm4.

RosettaSciIO is licensed under the GPL: an optional extra, imported when such a file is opened.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format, Metadata
from dptt.io.importers.formats.hyperspy_metadata import hyperspy_metadata
from dptt.io.importers.formats.optional import library
from dptt.io.importers.formats.units import Axis, sampling

MOST_BYTES_PER_BYTE = 64
"""Of patterns in a file: their numbers are not compressed; at the most, bits become numbers of 64 bits."""


@dataclass(frozen=True)
class RosettaReader:
    """One format, recognised by the first bytes of its files.

    Parameters
    ----------
    name
        What a user calls the format.
    plugin
        Name of the module of RosettaSciIO.
    beginnings
        What files begin with.
    """

    name: str
    plugin: str
    beginnings: tuple[bytes, ...]

    def recognises(self, path: Path, head: bytes) -> bool:
        """Return whether a file begins like one of this format."""
        return head.startswith(self.beginnings)

    @contextmanager
    def open_data(self, path: Path, dataset: str | None) -> Iterator[ForeignData]:
        """Yield the largest array of the file."""
        reader = library(f"rsciio.{self.plugin}", path, self.name)
        try:
            claimed = _largest(reader.file_reader(str(path), lazy=True))["data"]
            shape, size = claimed.shape, path.stat().st_size
            if claimed.nbytes > MOST_BYTES_PER_BYTE * size:  # RosettaSciIO would list its chunks for minutes
                raise ValueError(f"its head tells of {claimed.nbytes} bytes of patterns, the file has {size}")
            signal = _largest(reader.file_reader(str(path), lazy=True, chunks=_rows(shape)))
        except Exception as failure:  # a damaged file makes a reader raise whatever its arithmetic does
            problem = f"cannot be read as {self.name} ({type(failure).__name__}: {failure}). Copy it again."
            raise ImportDescriptionError(path, [problem]) from failure
        yield ForeignData(signal["data"], _axes(signal), _metadata(signal))


READERS = (
    RosettaReader("Merlin (.mib)", "quantumdetector", (b"MQ1,",)),
    RosettaReader("blockfile (.blo)", "blockfile", (b"IMGBLO",)),
    RosettaReader("DigitalMicrograph (.dm3, .dm4)", "digitalmicrograph", (b"\0\0\0\3", b"\0\0\0\4")),
)
FORMATS = tuple(Format(reader.name, reader.recognises, reader.open_data) for reader in READERS)


def _largest(signals: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return max(signals, key=lambda entry: (entry["data"].ndim, math.prod(entry["data"].shape)))


def _rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunks in which dask reads an array: rows of the scan, or up to 64 patterns of a list.

    What dask chooses by itself are squares of the scan, of which the import, row by row, reads most several times.
    """
    return (64, *shape[1:]) if len(shape) == 3 else (1, *shape[1:])


def _ordered(signal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    axes = [axis for axis in signal["axes"] if axis["size"] > 1 or len(signal["axes"]) == signal["data"].ndim]
    return sorted(axes, key=lambda axis: axis.get("index_in_array", 0))


def _axes(signal: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the meaning of the axes: the last two are the detector's, two or one before them the scan's."""
    names = {4: ("scan_y", "scan_x", "ky", "kx"), 3: ("position", "ky", "kx")}
    return names.get(signal["data"].ndim, ())


def _metadata(signal: Mapping[str, Any]) -> Metadata:
    axes = [Axis(float(axis.get("scale", 1.0)), str(axis.get("units") or "")) for axis in _ordered(signal)]
    calibration = sampling(axes[:-2], axes[-2:]) if len(axes) == signal["data"].ndim >= 3 else {}
    return hyperspy_metadata(_mapped(signal), calibration)


def _mapped(signal: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata, with the values of the format that `mapping` places in it."""
    tree = {"Acquisition_instrument": _plain(signal.get("metadata", {}).get("Acquisition_instrument", {}))}
    for source, target in (signal.get("mapping") or {}).items():
        name, convert = target if isinstance(target, tuple) else (target, None)
        value: Any = signal.get("original_metadata", {})
        for part in source.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or not name.startswith("Acquisition_instrument.TEM"):
            continue
        try:
            value = value if convert is None else convert(value)
        except (TypeError, ValueError, AttributeError, ZeroDivisionError):
            continue
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node.setdefault(leaf, value)
    return tree


def _plain(tree: Any) -> Any:
    return {name: _plain(value) for name, value in tree.items()} if isinstance(tree, Mapping) else tree

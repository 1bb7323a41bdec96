"""HyperSpy: .hspy (HDF5) and .zspy (zarr), which have the same groups and attributes."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dptt.io.importers.formats.foreign_data import ForeignData
from dptt.io.importers.formats.hyperspy_metadata import hyperspy_metadata
from dptt.io.importers.formats.units import Axis, sampling


def is_hyperspy(root: Any) -> bool:
    """Return whether the open file or store `root` is HyperSpy's."""
    return str(plain(root.attrs.get("file_format", ""))).lower() in ("hyperspy", "zspy") and "Experiments" in root


def open_hyperspy(root: Any) -> ForeignData:
    """Return the largest signal of the open file or store `root`; its axes are those of the array."""
    names = [name for name in root["Experiments"] if "data" in root[f"Experiments/{name}"]]
    signals = {name: root[f"Experiments/{name}"] for name in names}
    name = max(signals, key=lambda entry: math.prod(signals[entry]["data"].shape))
    signal = signals[name]
    array = signal["data"]
    axes = [plain_tree(signal[f"axis-{number}"]) for number in range(array.ndim) if f"axis-{number}" in signal]
    known = len(axes) == array.ndim
    scan = [axis for axis in axes if axis.get("navigate")]
    detector = [axis for axis in axes if not axis.get("navigate")]
    calibration = sampling(_steps(scan), _steps(detector)) if known and len(detector) == 2 else {}
    metadata = plain_tree(signal["metadata"]) if "metadata" in signal else {}
    meaning = ("scan_y", "scan_x", "ky", "kx") if len(scan) == 2 else ("position", "ky", "kx")
    fits = known and len(detector) == 2 and len(meaning) == array.ndim
    return ForeignData(
        array, meaning if fits else (), hyperspy_metadata(metadata, calibration), f"Experiments/{name}/data"
    )


def _steps(axes: list[dict[str, Any]]) -> list[Axis]:
    return [Axis(float(axis.get("scale", 1.0)), str(axis.get("units") or "")) for axis in axes]


def plain_tree(group: Any) -> dict[str, Any]:
    """Return the attributes and groups of a group of h5py or zarr as dictionaries; arrays are left out."""
    tree = dict(_attributes(group.attrs))
    for name in group:
        if hasattr(group[name], "attrs") and not hasattr(group[name], "shape"):
            tree[name] = plain_tree(group[name])
    return tree


def _attributes(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in attributes:
        yield name.removeprefix("_bs_"), plain(attributes[name])


def plain(value: Any) -> Any:
    """Return an attribute as a number or a text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value.item() if hasattr(value, "item") and getattr(value, "size", 0) == 1 else value

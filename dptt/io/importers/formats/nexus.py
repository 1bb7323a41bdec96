"""NeXus (HDF5): a group NXdata with a signal and its axes, whose units tell which are the scan's."""

import math
from typing import Any

import h5py
import numpy as np

from dptt.io.importers.formats.foreign_data import ForeignData, Metadata
from dptt.io.importers.formats.hyperspy import plain
from dptt.io.importers.formats.hyperspy_metadata import hyperspy_metadata
from dptt.io.importers.formats.units import Axis, angle, length, sampling, spatial_frequency


def is_nexus(file: h5py.File) -> bool:
    """Return whether `file` has a signal of at least three dimensions in an NXdata group."""
    return _largest(file) is not None


def open_nexus(file: h5py.File) -> ForeignData:
    """Return the largest signal of `file`; its axes are in the order of the array."""
    signal = _largest(file)
    assert signal is not None, "is_nexus was not asked first"
    group = signal.parent
    axes = [_axis(group, str(plain(name))) for name in np.atleast_1d(group.attrs.get("axes", []))]
    calibration: dict[str, Any] = {}
    names = {4: ("scan_y", "scan_x", "ky", "kx"), 3: ("position", "ky", "kx")}.get(signal.ndim, ())
    if len(axes) == signal.ndim:
        calibration = sampling(axes[:-2], axes[-2:])
        detector_first = _is_detector(axes[0]) and _is_detector(axes[1]) and not _is_detector(axes[-1])
        if detector_first:
            names = ("ky", "kx", "scan_y", "scan_x") if signal.ndim == 4 else ("ky", "kx", "position")
            calibration = sampling(axes[2:], axes[:2])
    metadata = hyperspy_metadata(_hyperspy_tree(file), calibration)
    return ForeignData(signal, names, _with_instrument(metadata, file), signal.name.lstrip("/"))


def _largest(file: h5py.File) -> h5py.Dataset | None:
    signals: list[h5py.Dataset] = []

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and plain(item.attrs.get("NX_class")) == "NXdata":
            signal = item.get(str(plain(item.attrs.get("signal", "data"))))
            if isinstance(signal, h5py.Dataset) and signal.ndim >= 3 and signal.dtype.kind in "iuf":
                signals.append(signal)

    file.visititems(collect)
    return max(signals, key=lambda signal: (signal.ndim, math.prod(signal.shape)), default=None)


def _axis(group: h5py.Group, name: str) -> Axis:
    values = group.get(name)
    if not isinstance(values, h5py.Dataset) or values.size < 2:
        return Axis(1.0)
    first = np.asarray(values[:2], dtype=np.float64).ravel()
    return Axis(float(abs(first[1] - first[0])), str(plain(values.attrs.get("units", ""))))


def _is_detector(axis: Axis) -> bool:
    return length(axis) is None and (spatial_frequency(axis) is not None or angle(axis) is not None)


def _hyperspy_tree(file: h5py.File) -> dict[str, Any]:
    """Return the metadata that HyperSpy adds, as scalar datasets in groups."""
    found: list[h5py.Group] = []
    file.visititems(lambda name, item: found.append(item) if name.endswith("hyperspy_metadata") else None)
    return _scalars(found[0]) if found else {}


def _scalars(group: h5py.Group) -> dict[str, Any]:
    return {
        name: _scalars(item) if isinstance(item, h5py.Group) else plain(item[()]) if item.shape == () else None
        for name, item in group.items()
    }


def _with_instrument(metadata: Metadata, file: h5py.File) -> Metadata:
    """Add what the NXinstrument of the first entry says, where HyperSpy's metadata are silent."""
    energies: list[float] = []

    def collect(name: str, item: Any) -> None:
        last = name.rsplit("/", 1)[-1]
        if last in ("incident_energy", "voltage", "accelerating_voltage") and isinstance(item, h5py.Dataset):
            unit = str(plain(item.attrs.get("units", ""))).lower()
            factor = {"ev": 1.0, "kev": 1e3, "v": 1.0, "kv": 1e3}.get(unit)
            if factor is not None and item.size == 1 and item.dtype.kind in "iuf":
                energies.append(factor * float(np.asarray(item[()]).ravel()[0]))

    file.visititems(collect)
    if metadata.energy is None and energies and energies[0] > 0:
        return Metadata(**{**metadata.__dict__, "energy": energies[0]})
    return metadata

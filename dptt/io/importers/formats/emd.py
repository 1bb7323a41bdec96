"""EMD of NCEM, of emdfile and of py4DSTEM (HDF5): a group with `data` and one calibrated vector per dimension.

RosettaSciIO writes the dimensions reversed, with the fastest first; its files are of version 0.2, and say so.
"""

import math
from typing import Any

import h5py
import numpy as np

from dptt.io.importers.formats.foreign_data import ForeignData, Metadata
from dptt.io.importers.formats.hyperspy import plain
from dptt.io.importers.formats.units import Axis, angle, length, pair, sampling, spatial_frequency


def is_emd(file: h5py.File) -> bool:
    """Return whether `file` has an array of at least three dimensions in an EMD group."""
    return _largest(file) is not None


def open_emd(file: h5py.File) -> ForeignData:
    """Return the largest array of `file`, its scan axes first."""
    group = _largest(file)
    assert group is not None, "is_emd was not asked first"
    array = group["data"]
    axes = [_axis(group[name]) for name in _dimensions(group)]
    reversed_axes = _is_reciprocal(axes[0]) and not _is_reciprocal(axes[-1])
    if reversed_axes:
        axes = axes[::-1]
    names = {4: ("scan_y", "scan_x", "ky", "kx"), 3: ("position", "ky", "kx")}.get(array.ndim, ())
    calibration: dict[str, Any] = sampling(axes[:-2], axes[-2:])
    calibration |= _calibration(group) | _microscope(file)
    return ForeignData(
        array, names[::-1] if reversed_axes else names, Metadata(**calibration), f"{group.name}/data".lstrip("/")
    )


def _largest(file: h5py.File) -> h5py.Group | None:
    groups: list[h5py.Group] = []

    def collect(name: str, item: Any) -> None:
        if (
            isinstance(item, h5py.Group)
            and "emd_group_type" in item.attrs
            and isinstance(item.get("data"), h5py.Dataset)
        ):
            if item["data"].ndim >= 3 and len(_dimensions(item)) == item["data"].ndim:
                groups.append(item)

    file.visititems(collect)
    return max(groups, key=lambda group: (group["data"].ndim, math.prod(group["data"].shape)), default=None)


def _dimensions(group: h5py.Group) -> list[str]:
    """Return the names of the vectors: dim0, ... of emdfile, dim1, ... of NCEM."""
    first = 0 if "dim0" in group else 1
    names = [f"dim{first + number}" for number in range(group["data"].ndim)]
    return [name for name in names if isinstance(group.get(name), h5py.Dataset) and group[name].size]


def _axis(vector: h5py.Dataset) -> Axis:
    values = np.asarray(vector[:2], dtype=np.float64).ravel()
    unit = str(plain(vector.attrs.get("units", "")))
    return Axis(float(abs(values[1] - values[0])) if values.size == 2 else 1.0, unit)


def _is_reciprocal(axis: Axis) -> bool:
    return spatial_frequency(axis) is not None or angle(axis) is not None


def _calibration(group: h5py.Group) -> dict[str, Any]:
    """Return what the calibration of py4DSTEM says, which lies with the array or with its root."""
    values: dict[str, Any] = {}
    for place in (group.parent, group):
        metadata = place.get("metadatabundle/calibration")
        if isinstance(metadata, h5py.Group):
            values |= {name: plain(item[()]) for name, item in metadata.items() if isinstance(item, h5py.Dataset)}
    scan = Axis(_float(values.get("R_pixel_size")), str(values.get("R_pixel_units", "")))
    detector = Axis(_float(values.get("Q_pixel_size")), str(values.get("Q_pixel_units", "")))
    entries = {
        "scan_step": pair([length(scan)] * 2),
        "angular_sampling": pair([angle(detector)] * 2),
        "reciprocal_sampling": pair([spatial_frequency(detector)] * 2),
        "semiangle_cutoff": _positive(values.get("convergence_semiangle_mrad")),
    }
    return {name: value for name, value in entries.items() if value is not None}


def _microscope(file: h5py.File) -> dict[str, Any]:
    """Return what the group `microscope` of an NCEM file says, if it says it in numbers with the usual names."""
    microscope = file.get("microscope")
    attributes = {} if not isinstance(microscope, h5py.Group) else {n: plain(v) for n, v in microscope.attrs.items()}
    volts = _positive(attributes.get("voltage") or attributes.get("accelerating_voltage"))
    angle_unit = Axis(1.0, str(attributes.get("convergence_angle_units", "mrad")))
    semiangle = _positive(attributes.get("convergence_angle"))
    entries = {
        "energy": None if volts is None else volts if volts > 1e3 else 1e3 * volts,  # kV, as no lens takes 1 kV
        "semiangle_cutoff": None if semiangle is None else semiangle * (angle(angle_unit) or 1.0),
    }
    return {name: value for name, value in entries.items() if value is not None}


def _float(value: Any) -> float:
    return _positive(value) or 0.0


def _positive(value: Any) -> float | None:
    """Return a positive number, None if the value is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None

"""Nion Swift: .ndata, .ndata1 (a zip file of data.npy and metadata.json), .h5 and .nhdf (HDF5 with `properties`).

All have the same tree of properties in JSON: calibrations of the axes, how many of them are the scan's, and the
metadata of the instrument in volts and radians.
"""

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format, Metadata
from dptt.io.importers.formats.hyperspy import plain
from dptt.io.importers.formats.units import Axis, sampling

NAME = "Nion Swift (.ndata)"
MEMBERS = {"data.npy", "metadata.json"}
CHUNK = 2**24
"""[bytes] Of a member of a zip file that is read at once to compare its checksum."""
LOCAL_HEADER = 30
"""[bytes] Of the header in front of a member of a zip file, without its name and extra field."""


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a file is a zip file of data and metadata, as Swift names them."""
    if not head.startswith(b"PK") or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as members:
        return set(members.namelist()) >= MEMBERS


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the array, mapped into memory: Swift does not compress it."""
    try:
        with zipfile.ZipFile(path) as members:
            properties = json.loads(members.read("metadata.json"))
            member = members.getinfo("data.npy")
        array = _mapped(path, member)
    except Exception as failure:  # a damaged file makes zipfile, json and NumPy raise whatever their parsers do
        raise ImportDescriptionError(path, [f"cannot be read as {NAME} ({failure}). Export it again."]) from failure
    yield _described(_Checked(array, path), properties)


class _Checked:
    """A mapped array, compared with its checksum in the zip file before anything of it is read."""

    def __init__(self, array: np.memmap, path: Path) -> None:
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self._array, self._mmap = array, getattr(array, "_mmap", None)  # whose pages `ForeignArray` gives back
        self._path, self._is_checked = path, False

    def __getitem__(self, index: Any) -> np.ndarray:
        if not self._is_checked:
            with zipfile.ZipFile(self._path) as members, members.open("data.npy") as member:
                while member.read(CHUNK):
                    pass
            self._is_checked = True
        return np.asarray(self._array[index])


def _mapped(path: Path, member: zipfile.ZipInfo) -> Any:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("data.npy is compressed; expected as it is")
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
        name_and_extra = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(name_and_extra, 1)
        start = file.tell()
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if file.tell() - start + math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"data.npy has {member.file_size} bytes; its header says {shape} {dtype}")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


FORMAT = Format(NAME, recognises, open_data)


def is_nion(file: h5py.File) -> bool:
    """Return whether Swift wrote `file`: a dataset with its properties as JSON."""
    return any("properties" in item.attrs for item in _datasets(file))


def open_nion(file: h5py.File) -> ForeignData:
    """Return the largest data item of `file`."""
    items = [item for item in _datasets(file) if "properties" in item.attrs]
    largest = max(items, key=lambda item: (item.ndim, math.prod(item.shape)))
    return _described(largest, json.loads(plain(largest.attrs["properties"])), largest.name.lstrip("/"))


def _datasets(file: h5py.File) -> list[h5py.Dataset]:
    """Return `data` of an .h5 file, or the members of the group `data` of an .nhdf file."""
    data = file.get("data")
    items = list(data.values()) if isinstance(data, h5py.Group) else [data]
    return [item for item in items if isinstance(item, h5py.Dataset)]


def _described(array: Any, properties: Any, dataset: str | None = None) -> ForeignData:
    """Return the array with what `properties` say; a sequence is not said to be one of tilts."""
    axes = [_axis(entry) for entry in _entry(properties, "dimensional_calibrations") or []]
    counts = _entry(properties, "collection_dimension_count"), _entry(properties, "datum_dimension_count")
    names = {(2, 2): ("scan_y", "scan_x", "ky", "kx"), (1, 2): ("position", "ky", "kx")}
    meaning = () if _entry(properties, "is_sequence") else names.get(counts, ())
    meaning = meaning if len(meaning) == array.ndim else ()
    calibration = sampling(axes[:-2], axes[-2:]) if meaning and len(axes) == array.ndim else {}
    return ForeignData(array, meaning, _metadata(_entry(properties, "metadata"), calibration), dataset)


def _axis(entry: Any) -> Axis:
    return Axis(_number(entry, "scale") or 1.0, str(_entry(entry, "units") or ""))


def _metadata(tree: Any, calibration: Mapping[str, Any]) -> Metadata:
    instrument, source = _entry(tree, "instrument"), _entry(tree, "hardware_source")
    controls = [_entry(instrument, name) for name in ("ImageScanned", "ImageRonchigram")]
    voltages = [_number(instrument, "high_tension"), _number(_entry(source, "autostem"), "high_tension_v")]
    voltages += [_number(branch, "EHT") for branch in (*controls, source)]
    aperture = _number(instrument, "convergence_angle") or _number(source, "convergence_angle_rad")
    tilts = [_number(branch, "StageOutA") for branch in controls]
    tilt = next((angle for angle in tilts if angle is not None), None)
    camera = _entry(source, "hardware_source_name") or _entry(source, "hardware_source_id")
    return Metadata(
        energy=next((voltage for voltage in voltages if voltage), None),
        semiangle_cutoff=1e3 * aperture if aperture else None,
        tilt_angle=None if tilt is None else math.degrees(tilt),
        camera=str(camera) if camera else None,
        **calibration,
    )


def _entry(tree: Any, name: str) -> Any:
    """Return what `tree` has under `name`, None if it is no tree or has nothing there."""
    return tree.get(name) if isinstance(tree, Mapping) else None


def _number(tree: Any, name: str) -> float | None:
    value = _entry(tree, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None

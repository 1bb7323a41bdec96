"""Writing HDF5 files so that HDF5 itself notices every wrong bit when they are read, with any program.

HDF5 1.10 and later has checksums of its structures: of the file, of groups, of the places of chunks, and of
attributes up to 64 KiB. It has none of texts of variable length, where a wrong bit can make HDF5 search for ever, nor
of the elements of an array unless the array has the filter `fletcher32`. So texts are written with a fixed length and
arrays with that filter. Arrays that several ranks write at once cannot have it; see `io.checksums`.
"""

import math
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CHUNK_BYTES = 2**20
LARGEST_COMPACT = 60_000
"""[bytes] A dataset below 64 KiB can be stored among the structures of the file, whose checksum then covers it."""
MOST_IN_HEADER = 2**15
"""Attributes of a file that are stored in its header. Elsewhere HDF5 has no checksum of those above 4 KiB."""

LIBRARY_VERSIONS = ("v110", "v110")
"""HDF5 1.8 has no checksum of the places of chunks. HDF5 1.10 can read the files."""


def create_file(path: Path) -> h5py.File:
    """Return a new, empty HDF5 file that HDF5 1.10 and later can read."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_attr_phase_change(MOST_IN_HEADER, 0)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    return h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, creation, access))


def write_format(
    file: h5py.File, file_format: str, version: int, attributes: Mapping[str, str | int | float] | None = None
) -> None:
    """Store format, version and provenance `attributes` in a new file."""
    write_attributes(file.attrs, attributes or {})
    write_attributes(file.attrs, {"format": file_format, "version": version})


def write_attributes(attributes: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    """Store `values` as attributes, texts as UTF-8 of fixed length."""
    for name, value in values.items():
        attributes[name] = _fixed_text(value) if isinstance(value, str) else value


def write_array(group: h5py.Group, name: str, values: Any) -> h5py.Dataset:
    """Store `values` as the dataset `name` with a checksum, and return it; a text or a number is a scalar dataset."""
    array = _fixed_text(values) if isinstance(values, str) else np.asarray(values)
    if array.ndim and array.size:
        return group.create_dataset(name, data=array, chunks=_chunks(array.shape, array.itemsize), fletcher32=True)
    return (
        _write_compact(group, name, array)
        if array.nbytes <= LARGEST_COMPACT
        else group.create_dataset(name, data=array)
    )


def _fixed_text(value: str) -> np.ndarray:
    encoded = value.encode("utf-8")
    return np.array(encoded, h5py.string_dtype("utf-8", max(1, len(encoded))))


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return chunks of whole rows along the first axis, of at most `CHUNK_BYTES` unless a row is larger."""
    row_bytes = math.prod(shape[1:]) * itemsize
    pieces = math.ceil(shape[0] / max(1, CHUNK_BYTES // row_bytes))
    return (math.ceil(shape[0] / pieces), *shape[1:])


def _write_compact(group: h5py.Group, name: str, array: np.ndarray) -> h5py.Dataset:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    parent = group.require_group(name.rpartition("/")[0] or ".")
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    h5py.h5d.create(parent.id, name.rpartition("/")[2].encode(), kind, h5py.h5s.create_simple(array.shape), creation)
    dataset = group[name]
    if array.size:
        dataset[...] = array
    return dataset

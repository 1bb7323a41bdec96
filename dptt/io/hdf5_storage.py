"""What HDF5 needs beside a file to read its arrays: filters that decompress them, files that virtual datasets name.

HDF5 returns zeros where a file is missing, and looks for filters only when numbers are read.
"""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from dptt.io.errors import MOST_NAMED
from dptt.io.hdf5_file import naming

FIRST_PLUGIN, LZF = 256, 32000
"""Numbers of filters: those below are HDF5's own [The HDF Group]; LZF is h5py's own, and checks what it reads."""


def unreadable(dataset: h5py.Dataset) -> str:
    """Return why the numbers of a dataset cannot be read, with the cure; empty if nothing is missing.

    The filters of hdf5plugin are loaded if the dataset needs one.
    """
    with naming(str(dataset.name)):
        return _missing_filter(dataset) or _missing_parts(dataset)


def uses_plugin(dataset: h5py.Dataset) -> bool:
    """Return whether the numbers of a dataset, or of what a virtual one is made of, pass a filter of a plugin.

    Those of HDF5 itself refuse damaged chunks; a plugin may trust them, and crash.
    """
    return _uses_plugin(dataset, set())


def _uses_plugin(dataset: h5py.Dataset, seen: set[tuple[str, str]]) -> bool:
    if any(entry[0] >= FIRST_PLUGIN and entry[0] != LZF for entry in _filters(dataset)):
        return True
    own = Path(dataset.file.filename)
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        path = own if source.file_name == "." else _found(own.parent, source.file_name)
        if path is None or (str(path), source.dset_name) in seen:
            continue
        seen.add((str(path), source.dset_name))
        with h5py.File(path, "r", locking=False) as file:
            part = file.get(source.dset_name)
            if isinstance(part, h5py.Dataset) and _uses_plugin(part, seen):
                return True
    return False


def _filters(dataset: h5py.Dataset) -> list[tuple[int, int, tuple[int, ...], bytes]]:
    """Return (number, flags, parameters, name) of every filter."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(number) for number in range(properties.get_nfilters())]


def _missing_filter(dataset: h5py.Dataset) -> str:
    missing = [entry for entry in _filters(dataset) if not h5py.h5z.filter_avail(entry[0])]
    if not missing:
        return ""
    names = ", ".join(f"{entry[0]} ({entry[3].decode(errors='replace')})" for entry in missing)
    try:
        importlib.import_module("hdf5plugin")
    except ImportError:
        return f"is compressed with filter {names}, which HDF5 has not. Run: pip install 'dptt[formats]'"
    if all(h5py.h5z.filter_avail(entry[0]) for entry in missing):
        return ""
    return f"is compressed with filter {names}, which hdf5plugin does not have either. Save it with gzip."


def _missing_parts(dataset: h5py.Dataset) -> str:
    missing = list(dict.fromkeys(_missing(dataset, set())))
    if not missing:
        return ""
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return (
        f"takes its numbers from {', '.join(missing[:MOST_NAMED])}{more}; expected all of them, because HDF5 puts "
        "zeros in their place. Copy these files to where they were, relative to this one."
    )


def _missing(dataset: h5py.Dataset, seen: set[tuple[str, str]]) -> Iterator[str]:
    if not dataset.is_virtual:
        return
    folder = Path(dataset.file.filename).parent
    for source in dataset.virtual_sources():
        if "%b" in source.file_name + source.dset_name:
            continue  # numbered blocks: the dataset is as long as there are any
        path = Path(dataset.file.filename) if source.file_name == "." else _found(folder, source.file_name)
        if path is None:
            yield f"{source.file_name}, which is missing"
            continue
        if (str(path), source.dset_name) in seen:
            continue
        seen.add((str(path), source.dset_name))
        with h5py.File(path, "r", locking=False) as file:
            part = file.get(source.dset_name)
            if not isinstance(part, h5py.Dataset):
                yield f"{source.dset_name} in {source.file_name}, which is missing"
                continue
            if _is_short(part, source):
                yield f"{source.dset_name} in {source.file_name}, which has the shape {part.shape} only"
            yield from _missing(part, seen)


def _is_short(part: h5py.Dataset, source: Any) -> bool:
    """Return whether a part has less than the virtual dataset takes from it."""
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return bool(part.size < source.vspace.get_select_npoints())
    last = source.src_space.get_select_bounds()[1]
    return len(last) != part.ndim or any(end >= size for end, size in zip(last, part.shape, strict=True))


def _found(folder: Path, name: str) -> Path | None:
    """Return the file that HDF5 opens for `name`; it also looks beside the virtual dataset."""
    prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(folder))
    places = [*([Path(prefix, name)] if prefix else []), folder / name, folder / Path(name).name, Path(name)]
    return next((place for place in places if place.is_file()), None)

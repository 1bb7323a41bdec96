"""Records: intermediate results of a step, read back by dptt alone. Nested names with numbers, texts and arrays.

One record is one HDF5 file. Values come back exactly as they were written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dptt.io.atomic_write import write_beside
from dptt.io.disk_space import create_with_space
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import plain_value, reading, text
from dptt.io.hdf5_writing import write_array, write_attributes

FORMAT = "dptt-record"

Record = Mapping[str, Any]
"""Name -> bool, int, float, str, array, or another record."""


class RecordError(ProblemsError):
    """A record cannot be read."""


def write_record(path: str | Path, record: Record, identity: str) -> None:
    """Write a record, which appears only when it is complete; `identity` identifies all that it depends on."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path, overwrite=True) as partial, create_with_space(partial, _bytes(record)) as file:
        _write(file, record)
        write_attributes(file.attrs, {"format": FORMAT, "identity": identity})


def read_record(path: str | Path, identity: str) -> dict[str, Any] | None:
    """Return the record at `path`, or None if it is missing, damaged, or of another `identity`."""
    if not Path(path).exists():
        return None
    try:
        with reading(path, RecordError) as file:
            if text(file.attrs.get("format", "")) == FORMAT and text(file.attrs.get("identity", "")) == identity:
                return _read(file)
    except RecordError:
        pass
    return None


def _write(group: h5py.Group, record: Record) -> None:
    for name, value in record.items():
        if isinstance(value, Mapping):
            _write(group.create_group(name), value)
        else:
            write_array(group, name, value)


def _bytes(record: Record) -> int:
    return sum(_bytes(v) if isinstance(v, Mapping) else np.asarray(v).nbytes for v in record.values())


def _read(group: h5py.Group) -> dict[str, Any]:
    return {
        name: _read(item) if isinstance(item, h5py.Group) else plain_value(item[()]) for name, item in group.items()
    }

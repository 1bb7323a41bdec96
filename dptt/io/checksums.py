"""SHA-256 of what a checkpoint holds: one over everything that is small, one for each row of what is cut."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.hdf5_file import text

CHECKSUM_BYTES = 32
CutArray = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape (z, y, x) and type of an array that is cut along y."""


def content_checksum(
    arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], cut: Mapping[str, CutArray]
) -> str:
    """Return the SHA-256 over all names, types, shapes, elements and values but the elements of the `cut` arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    for name in sorted(cut):
        shape, dtype = cut[name]
        digest.update(f"{name} {dtype.str} {tuple(shape)} in rows\n".encode())
    for name in sorted(attributes):
        value = plain_value(attributes[name])
        digest.update(f"{name} {type(value).__name__} {value!r}\n".encode())
    return digest.hexdigest()


def content_bytes(
    arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], cut: Mapping[str, CutArray]
) -> int:
    """Return the size of all that, checksums of rows included [bytes]."""
    texts = sum(len(str(value)) for value in attributes.values())
    rows = sum(math.prod(shape) * dtype.itemsize + shape[1] * CHECKSUM_BYTES for shape, dtype in cut.values())
    return texts + rows + sum(array.nbytes for array in arrays.values())


def row_checksums(name: str, rows: NDArray[Any], first: int) -> NDArray[np.uint8]:
    """Return the SHA-256 (1, rows, 32) of every row of `rows` (z, rows, x), which are those from y = `first` on.

    Name and y belong to it, so that rows that changed places are found as well.
    """
    checksums = np.empty((1, rows.shape[1], CHECKSUM_BYTES), np.uint8)
    for index in range(rows.shape[1]):
        row = np.ascontiguousarray(rows[:, index])
        digest = hashlib.sha256(f"{name} {first + index} {row.dtype.str} {row.shape}\n".encode())
        digest.update(row.reshape(-1).view(np.uint8).data)
        checksums[0, index] = np.frombuffer(digest.digest(), np.uint8)
    return checksums


def plain_value(stored: Any) -> str | int | float:
    """Return a scalar as the Python type it was saved from."""
    if isinstance(stored, bytes | str):
        return text(stored)
    return stored.item() if isinstance(stored, np.generic) else stored

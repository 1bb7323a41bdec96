"""SHA-256 of what several ranks write at once: one for each row of the large arrays.

A checkpoint has another one over everything else. HDF5 checks the rest of the other files, see `io.hdf5_writing`.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.hdf5_file import plain_value

CHECKSUM_BYTES = 32
CutArray = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape (z, y, x) and type of an array that is cut along y, over all ranks."""


@dataclass(frozen=True)
class CheckpointContent:
    """Everything in a checkpoint except the elements of the arrays that are cut along y.

    Parameters
    ----------
    arrays
        Name, such as ``"optimiser/momentum"`` -> array of numbers, of any shape.
    attributes
        Name -> single value; integers of at most 64 bits.
    cut
        Name -> shape and type of each array (z, y, x) that is cut along y.
    """

    arrays: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, str | int | float]
    cut: Mapping[str, CutArray] = field(default_factory=dict)


def content_checksum(content: CheckpointContent) -> str:
    """Return the SHA-256 over all names, types, shapes, elements and values, except elements of the cut arrays."""
    digest = hashlib.sha256()
    for name in sorted(content.arrays):
        array = np.ascontiguousarray(content.arrays[name])
        digest.update(f"{name} {array.dtype.str} {np.shape(content.arrays[name])}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    for name in sorted(content.cut):
        shape, dtype = content.cut[name]
        digest.update(f"{name} {dtype.str} {tuple(shape)} in rows\n".encode())
    for name in sorted(content.attributes):
        value = plain_value(content.attributes[name])
        digest.update(f"{name} {type(value).__name__} {value!r}\n".encode())
    return digest.hexdigest()


def content_bytes(content: CheckpointContent) -> int:
    """Return the size of a checkpoint with all rows and their checksums, without HDF5's metadata [bytes]."""
    texts = sum(len(str(value)) for value in content.attributes.values())
    rows = sum(math.prod(shape) * dtype.itemsize + shape[1] * CHECKSUM_BYTES for shape, dtype in content.cut.values())
    return texts + rows + sum(array.nbytes for array in content.arrays.values())


def row_checksums(name: str, rows: NDArray[Any], first: int) -> NDArray[np.uint8]:
    """Return the SHA-256 (1, rows, 32) of every row of `rows` (z, rows, x), the first of which is row y = `first`.

    The name and y enter the checksum, so that rows in the wrong place are detected too.
    """
    checksums = np.empty((1, rows.shape[1], CHECKSUM_BYTES), np.uint8)
    for index in range(rows.shape[1]):
        row = np.ascontiguousarray(rows[:, index])
        digest = hashlib.sha256(f"{name} {first + index} {row.dtype.str} {row.shape}\n".encode())
        digest.update(row.reshape(-1).view(np.uint8).data)
        checksums[0, index] = np.frombuffer(digest.digest(), np.uint8)
    return checksums


def mismatch(name: str, rows: NDArray[Any], first: int, expected: NDArray[np.uint8]) -> str:
    """Return which of the `rows` (z, rows, x) differ from what was written, as text; empty if none do.

    `expected` are the checksums that were stored with them, see `row_checksums`.
    """
    differ = (row_checksums(name, rows, first) != expected).any((0, 2))
    if not differ.any():
        return ""
    return (
        f"{differ.sum()} row(s) of {name}, the first y = {first + int(differ.argmax())}, do not match their SHA-256"
    )

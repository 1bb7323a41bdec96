"""Tensors in what `torch.save` wrote, without running anything that the file names.

Such a file is a zip file of a pickle and of the bytes of every tensor. A pickle may name any function of any module,
which Python would call. Here everything but tensors becomes an empty shell that only holds attributes.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "BoolStorage": np.bool_,
}
"""Storage of torch -> type of its elements."""


class Shell:
    """Stands for an object of any class: what its state holds are attributes."""

    def __new__(cls, *arguments: Any, **named: Any) -> "Shell":
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Keep a dictionary as attributes, and nothing else."""
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})

    def __setitem__(self, name: Any, value: Any) -> None:
        """Ignore the content of a collection."""

    def append(self, value: Any) -> None:
        """Ignore the content of a collection."""

    extend = add = update = append


def load(content: bytes) -> Any:
    """Return what `content` holds: arrays for tensors, shells for objects.

    Raises
    ------
    ValueError
        It is no such file, or holds tensors of a type that is not known.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            root = next(name for name in members.namelist() if name.endswith("data.pkl")).removesuffix("data.pkl")
            if f"{root}byteorder" in members.namelist() and members.read(f"{root}byteorder") != b"little":
                raise ValueError("its numbers are big-endian")
            return _Unpickler(
                io.BytesIO(members.read(f"{root}data.pkl")), lambda key: members.read(root + key)
            ).load()
    except Exception as failure:  # a damaged file makes zipfile and pickle raise whatever their parsers do
        raise ValueError(f"cannot be read as what torch saves ({type(failure).__name__}: {failure})") from failure


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, read: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._read = read

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _tensor
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return _parameter
        if module == "torch" and name.endswith("Storage"):
            return name
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else Shell

    def persistent_load(self, pid: Any) -> Any:
        _, storage, key, *_ = pid
        kind = TYPES.get(str(storage))
        return Shell() if kind is None else np.frombuffer(self._read(f"data/{key}"), kind)


def _tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *others: Any) -> Any:
    """Return a tensor as an array of its own; `others` say nothing of its values but that they are conjugate."""
    if not isinstance(storage, np.ndarray):
        return Shell()
    if len(others) > 2 and others[2]:
        raise ValueError("a tensor is stored as the conjugate of its values")
    size, stride = tuple(size), tuple(stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((*size, *stride, offset), default=0) < 0 or (0 not in size and last >= storage.size):
        raise ValueError("a tensor reaches beyond its bytes")
    strides = [step * storage.itemsize for step in stride]
    array: NDArray[Any] = np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()
    return array


def _parameter(data: Any, *others: Any) -> Any:
    return data

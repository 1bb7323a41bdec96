"""Objects that zarr 2 stored in an array, such as the metadata of a measurement; zarr 3 cannot read them.

Pickled objects are read too, but nothing in them is executed: only numbers, texts, arrays and collections of them are
taken.
"""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.optional import library

HARMLESS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
"""What the pickle of a dictionary of numbers and arrays names; anything else might run a program."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which could run a program")
        return super().find_class(module, name)


def first_item(store: Path, name: str) -> Any:
    """Return the first element of the array of objects `name` in a zarr 2 store, a folder or a zip file.

    Raises
    ------
    ImportDescriptionError
        There is no such array, or it is stored in a way that is not known or not safe.
    """
    codecs = library("numcodecs", store, "zarr")
    try:
        metadata = json.loads(_bytes(store, f"{name}/.zarray"))
        chunk: Any = _bytes(
            store, f"{name}/" + metadata.get("dimension_separator", ".").join("0" for _ in metadata["shape"])
        )
        compressor = [] if metadata["compressor"] is None else [metadata["compressor"]]
        for codec in (*compressor, *reversed(metadata["filters"] or [])):  # either may claim to be a pickle
            if codec["id"] == "pickle":
                chunk = _Unpickler(io.BytesIO(bytes(chunk))).load()
            else:
                chunk = codecs.get_codec(codec).decode(chunk)
        return chunk.ravel()[0]
    except ImportDescriptionError:
        raise
    except Exception as failure:  # a damaged store makes codecs raise whatever their parsers do
        problem = f"{name} cannot be read ({type(failure).__name__}: {failure}). Copy the file again."
        raise ImportDescriptionError(store, [problem]) from failure


def _bytes(store: Path, member: str) -> bytes:
    if store.is_dir():
        return (store / member).read_bytes()
    with zipfile.ZipFile(store) as file:
        return file.read(member)

"""Arrays in files of other programs, as the section `import` names them: by a path alone."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from dptt.config.base import FileName, Number, Pair, Section, Text

_RANGE = re.compile(r"-?\d{0,12}:-?\d{0,12}(:\d{0,12})?", re.ASCII)


def _index_or_range(value: object) -> object:
    """Return a whole number, or the text of a range."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = "".join(value.split()) if isinstance(value, str) else ""
    if _RANGE.fullmatch(text):
        return text
    raise ValueError("expected a whole number, or a range such as `0:13`")


def _as_slice(text: str) -> slice:
    return slice(*(int(part) if part.strip("-") else None for part in text.split(":")))


IndexOrRange = Annotated[int | str, BeforeValidator(_index_or_range, json_schema_input_type=int | str)]


class ArrayConfig(Section):
    """An array in a file of any format in docs/formats.md, or numbers in a text file (.tlt, .txt, .csv, ...); or its
    path alone.
    """

    path: FileName
    """Path of the file; `~` and environment variables are expanded, as in ${DATA}/series.h5. In `data`, stars and
    other wildcards stand for several files, one a tilt, in the order of the numbers in their names, of which stage
    angles have a sign (tilt_-10, tilt_0, tilt_+10), or for folders, one a tilt, whose files have a pattern each, or a
    list of some."""
    dataset: Text | None = None
    """Path inside an HDF5 file or zarr store, or name inside .npz or .mat; the only large array if left out. In
    an HDF5 file, `entry/data/data_*` stands for several arrays that are one, in the order of their numbers."""
    index: list[IndexOrRange] = []
    """Indices into the leading axes, to pick a part of the array, or ranges such as `0:13` of which the end does not
    count: ["0:7", ":", "0:13"] leaves out what is beyond the 13th column of the first seven tilts."""

    @property
    def selection(self) -> tuple[int | slice, ...]:
        """The entries of `index` as Python has them."""
        return tuple(entry if isinstance(entry, int) else _as_slice(entry) for entry in self.index)


def _as_array(value: object) -> object:
    """Return the section for the path of a file."""
    return {"path": value} if isinstance(value, str) else value


def _as_arrays(value: object) -> object:
    """Return the list of sections for one file, or for a list of their paths."""
    values = value if isinstance(value, list) else [value]
    return [_as_array(entry) for entry in values]


ArrayOrPath = Annotated[ArrayConfig, BeforeValidator(_as_array, json_schema_input_type=ArrayConfig | str)]
ArraysOrPaths = Annotated[
    list[ArrayConfig],
    BeforeValidator(_as_arrays, json_schema_input_type=list[ArrayConfig | str] | ArrayConfig | str),
]


class AnglesInNames(Section):
    """Stage angles in the names of the files."""

    file_name: Text
    """Name with {angle} in place of the angle, as in series_{angle}_*.raw; a star stands for anything."""

    @model_validator(mode="after")
    def _angle_once(self) -> "AnglesInNames":
        if self.file_name.count("{angle}") != 1:
            raise ValueError(f"file_name is {self.file_name!r}; expected {{angle}} in it, once")
        return self


def _form(value: object) -> str:
    """Return the form in which a value for every tilt is given; errors are then about this form only."""
    if isinstance(value, AnglesInNames) or (isinstance(value, dict) and "file_name" in value):
        return "dict[names]"
    return "list[values]" if isinstance(value, list | tuple) else "dict[file]"


_File = Annotated[ArrayConfig, Tag("dict[file]")]
NumbersOrFile = Annotated[
    Annotated[list[Number], Tag("list[values]")] | _File,
    Discriminator(_form),
    BeforeValidator(_as_array, json_schema_input_type=list[Number] | ArrayConfig | str),
]
PairsOrFile = Annotated[
    Annotated[list[Pair], Tag("list[values]")] | _File,
    Discriminator(_form),
    BeforeValidator(_as_array, json_schema_input_type=list[Pair] | ArrayConfig | str),
]
TiltAngles = Annotated[
    Annotated[list[Number], Tag("list[values]")] | Annotated[AnglesInNames, Tag("dict[names]")] | _File,
    Discriminator(_form),
    BeforeValidator(_as_array, json_schema_input_type=list[Number] | AnglesInNames | ArrayConfig | str),
]

"""What is in a file or folder of somebody's data, as far as their names and shapes tell: a start for `import`.

Nothing is decided here that a person could not correct: `dptt init` writes it into a configuration, with comments.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dptt.io.dataset_structure import FORMAT
from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import open_for_reading
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.stacks_and_tables import MRC_SUFFIXES, TEXT_SUFFIXES, read_table

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".emd", ".nxs", ".mat")
DATA_SUFFIXES = (*HDF5_SUFFIXES, ".npy", ".npz", *MRC_SUFFIXES)
AXES = {
    3: ("position", "ky", "kx"),
    4: ("scan_y", "scan_x", "ky", "kx"),
    5: ("tilt", "scan_y", "scan_x", "ky", "kx"),
}
"""Number of axes -> their usual meaning."""
_ANGLE = re.compile(r"(?<![A-Za-z0-9.])([mp+-]?)(\d{1,3}(?:\.\d+)?)(?=deg|°|$|[^A-Za-z0-9.])", re.IGNORECASE)
_TITLES = re.compile(r"tilt|angle|theta", re.IGNORECASE)


@dataclass(frozen=True)
class Survey:
    """What was found.

    Parameters
    ----------
    settings
        Full name of a setting, as in `import.tilt_angles` -> its value, as YAML has it.
    origin
        Full name of a setting -> where its value comes from.
    shape
        Of the array of one file.
    is_series
        Whether the file is a tilt series of dptt, which needs no import.
    """

    settings: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    is_series: bool = False

    @property
    def num_tilts(self) -> int | None:
        """Number of tilts; None if it is not known."""
        angles = self.settings.get("import.tilt_angles")
        if isinstance(angles, list):
            return len(angles)
        axes = self.settings.get("import.axes", ())
        return self.shape[axes.index("tilt")] if "tilt" in axes else None


def survey(path: Path) -> Survey:
    """Return what is in the file or folder `path`.

    Raises
    ------
    ImportDescriptionError
        There is no such file or folder, it holds no data that dptt reads, or arrays of different shapes.
    """
    if path.is_dir():
        return _survey_folder(path)
    if not path.is_file():
        raise ImportDescriptionError(path, ["there is no such file or folder. Check the path."])
    if path.suffix.lower() in HDF5_SUFFIXES and _is_series(path):
        return Survey({"series": str(path)}, is_series=True)
    dataset, shape = _inspect(path)
    settings: dict[str, Any] = {"import.data": [_source(path, dataset)], "import.axes": list(_axes(path, shape, 1))}
    found = Survey(settings, {"import.axes": f"the shape {shape}; check their order"}, shape)
    return _with_angles(found, [path], path.parent, dataset)


def _survey_folder(folder: Path) -> Survey:
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in DATA_SUFFIXES), key=_natural)
    if not files:
        present = ", ".join(sorted({file.suffix or file.name for file in folder.iterdir()})[:12]) or "nothing"
        problem = f"has no data that dptt reads (it has: {present}); expected {', '.join(DATA_SUFFIXES)}."
        raise ImportDescriptionError(folder, [f"{problem} Name another folder."])
    if len(files) == 1:
        return survey(files[0])
    arrays = [_inspect(file) for file in files]
    shapes = {shape for _, shape in arrays}
    if len(shapes) > 1:
        other = next(i for i, (_, shape) in enumerate(arrays) if shape != arrays[0][1])
        examples = ", ".join(f"{files[i].name} {arrays[i][1]}" for i in (0, other))
        problem = (
            f"has arrays of {len(shapes)} shapes ({examples}); expected one for each tilt. Name one kind of files."
        )
        raise ImportDescriptionError(folder, [problem])
    (shape,) = shapes
    sources = [_source(file, dataset) for file, (dataset, _) in zip(files, arrays, strict=True)]
    settings: dict[str, Any] = {"import.data": sources, "import.axes": list(_axes(folder, shape, len(files)))}
    found = Survey(settings, {"import.axes": f"the shape {shape} of each file; check their order"}, shape)
    return _with_angles(found, files, folder, None)


def _with_angles(found: Survey, files: Sequence[Path], folder: Path, dataset: str | None) -> Survey:
    """Return the survey with tilt angles: of the file, of a table beside the files, or of their names."""
    number = found.num_tilts if "tilt" in found.settings["import.axes"] else len(files)
    angles: Any = None
    if "tilt" not in found.settings["import.axes"] and len(files) == 1:
        angles, origin = [0.0], "one view"
    elif dataset and (name := _angles_dataset(files[0], number)):
        angles, origin = _source(files[0], name), f"{files[0].name}:{name}"
    elif table := _angles_table(folder, number, files):
        angles, origin = _source(table, None), table.name
    elif (in_names := _angles_of_names(files)) is not None:
        angles, origin = in_names, "the names of the files"
    if angles is None:
        return found
    settings = found.settings | {"import.tilt_angles": angles}
    return Survey(settings, found.origin | {"import.tilt_angles": origin}, found.shape)


def _angles_table(folder: Path, number: int | None, files: Sequence[Path]) -> Path | None:
    """Return the only text file with as many numbers as there are tilts."""
    tables = []
    for candidate in sorted(folder.iterdir()):
        if candidate.suffix.lower() in TEXT_SUFFIXES and candidate not in files:
            try:
                values = read_table(candidate)
            except ImportDescriptionError:
                continue  # some other text
            if values.shape == (number,):
                tables.append(candidate)
    return tables[0] if len(tables) == 1 else None


def _angles_of_names(files: Sequence[Path]) -> list[float] | None:
    """Return the angles in names such as tilt_m30.5.npy: the only number that differs, if it may be an angle."""
    found = [[_signed(*match.groups()) for match in _ANGLE.finditer(file.stem)] for file in files]
    if len({len(numbers) for numbers in found}) != 1 or len(files) < 2:
        return None
    differing = [column for column in zip(*found, strict=True) if len(set(column)) == len(files)]
    signed = [column for column in differing if min(column) < 0 < max(column) and max(map(abs, column)) <= 90]
    return list(signed[0]) if len(signed) == 1 else None


def _signed(sign: str, number: str) -> float:
    return -float(number) if sign.lower() in ("m", "-") else float(number)


def _angles_dataset(path: Path, number: int | None) -> str | None:
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape == (number,) and _TITLES.search(name):
            names.append(name)

    if path.suffix.lower() in HDF5_SUFFIXES:
        with open_for_reading(path, ImportDescriptionError) as file:
            file.visititems(visit)
    return names[0] if len(names) == 1 else None


def _inspect(path: Path) -> tuple[str | None, tuple[int, ...]]:
    """Return the name of the largest array in a file, None for files with one array, and its shape."""
    suffix = path.suffix.lower()
    shapes: dict[str, tuple[int, ...]] = {}
    if suffix in HDF5_SUFFIXES:
        with open_for_reading(path, ImportDescriptionError) as file:
            file.visititems(
                lambda name, item: shapes.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None
            )
    elif suffix == ".npz":
        with np.load(path, allow_pickle=False) as members:
            shapes = {name: members[name].shape for name in members.files}
    else:
        with open_array(ArraySource(str(path))) as array:
            return None, array.shape
    if not shapes:
        raise ImportDescriptionError(path, ["holds no arrays. Name another file."])
    name = max(shapes, key=lambda key: math.prod(shapes[key]))
    return name, shapes[name]


def _axes(path: Path, shape: tuple[int, ...], files: int) -> tuple[str, ...]:
    if len(shape) not in AXES or (files > 1 and len(shape) == 5):
        expected = "3 or 4 axes in each file" if files > 1 else "3 to 5 axes"
        raise ImportDescriptionError(
            path, [f"has an array of shape {shape}; expected {expected}. Name another file."]
        )
    return AXES[len(shape)]


def _is_series(path: Path) -> bool:
    with open_for_reading(path, ImportDescriptionError) as file:
        name = file.attrs.get("format", b"")
        return (name.decode() if isinstance(name, bytes) else str(name)) == FORMAT


def _source(path: Path, dataset: str | None) -> dict[str, str]:
    return {"path": str(path)} | ({"dataset": dataset} if dataset else {})


def _natural(path: Path) -> list[Any]:
    """Return what sorts scan_2 before scan_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

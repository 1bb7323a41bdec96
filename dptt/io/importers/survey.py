"""What is in a file or folder of somebody's data, as far as their names and shapes tell: a start for `import`.

Nothing is decided here that a person could not correct: `dptt init` writes it into a configuration, with comments.
"""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from dptt.io.dataset_structure import FORMAT
from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import reading
from dptt.io.importers.description import ArraySource
from dptt.io.importers.folder_of_files import DETECTOR_SUFFIXES, files_in
from dptt.io.importers.formats.foreign_data import Metadata
from dptt.io.importers.recognition import Recognised, recognise
from dptt.io.importers.stacks_and_tables import MRC_SUFFIXES, TEXT_SUFFIXES
from dptt.io.importers.tilt_tables import angles_in_names, angles_in_table, in_order
from dptt.io.importers.trial import try_reading

STORE_SUFFIXES = (".h5", ".hdf5", ".hdf", ".emd", ".nxs", ".hspy", ".zspy", ".zarr", ".zip", ".mat", ".npy", ".npz")
DATA_SUFFIXES = (*DETECTOR_SUFFIXES, *STORE_SUFFIXES, *MRC_SUFFIXES)
"""Of the files in a folder that are taken for data; a file that is named may have any."""
TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".mdoc")
AXES = {
    3: ("position", "ky", "kx"),
    4: ("scan_y", "scan_x", "ky", "kx"),
    5: ("tilt", "scan_y", "scan_x", "ky", "kx"),
}
"""Number of axes -> their usual meaning."""
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
    if not path.exists():
        raise ImportDescriptionError(path, ["there is no such file or folder. Check the path."])
    if path.is_dir() and path.suffix.lower() not in STORE_SUFFIXES:
        return _survey_files(path, _data_files(path))
    if _is_hdf5(path):
        try_reading(path, lambda: _walk(path), purpose="survey")
        if _is_series(path):
            return Survey({"series": str(path)}, is_series=True)
    return _survey_files(path, [path])


def _data_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.suffix.lower() in DATA_SUFFIXES]
    tilts = files or [entry for entry in folder.iterdir() if entry.is_dir() and files_in(entry)]
    if not tilts:
        present = ", ".join(sorted({file.suffix or file.name for file in folder.iterdir()})[:12]) or "nothing"
        problem = f"has no data that dptt reads (it has: {present}); expected {', '.join(DATA_SUFFIXES)}."
        raise ImportDescriptionError(folder, [f"{problem} Name another folder."])
    return in_order(tilts)


def _survey_files(path: Path, files: Sequence[Path]) -> Survey:
    """Return what is in files of one kind, one a tilt; `path` is what the user named."""
    arrays = [_recognised(file) for file in files]
    first = arrays[0]
    other = next((array for array in arrays if array.shape != first.shape), None)
    if other is not None:
        examples = ", ".join(f"{array.path.name} {array.shape}" for array in (first, other))
        shapes = len({array.shape for array in arrays})
        problem = f"has arrays of {shapes} shapes ({examples}); expected one. Keep files of one kind in it."
        raise ImportDescriptionError(path, [problem])
    origin = {"import.axes": f"{first.kind} of shape {first.shape}" + ("" if first.axes else "; check their order")}
    settings: dict[str, Any] = {
        "import.data": [_source(array.path, array.dataset) for array in arrays],
        "import.axes": list(first.axes or _axes(path, first.shape, len(files))),
    }
    told = _told(first.metadata)
    origin |= dict.fromkeys(told, f"the file ({first.kind})")
    found = Survey(settings | told, origin, first.shape)
    folder = path if path.is_dir() else path.parent
    return _with_angles(found, arrays, folder)


def _recognised(path: Path) -> Recognised:
    """Return what a file is; of several large arrays in an HDF5 file, its largest."""
    if not _is_hdf5(path):
        return recognise(path)
    try_reading(path, lambda: _walk(path), purpose="survey")
    try:
        return recognise(path)
    except ImportDescriptionError:
        sizes = {name: math.prod(shape) for name, shape in _walk(path).items()}
        if not sizes:
            raise
        return recognise(path, max(sizes, key=lambda name: sizes[name]))


def _is_hdf5(path: Path) -> bool:
    return path.is_file() and bool(h5py.is_hdf5(path))


def _walk(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array in an HDF5 file."""
    shapes: dict[str, tuple[int, ...]] = {}
    with reading(path, ImportDescriptionError) as file:
        file.attrs.get("format")
        file.visititems(
            lambda name, item: shapes.update({name: item.shape or ()}) if isinstance(item, h5py.Dataset) else None
        )
    return shapes


def _told(metadata: Metadata) -> dict[str, Any]:
    """Return the settings that the file says."""
    told = {
        "import.energy": metadata.energy,
        "import.semiangle_cutoff": metadata.semiangle_cutoff,
        "import.scan.step": metadata.scan_step,
        "import.detector.angular_sampling": metadata.angular_sampling,
    }
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in told.items() if value is not None
    }


def _with_angles(found: Survey, arrays: Sequence[Recognised], folder: Path) -> Survey:
    """Return the survey with tilt angles: of the files, of a table beside them, or of their names."""
    files = [array.path for array in arrays]
    in_one = "tilt" in found.settings["import.axes"]
    number = found.num_tilts if in_one else len(files)
    told = [array.metadata.tilt_angle for array in arrays]
    angles: Any = None
    if not in_one and len(files) == 1:
        angles, origin = [told[0] or 0.0], "one view"
    elif None not in told:
        angles, origin = told, "the files"
    elif name := _angles_dataset(files[0], number):
        angles, origin = _source(files[0], name), f"{files[0].name}:{name}"
    elif table := _angles_table(folder, number, files):
        angles, origin = _source(table, None), table.name
    elif (in_names := angles_in_names(files)) is not None:
        angles, origin = in_names, "the names of the files"
    if angles is None:
        return found
    settings = found.settings | {"import.tilt_angles": angles}
    return Survey(settings, found.origin | {"import.tilt_angles": origin}, found.shape)


def _angles_table(folder: Path, number: int | None, files: Sequence[Path]) -> Path | None:
    """Return the only table beside the files with an angle for every tilt."""
    tables = []
    for candidate in sorted(folder.iterdir()):
        if candidate.suffix.lower() in TABLE_SUFFIXES and candidate not in files:
            with suppress(ImportDescriptionError):  # some other text
                if len(angles_in_table(ArraySource(str(candidate)), files)) == number:
                    tables.append(candidate)
    return tables[0] if len(tables) == 1 else None


def _angles_dataset(path: Path, number: int | None) -> str | None:
    shapes = _walk(path) if _is_hdf5(path) else {}
    names = [name for name, shape in shapes.items() if shape == (number,) and _TITLES.search(name)]
    return names[0] if len(names) == 1 else None


def _axes(path: Path, shape: tuple[int, ...], files: int) -> tuple[str, ...]:
    if len(shape) not in AXES or (files > 1 and len(shape) == 5):
        expected = "3 or 4 axes in each file" if files > 1 else "3 to 5 axes"
        raise ImportDescriptionError(
            path, [f"has an array of shape {shape}; expected {expected}. Name another file."]
        )
    return AXES[len(shape)]


def _is_series(path: Path) -> bool:
    with reading(path, ImportDescriptionError) as file:
        name = file.attrs.get("format", b"")
        return (name.decode() if isinstance(name, bytes) else str(name)) == FORMAT


def _source(path: Path, dataset: str | None) -> dict[str, str]:
    return {"path": str(path)} | ({"dataset": dataset} if dataset else {})

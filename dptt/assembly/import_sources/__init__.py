"""The files of an import: what they are, what they say, and what the configuration says instead.

The configuration wins. What it leaves out comes from the files; what neither says is asked for, all at once.
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dptt.assembly.import_sources.angles import settle_angles
from dptt.assembly.import_sources.axes import settle_axes
from dptt.assembly.import_sources.calibration import settle_calibration
from dptt.assembly.import_sources.sources import Sources
from dptt.config import expand_path
from dptt.config.foreign_arrays import AnglesInNames, ArrayConfig
from dptt.config.importing import ImportConfig
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers import Recognised, recognise
from dptt.io.importers.description import ArraySource
from dptt.io.importers.tilt_tables import in_order

__all__ = ["Sources", "files_of", "read_sources"]


def read_sources(options: ImportConfig) -> Sources:
    """Return what files and configuration say together.

    Raises
    ------
    ImportDescriptionError
        A file cannot be recognised, files contradict each other, or something is said by neither: all are listed.
    """
    told = options.tilt_angles
    files, problems = files_of(options.data, told.file_name if isinstance(told, AnglesInNames) else None)
    recognised: list[Recognised] = []
    for entry in files:
        try:
            recognised.append(recognise(entry.path, entry.dataset))
        except ImportDescriptionError as failure:
            problems += [f"{failure.subject}: {problem}" for problem in failure.problems]
    if problems:
        raise ImportDescriptionError("import.data", problems)
    arrays = [
        ArraySource(entry.path, entry.dataset or what.dataset, entry.selection)
        for entry, what in zip(files, recognised, strict=True)
    ]
    sources = Sources(arrays, recognised)
    sources.said += _descriptions(recognised)
    problems += settle_axes(options, sources)
    problems += settle_calibration(options, sources)
    problems += settle_angles(options, sources)
    if problems:
        raise ImportDescriptionError("import", problems)
    return sources


def files_of(data: Sequence[ArrayConfig], angles: str | None = None) -> tuple[list[ArrayConfig], list[str]]:
    """Return one entry a file, in the order of the numbers in the names, and the wildcards that match no file.

    `angles` is the pattern of names that have stage angles.
    """
    files, problems = [], []
    for entry in data:
        path = str(expand_path(entry.path))
        if not glob.has_magic(path) or Path(path).exists():
            files.append(entry.model_copy(update={"path": path}))
            continue
        matches = in_order([Path(match) for match in glob.glob(path)], angles)
        files += [entry.model_copy(update={"path": str(match)}) for match in matches]
        if not matches:
            problems.append(f"no file matches {path}. Correct the pattern, or the current folder.")
    return files, problems


def _descriptions(recognised: list[Recognised]) -> Iterator[str]:
    """Yield a line for each kind of files."""
    kinds: dict[tuple[Any, ...], list[Recognised]] = {}
    for entry in recognised:
        kinds.setdefault((entry.kind, entry.shape, str(entry.dtype)), []).append(entry)
    for (kind, shape, dtype), entries in kinds.items():
        name = entries[0].path.name if len(entries) == 1 else f"{len(entries)} files, {entries[0].path.name} ..."
        yield f"{name}: {kind}, {' x '.join(map(str, shape))} {dtype}"

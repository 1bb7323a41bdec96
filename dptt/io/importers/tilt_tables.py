"""Stage angles of a series: in the names of its files, in an .mdoc file of SerialEM, or in a table.

Rows that name their file are matched with the files by name; others are taken in order.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array, refuse_useless
from dptt.io.importers.formats.stacked import by_numbers
from dptt.io.text_file import as_number, read_lines

NUMBER = r"[-+]?\d+(?:\.\d+)?"
LARGEST_ANGLE = 90.0
BEFORE_ANGLES = " _=+-"
"""Between an angle and what is before it in a name."""
MARKED = (
    rf"(?:tilt|angle|alpha|theta)[ _=]?({NUMBER})",
    rf"(?<![\d.])({NUMBER})[ _]?(?:deg|°)",
    r"(?<=[_ ])([-+]\d+(?:\.\d+)?)(?!\d|\.\d)",
)
"""What tells an angle from another number in a name: a word before it, a unit behind it, a sign."""
_WITH_LETTER = re.compile(r"(?<![A-Za-z0-9.])([mp+-]?)(\d{1,3}(?:\.\d+)?)(?=deg|°|$|[^A-Za-z0-9.])", re.IGNORECASE)
"""A number whose sign may be a letter, as in tilt_m30.5."""


def in_order(paths: Sequence[Path], pattern: str | None = None) -> list[Path]:
    """Return files in the order of the numbers in their names; where one is the stage angle, its sign counts.

    What comes before the angle goes first: tilts that are numbered as they were recorded stay in that order.
    """
    if len(paths) < 2:
        return list(paths)
    if len({path.name for path in paths}) == 1:  # a folder a tilt
        return [folder / paths[0].name for folder in in_order([path.parent for path in paths], pattern)]
    try:
        places = _places(paths, pattern)
    except ImportDescriptionError:  # it is reported where the angles are needed
        places = None
    if places is None:
        return sorted(paths, key=lambda path: by_numbers(str(path)))

    def key(entry: tuple[Path, tuple[int, float]]) -> Any:
        path, (start, angle) = entry
        before = path.name[:start].rstrip(BEFORE_ANGLES)
        return by_numbers(str(path.parent)), by_numbers(before), angle, by_numbers(path.name)

    return [path for path, _ in sorted(zip(paths, places, strict=True), key=key)]


def angles_in_names(paths: Sequence[Path], pattern: str | None = None) -> list[float] | None:
    """Return the angle in the name of every file [deg]; None if there is no `pattern` and the names do not tell.

    Parameters
    ----------
    paths
        Files, one a tilt.
    pattern
        Text around the angle, such as ``series_{angle}_*.raw``; a star stands for anything.

    Raises
    ------
    ImportDescriptionError
        A name does not match `pattern`.
    """
    places = _places(paths, pattern)
    return None if places is None else [angle for _, angle in places]


def _places(paths: Sequence[Path], pattern: str | None) -> list[tuple[int, float]] | None:
    """Return where the angle begins in every name, and the angle [deg]; None and errors as `angles_in_names`."""
    names = [path.name for path in paths]
    if pattern is not None:
        expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\{angle\}", f"({NUMBER})")
        found = [re.search(expression, name) for name in names]
        wrong = [name for name, match in zip(names, found, strict=True) if match is None]
        if wrong:
            problem = f"does not match tilt_angles.file_name {pattern!r}, nor do {len(wrong) - 1} others. Correct it."
            raise ImportDescriptionError(wrong[0], [problem])
        return [(match.start(1), float(match[1])) for match in found if match is not None]
    for expression in MARKED:
        found = [re.search(expression, name, re.IGNORECASE) for name in names]
        places = [(match.start(1), float(match[1])) for match in found if match is not None]
        if len(places) == len(names) and _are_angles([angle for _, angle in places]):
            return places
    return _places_with_letters(paths)


def _places_with_letters(paths: Sequence[Path]) -> list[tuple[int, float]] | None:
    """Return the only number that differs from name to name, if it has both signs, as in tilt_m30.5.npy."""
    found = [
        [(match.start(1), _signed(*match.groups())) for match in _WITH_LETTER.finditer(_stem(path))] for path in paths
    ]
    if len({len(numbers) for numbers in found}) != 1 or len(paths) < 2:
        return None
    signed = [column for column in zip(*found, strict=True) if _differ_in_sign([angle for _, angle in column])]
    return list(signed[0]) if len(signed) == 1 else None


def _stem(path: Path) -> str:
    """Return the name without a suffix; what follows the point of a number, as in the folder m30.5, is none."""
    return path.name if path.suffix[1:].isdigit() else path.stem


def _differ_in_sign(angles: list[float]) -> bool:
    return (
        len(set(angles)) == len(angles) and min(angles) < 0 < max(angles) and max(map(abs, angles)) <= LARGEST_ANGLE
    )


def _signed(sign: str, number: str) -> float:
    return -float(number) if sign.lower() in ("m", "-") else float(number)


def _are_angles(angles: list[float]) -> bool:
    """Return whether numbers can be the angles of a series, rather than the numbers of its tilts."""
    counted = len(angles) > 1 and sorted(angles) in (
        [float(number) for number in range(len(angles))],
        [float(number + 1) for number in range(len(angles))],
    )
    return max(map(abs, angles)) <= LARGEST_ANGLE and len(set(angles)) == len(angles) and not counted


def angles_in_table(source: ArraySource, paths: Sequence[Path]) -> list[float]:
    """Return the angle of every file [deg] in a table: .mdoc, .csv with names, or any array or list of numbers.

    Raises
    ------
    ImportDescriptionError
        The table cannot be read, has another number of angles, or does not name a file.
    """
    path = Path(source.path)
    if path.suffix.lower() == ".mdoc":
        refuse_useless(source, "an .mdoc file", "dataset", "index")
        rows = list(_mdoc_rows(path))
    elif path.suffix.lower() in (".csv", ".tsv", ".txt") and _has_words(path):
        refuse_useless(source, "a table of file names and angles", "dataset", "index")
        rows = list(_table_rows(path))
    else:
        with open_array(source) as array:
            return [float(angle) for angle in np.atleast_1d(array.read_all()).astype(np.float64).ravel()]
    return _matched(path, rows, paths)


def _mdoc_rows(path: Path) -> Iterator[tuple[str, float]]:
    """Yield the name of the file, empty if it is not said, and the angle of every section of an .mdoc file."""
    name, angle = "", None
    for line in [*read_lines(path, ImportDescriptionError), "[ZValue = end]"]:
        key, _, value = (part.strip() for part in line.strip("[] \t").partition("="))
        if key in ("ZValue", "FrameSet", "MontSection"):
            if angle is not None:
                yield name, angle
            name, angle = "", None
        elif key == "TiltAngle":
            angle = as_number(value)
        elif key in ("SubFramePath", "ImageFile"):
            name = PureWindowsPath(value).name


def _has_words(path: Path) -> bool:
    lines = [line for line in read_lines(path, ImportDescriptionError) if line.strip() and not line.startswith("#")]
    words = re.split(r"[,;\s]+", lines[0].strip()) if lines else []
    return any(np.isnan(as_number(word)) for word in words)


def _table_rows(path: Path) -> Iterator[tuple[str, float]]:
    """Yield the name, the word that is no number, and the angle in every row; a heading is left out."""
    for number, line in enumerate(read_lines(path, ImportDescriptionError), 1):
        words = [word for word in re.split(r"[,;\s]+", line.strip()) if word]
        numbers = [as_number(word) for word in words if np.isfinite(as_number(word))]
        names = [word for word in words if np.isnan(as_number(word))]
        if not words or line.startswith("#") or (not numbers and number == 1):
            continue
        if len(numbers) != 1 or len(names) > 1:
            problem = f"line {number} is {line[:80]!r}; expected the name of a file and its angle. Correct it."
            raise ImportDescriptionError(path, [problem])
        yield names[0] if names else "", numbers[0]


def _matched(table: Path, rows: list[tuple[str, float]], paths: Sequence[Path]) -> list[float]:
    """Return the angles in the order of the files: by name where all files are named, else in order."""
    by_name = {PureWindowsPath(name).stem: angle for name, angle in rows if name}
    if by_name and any(path.stem in by_name for path in paths):
        missing = [path.name for path in paths if path.stem not in by_name]
        if missing:
            problem = f"does not name {missing[0]}, nor {len(missing) - 1} others; expected a row for each. Add them."
            raise ImportDescriptionError(table, [problem])
        return [by_name[path.stem] for path in paths]
    return [angle for _, angle in rows]

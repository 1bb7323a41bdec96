"""Tilt-series `.star` files of RELION 5: the five columns that hold the pose.

RELION projects a point of the tomogram by S(centre of the image) S(shift) Rz(ZRot) Ry(YTilt) Rx(XTilt), where the
shift is (XShiftAngst, YShiftAngst) [Å]. This is dptt's convention too, and in both the centre is pixel n//2.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dptt.io.atomic_write import write_beside
from dptt.io.imod import AlignmentFileError, PoseTable
from dptt.io.text_file import as_number, read_lines, some_of

COLUMNS = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
LARGEST_VALUE = 1e7
"""[deg, Å] No pose has larger numbers."""
_WORD = re.compile(
    r"""(?:(?<=\s)|^)(?:(?P<comment>\#)|"(?P<double>.*?)"(?=\s|$)|'(?P<single>.*?)'(?=\s|$)|(?P<plain>\S+))"""
)


def write_relion(
    path: str | Path, poses: PoseTable, names: Sequence[str], *, series: str = "series", overwrite: bool = False
) -> Path:
    """Write a tilt-series star file; `names` become rlnMicrographName, `series` the name of the table."""
    header = ["# version 50001", "", f"data_{series}", "", "loop_"]
    header += [f"_{name} #{number + 1}" for number, name in enumerate(("rlnMicrographName", *COLUMNS))]
    values = np.column_stack([poses.euler_angles, poses.translations[:, ::-1]])
    rows = [
        " ".join([_quoted(name), *(f"{value:14.8f}" for value in row)])
        for name, row in zip(names, values, strict=True)
    ]
    with write_beside(path, overwrite) as partial:
        partial.write_text("\n".join([*header, *rows, ""]) + "\n", encoding="utf-8")
    return Path(path)


def _quoted(name: str) -> str:
    """Return a name as one word of a star file."""
    if _words(name) == [name] and not name.lower().startswith(("_", ";", "data_", "loop_")):
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


def read_relion(path: str | Path) -> tuple[PoseTable, list[str]]:
    """Return poses and rlnMicrographName (or the row numbers) of the only table that has all five columns.

    Raises
    ------
    AlignmentFileError
        The file cannot be read, has no such table or several, or a row is not complete; all wrong rows are listed.
    """
    tables = list(_tables(path, read_lines(path, AlignmentFileError)))
    with_poses = [table for table in tables if set(COLUMNS) <= set(table.columns)]
    if len(with_poses) > 1:
        names = ", ".join(table.name for table in with_poses)
        problem = (
            f"has poses in {len(with_poses)} tables ({names}); expected one tilt series. Keep the table of this one."
        )
        raise AlignmentFileError(path, [problem])
    if not with_poses:
        missing = [name for name in COLUMNS if not any(name in table.columns for table in tables)]
        lacking = ", ".join(missing) or "none, but not in one table"
        problem = f"has no table with {', '.join(COLUMNS)} (missing: {lacking}). Name the star file of a tilt series."
        raise AlignmentFileError(path, [problem])
    return _poses(path, with_poses[0])


@dataclass
class _Table:
    """A loop of a star file: the name of its block, its columns, and line numbers with the words of the rows."""

    name: str
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[int, list[str]]] = field(default_factory=list)


def _tables(path: str | Path, lines: list[str]) -> Iterator[_Table]:
    """Yield every loop. Keywords are written in any case; a loop ends at the next keyword, or name after its rows."""
    block, table = "", None
    for number, line in enumerate(lines, 1):
        words = _words(line)
        keyword = words[0].lower() if words and line.split()[0] == words[0] else ""
        if keyword.startswith("data_") or keyword == "loop_" or (keyword.startswith("_") and table and table.rows):
            if table:
                yield table
            block = words[0] if keyword.startswith("data_") else block
            table = _Table(block) if keyword == "loop_" else None
        elif table and keyword.startswith("_"):
            table.columns.append(words[0][1:])
        elif table and words:
            table.rows.append((number, words))
        if line.startswith(";"):
            problem = (
                f"line {number} begins a text block (;), which tables of tilts do not have. Name the right file."
            )
            raise AlignmentFileError(path, [problem])
    if table:
        yield table


def _words(line: str) -> list[str]:
    """Return the words of a line. An apostrophe, a quote, a backslash or a # inside a word is part of it."""
    words = []
    for match in _WORD.finditer(line):
        if match["comment"] is not None:
            break
        words.append(next(text for text in match.group("double", "single", "plain") if text is not None))
    return words


def _poses(path: str | Path, table: _Table) -> tuple[PoseTable, list[str]]:
    twice = sorted({name for name in table.columns if table.columns.count(name) > 1})
    problems = [f"table {table.name} has column {name} twice. Remove one." for name in twice]
    indices = [table.columns.index(name) for name in COLUMNS]
    values = []
    for number, words in table.rows:
        pose = [as_number(words[i]) for i in indices] if len(words) == len(table.columns) else []
        if len(words) != len(table.columns):
            problems.append(f"line {number} has {len(words)} values; expected {len(table.columns)}, one per column.")
        elif not np.isfinite(pose).all() or np.abs(pose).max() > LARGEST_VALUE:
            shown = " ".join(words[i] for i in indices)[:80]
            problems.append(
                f"line {number} has the pose {shown!r}; expected five finite numbers. Align or remove it."
            )
        values.append(pose)
    if not values:
        problems.append(f"table {table.name} has no rows; expected one per tilt.")
    if problems:
        raise AlignmentFileError(path, some_of(problems))
    if "rlnMicrographName" in table.columns:
        names = [words[table.columns.index("rlnMicrographName")] for _, words in table.rows]
    else:
        names = [str(i) for i in range(len(values))]
    array = np.array(values)
    return PoseTable(array[:, :3], array[:, :2:-1].copy()), names

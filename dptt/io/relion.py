"""Tilt-series `.star` files of RELION 5: the five columns that hold the pose.

RELION projects a point of the tomogram by S(centre of the image) S(shift) Rz(ZRot) Ry(YTilt) Rx(XTilt), where the
shift is (XShiftAngst, YShiftAngst) [Å]. This is dptt's convention too, and in both the centre is pixel n//2.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dptt.io.atomic_write import write_beside
from dptt.io.imod import AlignmentFileError, PoseTable

COLUMNS = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")


def write_relion(
    path: str | Path, poses: PoseTable, names: Sequence[str], *, series: str = "series", overwrite: bool = False
) -> Path:
    """Write a tilt-series star file; `names` become rlnMicrographName, `series` the name of the table."""
    header = ["# version 50001", "", f"data_{series}", "", "loop_"]
    header += [f"_{name} #{number + 1}" for number, name in enumerate(("rlnMicrographName", *COLUMNS))]
    values = np.column_stack([poses.euler_angles, poses.translations[:, ::-1]])
    rows = [
        " ".join([f'"{name}"' if " " in name else name, *(f"{value:14.8f}" for value in row)])
        for name, row in zip(names, values, strict=True)
    ]
    with write_beside(path, overwrite) as partial:
        partial.write_text("\n".join([*header, *rows, ""]) + "\n", encoding="utf-8")
    return Path(path)


def read_relion(path: str | Path) -> tuple[PoseTable, list[str]]:
    """Return poses and rlnMicrographName (or the row numbers) of the first table that has all five columns.

    Raises
    ------
    AlignmentFileError
        The file cannot be read or has no such table.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        raise AlignmentFileError(path, [f"cannot be read ({failure}). Check the path."]) from failure
    all_columns: list[str] = []
    for columns, rows in _loops(lines):
        all_columns += columns
        if set(COLUMNS) <= set(columns):
            return _poses(path, columns, rows)
    missing = [name for name in COLUMNS if name not in all_columns]
    problem = (
        f"has no table with {', '.join(COLUMNS)} (missing: {', '.join(missing) or 'none, but not in one table'}). "
        "Name the star file of a tilt series."
    )
    raise AlignmentFileError(path, [problem])


def _loops(lines: list[str]) -> list[tuple[list[str], list[list[str]]]]:
    """Return columns and rows of every loop of a star file."""
    loops: list[tuple[list[str], list[list[str]]]] = []
    in_loop = False
    for line in (line.strip() for line in lines):
        if line.startswith("data_"):
            in_loop = False
        elif line == "loop_":
            in_loop = True
            loops.append(([], []))
        elif in_loop and line.startswith("_") and not loops[-1][1]:
            loops[-1][0].append(line.split()[0][1:])
        elif in_loop and line and not line.startswith("#"):
            loops[-1][1].append(shlex.split(line))
    return loops


def _poses(path: str | Path, columns: list[str], rows: list[list[str]]) -> tuple[PoseTable, list[str]]:
    try:
        values = np.array([[float(row[columns.index(name)]) for name in COLUMNS] for row in rows]).reshape(-1, 5)
    except (ValueError, IndexError) as failure:
        raise AlignmentFileError(path, [f"has a row without a valid pose ({failure}). Write it again."]) from failure
    if not np.isfinite(values).all():
        raise AlignmentFileError(path, ["holds poses that are not finite. Align these tilts or leave them out."])
    names = [row[columns.index("rlnMicrographName")] for row in rows] if "rlnMicrographName" in columns else []
    return PoseTable(values[:, :3], values[:, :2:-1].copy()), names or [str(i) for i in range(len(rows))]

"""Poses of a series in a file of RELION or IMOD, matched with its tilts by name where the file has names.

IMOD's files have no names, and RELION's may have those of images that the series does not know: the rows are then
taken in the order of the tilts. Angles in another order than those of the series show that this is wrong.
"""

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from dptt.io.alignment import AlignmentError, Projections
from dptt.io.imod import PoseTable, read_imod
from dptt.io.relion import read_relion

LARGEST_DIFFERENCE = 5.0
"""[deg] Between an angle in the file and that of the series, apart from an offset common to all tilts. Alignment
moves angles by less; a lamella milled at an angle gives the offset."""
LARGEST_INVERSION = 1.0
"""[deg] By which two tilts may have the opposite order in file and series, as refinement of close angles gives it."""


def poses_in_file(path: Path, projections: Projections) -> PoseTable:
    """Return the pose of every projection.

    Raises
    ------
    AlignmentFileError
        The file cannot be read.
    AlignmentError
        Its tilts are not those of the projections, by name, number or angle.
    """
    if not path.is_file():
        raise AlignmentError(path, ["there is no such file. Check alignment.start."])
    if path.suffix.lower() == ".star":
        poses, names = read_relion(path)
        rows = _rows_by_name(path, names, projections.names)
    else:
        shape = (projections.values.shape[1], projections.values.shape[2])
        transforms = _beside(path, ".xf") if path.suffix.lower() in (".tlt", ".xtilt") else path
        angles, xtilt = _beside(path, ".tlt"), _beside(path, ".xtilt")
        pixel = projections.pixel_size[1]
        poses = read_imod(angles, transforms, pixel, shape, xtilt if xtilt.exists() else None)
        rows = None
    if rows is not None:
        poses = PoseTable(poses.euler_angles[rows], poses.translations[rows])
    elif len(poses.translations) != len(projections.names):
        problem = f"has {len(poses.translations)} poses; expected {len(projections.names)}, one per projection."
        raise AlignmentError(path, [f"{problem} Use the file of this series."])
    problems = _angle_problems(poses.euler_angles[:, 1], projections)
    if problems:
        raise AlignmentError(path, problems)
    return poses


def _beside(path: Path, suffix: str) -> Path:
    """Return the file of the same name with `suffix`, in capitals if that of `path` is."""
    return path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)


def _rows_by_name(path: Path, names: Sequence[str], tilts: Sequence[str]) -> list[int] | None:
    """Return the row of every tilt, or None if no row has the name of a tilt or of a file named after one."""
    for row_names in (list(names), [PureWindowsPath(name).stem for name in names]):
        rows = {name: row for row, name in enumerate(row_names)}
        missing = [name for name in tilts if name not in rows]
        if len(missing) == len(tilts):
            continue
        twice = [name for name in tilts if row_names.count(name) > 1]
        if not missing and not twice:
            return [rows[name] for name in tilts]
        listed = [
            f"{what} {', '.join(some[:6])}" for what, some in (("none for", missing), ("two for", twice)) if some
        ]
        problem = f"has {len(names)} poses; expected {len(tilts)}, one per projection ({'; '.join(listed)})."
        raise AlignmentError(path, [f"{problem} Use the file of this series."])
    return None


def _angle_problems(theta: NDArray[np.float64], projections: Projections) -> list[str]:
    """Return why these angles are not those of the projections."""
    expected, names = projections.euler_angles[:, 1], projections.names
    change = theta - expected
    change = change - np.median(change)
    gaps = np.minimum(np.abs(np.subtract.outer(theta, theta)), np.abs(np.subtract.outer(expected, expected)))
    inverted = np.subtract.outer(theta, theta) * np.subtract.outer(expected, expected) < 0
    wrong = (np.abs(change) > LARGEST_DIFFERENCE) | (inverted & (gaps > LARGEST_INVERSION)).any(1)
    if not wrong.any():
        return []
    listed = [f"{names[i]} has {theta[i]:.2f}° (series: {expected[i]:.2f}°)" for i in np.flatnonzero(wrong)[:6]]
    return [
        f"has angles that contradict the series for {wrong.sum()} of {len(names)} tilts: {', '.join(listed)}. "
        f"Expected the order of the series, and differences of at most {LARGEST_DIFFERENCE:g}° apart from a common "
        f"offset. Put the rows into the order of the tilts, name them {names[0]} to {names[-1]} (rlnMicrographName), "
        "or correct the angles of the series."
    ]

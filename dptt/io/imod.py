"""IMOD alignment files: `.tlt` (tilt angles), `.xf` (image transforms) and `.xtilt` (X-axis tilts).

A line of an `.xf` file is ``A11 A12 A21 A22 DX DY``. It maps a point of the recorded image to the aligned image, both
relative to the middle of the image in pixels: X' = A11 X + A12 Y + DX. In even images, IMOD's middle lies between the
pixels n/2 - 1 and n/2, half a pixel before dptt's rotation centre n//2; in odd images they are the same pixel.

IMOD's `tilt` rotates the specimen by Ry(tilt) Rx(xtilt) about the axis through the middle of the aligned image. The
pose r' = Rz(psi) Ry(theta) Rx(phi) r + tau therefore has A = Rz(-psi) and
D = -Rz(-psi) (tau / pixel size + n//2 - (n-1)/2).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.errors import ProblemsError
from dptt.io.text_file import as_number, read_lines, some_of

LARGEST_SHIFT = 1e6
"""[pixels] No detector is larger."""


class AlignmentFileError(ProblemsError):
    """An IMOD or RELION file cannot be read or does not fit the series."""


@dataclass(frozen=True)
class PoseTable:
    """Poses of a series, in the order of the tilts.

    Parameters
    ----------
    euler_angles
        (tilts, 3): phi, theta, psi [deg].
    translations
        (tilts, 2): tau (y, x) [Å].
    """

    euler_angles: NDArray[np.float64]
    translations: NDArray[np.float64]


def write_imod(
    stem: str | Path, poses: PoseTable, pixel_size: float, image_shape: tuple[int, int], *, overwrite: bool = False
) -> list[Path]:
    """Write `stem`.tlt, .xf and .xtilt and return their paths.

    Parameters
    ----------
    stem
        Path without the suffix.
    pixel_size
        Pixel size of the recorded images [Å].
    image_shape
        Pixels (y, x) of the recorded images; the middle depends on it.
    overwrite
        Whether existing files may be replaced.
    """
    matrices = _rotations(-poses.euler_angles[:, 2])
    centre = poses.translations[:, ::-1] / pixel_size + middle_offset(image_shape)
    shifts = -np.einsum("nij,nj->ni", matrices, centre)
    lines = np.column_stack([matrices.reshape(-1, 4), shifts])
    texts = {
        ".tlt": [f"{theta:12.7f}" for theta in poses.euler_angles[:, 1]],
        ".xf": [" ".join(f"{value:14.9f}" for value in line) for line in lines],
        ".xtilt": [f"{phi:12.7f}" for phi in poses.euler_angles[:, 0]],
    }
    return [_write(Path(f"{stem}{suffix}"), text, overwrite) for suffix, text in texts.items()]


def read_imod(
    tlt: str | Path, xf: str | Path, pixel_size: float, image_shape: tuple[int, int], xtilt: str | Path | None = None
) -> PoseTable:
    """Return the poses in IMOD's files; phi is zero without `xtilt`. The images are described as in `write_imod`.

    Raises
    ------
    AlignmentFileError
        A file is missing or holds no numbers, or the files do not fit each other; or a transform magnifies or shears
        by more than 1 %, which no pose can express.
    """
    theta, lines = _read(tlt, 1)[:, 0], _read(xf, 6)
    phi = np.zeros_like(theta) if xtilt is None else _read(xtilt, 1)[:, 0]
    problems = [
        f"has {len(rows)} lines; expected {len(theta)}, one for each angle in {tlt}. Name files of one series."
        for rows in (lines, phi)
        if len(rows) != len(theta)
    ]
    matrices = lines[:, :4].reshape(-1, 2, 2)
    psi = -np.rad2deg(np.arctan2(matrices[:, 1, 0] - matrices[:, 0, 1], matrices[:, 0, 0] + matrices[:, 1, 1]))
    worst = np.abs(matrices - _rotations(-psi)).max(initial=0)
    if not worst <= 0.01:
        problems.append(
            f"has a transform that differs from a rotation by {worst:.3f}; expected at most 0.01. "
            "Align again without magnification and shear."
        )
    if max(np.abs(theta).max(), np.abs(phi).max()) > 360 or np.abs(lines[:, 4:]).max() > LARGEST_SHIFT:
        problems.append(f"has angles above 360° or shifts above {LARGEST_SHIFT:.0e} pixels. Name the right files.")
    if problems:
        raise AlignmentFileError(xf, problems)
    centre = -np.linalg.solve(matrices, lines[:, 4:, None])[..., 0]
    translations = (centre - middle_offset(image_shape)) * pixel_size
    return PoseTable(np.column_stack([phi, theta, psi]), translations[:, ::-1].copy())


def middle_offset(image_shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return dptt's centre n//2 minus IMOD's (n-1)/2, as (x, y) [pixels]."""
    return np.array([n // 2 - (n - 1) / 2 for n in image_shape[::-1]])


def _rotations(degrees: NDArray[np.floating]) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.stack([c, -s, s, c], axis=1).reshape(-1, 2, 2)


def _write(path: Path, lines: list[str], overwrite: bool) -> Path:
    with write_beside(path, overwrite) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _read(path: str | Path, columns: int) -> NDArray[np.float64]:
    rows = [(number, line.split()) for number, line in enumerate(read_lines(path, AlignmentFileError), 1)]
    rows = [(number, words) for number, words in rows if words]
    values, problems = [], []
    for number, words in rows:
        row = [as_number(word) for word in words]
        if len(row) == columns and np.isfinite(row).all():
            values.append(row)
        else:
            problems.append(f"line {number} is {' '.join(words)[:80]!r}; expected {columns} finite numbers.")
    if not rows:
        problems.append(f"is empty; expected {columns} numbers per line. Write it again.")
    if problems:
        raise AlignmentFileError(path, some_of(problems))
    return np.array(values)

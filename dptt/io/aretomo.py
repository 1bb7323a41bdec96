"""AreTomo alignment files, `.aln`: rotation and shift of every tilt image.

AreTomo's ROT is the direction of the tilt axis from y, and (TX, TY) the shift of the image [pixels]: it maps a point
of the image to Rz(-ROT) (point - T), about IMOD's middle of the image. So ROT = psi, and T = tau / pixel size + n//2
- (n-1)/2, see `io.imod`. It has no tilt about x: phi is lost.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dptt.io.atomic_write import write_beside
from dptt.io.imod import PoseTable, middle_offset

COLUMNS = "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT"

CONSTANTS = "   1.00     1.00     1.00     0.00"
"""SMEAN, SFIT, SCALE, BASE: grey values, which dptt leaves as they are."""


def write_aretomo(
    path: Path,
    poses: PoseTable,
    pixel_size: float,
    image_shape: tuple[int, int],
    *,
    sections: Sequence[int] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an `.aln` file of tilts without local alignment; parameters as in `io.imod.write_imod`.

    Parameters
    ----------
    sections
        Number of the image of every tilt in the recorded series, from 1; 1, 2, ... if None.
    """
    y, x = image_shape
    number = len(poses.translations)
    shifts = poses.translations[:, ::-1] / pixel_size + middle_offset(image_shape)
    rows = [
        f"{section:5d}  {psi:9.4f}  {1:9.5f}  {shift[0]:9.3f}  {shift[1]:9.3f}  {CONSTANTS}  {theta:8.2f}"
        for section, (_, theta, psi), shift in zip(
            sections or range(1, number + 1), poses.euler_angles, shifts, strict=True
        )
    ]
    head = ["# AreTomo Alignment / Priims bprmMn", f"# RawSize = {x} {y} {number}", "# NumPatches = 0"]
    lines = [*head, f"# AlphaOffset = {0:8.2f}", f"# BetaOffset = {0:8.2f}", COLUMNS, *rows]
    with write_beside(path, overwrite) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def largest_phi(poses: PoseTable) -> float:
    """Return the largest tilt about x [deg], which the file does not hold."""
    return float(np.abs(poses.euler_angles[:, 0]).max(initial=0.0))

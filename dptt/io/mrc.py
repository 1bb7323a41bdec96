"""Volumes as MRC2014 files, which viewers of other programs read."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.errors import VolumeError


def write_mrc(
    path: str | Path,
    volume: NDArray[Any],
    voxel_size: tuple[float, float, float],
    *,
    origin: tuple[float, float, float] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a real volume (z, y, x) as an MRC2014 file, for Chimera, IMOD and other viewers.

    Parameters
    ----------
    path
        File to write.
    volume
        (z, y, x), float32; of a complex potential, its real part.
    voxel_size
        Along (z, y, x) [Å]; the header stores it as (x, y, z).
    origin
        Coordinate (z, y, x) [Å] of the first voxel, so that viewers show atoms where they are; 0 if None.
    overwrite
        Whether `path` may be replaced.

    Raises
    ------
    VolumeError
        The volume is not (z, y, x) of float32.
    FileExistsError
        `path` exists and `overwrite` is false.
    """
    if volume.ndim != 3 or volume.dtype != np.float32:
        problem = f"volume has shape {volume.shape}, type {volume.dtype}; expected (z, y, x) of float32. Convert it."
        raise VolumeError(path, [problem])
    z, y, x = voxel_size
    with write_beside(path, overwrite) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mrcfile warns of NaN; the viewer shows it anyway
        mrc = mrcfile.new(partial)
        try:
            mrc.set_data(np.ascontiguousarray(volume))
            mrc.set_volume()
            mrc.voxel_size = (x, y, z)
            if origin is not None:
                mrc.header.origin.z, mrc.header.origin.y, mrc.header.origin.x = origin
            mrc.close()
        finally:  # mrcfile leaves the stream open on a full disk; Python would print a traceback when it is collected
            with suppress(OSError):
                mrc._close_file()

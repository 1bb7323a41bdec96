"""Volumes for Fiji and napari: OME-TIFF and OME-Zarr 0.5, with lengths in ångström and channels in volts.

A complex potential has two channels, its real and its imaginary part; a real one has one.
"""

import importlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import refuse_existing, write_beside
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedVolume
from dptt.io.write_failures import write_failures_reported

CHANNELS = ("potential, real part [V]", "potential, imaginary part [V]")
CHUNK = 128
"""Voxels a side of a chunk: 8 MiB of float32, which viewers read at once."""


def channels(volume: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Return the parts of a volume (z, y, x) [V] by their name; without an imaginary part that is zero everywhere."""
    parts = [volume.real, volume.imag] if np.iscomplexobj(volume) and volume.imag.any() else [volume.real]
    return {name: np.ascontiguousarray(part, dtype=np.float32) for name, part in zip(CHANNELS, parts, strict=False)}


def write_tiff(path: Path, result: ReconstructedVolume, *, overwrite: bool = False) -> None:
    """Write an OME-TIFF (channel, z, y, x), float32.

    Raises
    ------
    ProblemsError
        tifffile is not installed.
    FileExistsError
        `path` exists and `overwrite` is false.
    """
    tifffile = _library("tifffile", path)
    parts = channels(result.volume)
    z, y, x = result.voxel_size
    metadata = {
        "axes": "CZYX",
        "Channel": {"Name": list(parts)},
        **{f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)},
        **{f"PhysicalSize{axis}Unit": "Å" for axis in "ZYX"},
    }
    with write_beside(path, overwrite) as partial:
        tifffile.imwrite(partial, np.stack(list(parts.values())), ome=True, metadata=metadata)


def write_ome_zarr(path: Path, result: ReconstructedVolume, *, overwrite: bool = False) -> None:
    """Write a folder `path` with an OME-Zarr image (c, z, y, x), float32, at one resolution.

    Raises
    ------
    ProblemsError
        zarr is not installed.
    FileExistsError
        `path` exists and `overwrite` is false.
    """
    zarr = _library("zarr", path)
    parts = channels(result.volume)
    data = np.stack(list(parts.values()))
    centre = [size * -(n // 2) for n, size in zip(result.volume.shape, result.voxel_size, strict=True)]
    corner = [middle + shift for middle, shift in zip(centre, result.origin, strict=True)]
    with _folder_beside(path, overwrite) as partial:
        group = zarr.open_group(partial, mode="w", zarr_format=3)
        chunks = (1, *(min(CHUNK, n) for n in data.shape[1:]))
        array = group.create_array(
            "0", shape=data.shape, chunks=chunks, dtype=data.dtype, dimension_names=list("czyx")
        )
        array[...] = data
        group.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [
                {
                    "name": path.name.partition(".")[0],
                    "axes": [
                        {"name": "c", "type": "channel"},
                        *({"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"),
                    ],
                    "datasets": [
                        {
                            "path": "0",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [1.0, *map(float, result.voxel_size)]},
                                {"type": "translation", "translation": [0.0, *map(float, corner)]},
                            ],
                        }
                    ],
                }
            ],
            "omero": {"channels": [_channel(name, part) for name, part in parts.items()]},
        }


def _channel(name: str, part: NDArray[np.float32]) -> dict[str, Any]:
    low, high = float(part.min()), float(part.max())
    window = {"min": low, "max": high, "start": low, "end": high}
    return {"label": name, "color": "FFFFFF", "active": True, "window": window}


def _library(name: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        problem = f"needs {name}, which cannot be imported ({error}). pip install 'dptt[formats]'."
        raise ProblemsError(path, [problem]) from None


@contextmanager
def _folder_beside(path: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, renamed to it when the block succeeds; an old one is removed then."""
    refuse_existing(path, overwrite)
    name = f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}"
    partial, old = path.with_name(f".{name}.partial"), path.with_name(f".{name}.old")
    with write_failures_reported(path):
        try:
            yield partial
            refuse_existing(path, overwrite)
            if path.exists():
                path.rename(old)
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        with suppress(OSError):
            old.unlink() if old.is_file() else shutil.rmtree(old, ignore_errors=True)

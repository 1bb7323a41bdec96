"""Volume files: `volume.h5`, the result with everything needed to repeat it.

The volume is an electrostatic potential (z, y, x) [V]; a positive imaginary part is absorption.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import (
    POSE_ATTRIBUTES,
    number_problems,
    pose_problems,
    read_numbers,
    read_pose,
    result_problems,
    write_pose,
)
from dptt.io.checksums import CHECKSUM_BYTES, CutArray, mismatch, row_checksums
from dptt.io.disk_space import create_with_space
from dptt.io.errors import VolumeError
from dptt.io.hdf5_file import member, naming, plain_values, read_array, read_optional, reading_format
from dptt.io.hdf5_writing import write_array, write_attributes, write_format
from dptt.io.slab_files import allocate_rows, pieces, write_rows

FORMAT = "dptt-volume"
VERSION = 1
RESERVED = ("format", "version")
MEASURES = (
    *("figure_of_fit", "figure_uncertainty", "unexplained", "fitted_noise"),
    *("total_potential_V_A3", "total_potential_error"),
)
"""Attributes that say how well the model explains the patterns, and the potential that the vacuum around the
specimen told; NaN where that cannot be told."""
NUMBERS = ("epochs", "fit_of_held_out", *MEASURES)


@dataclass(frozen=True)
class ReconstructedTilt:
    """Results for one tilt, beside the volume.

    Parameters
    ----------
    euler_angles
        Refined (phi, theta, psi) [deg].
    translation
        Refined (y, x) [Å].
    scan_positions
        Refined positions (positions, 2) as (y, x) [Å].
    probe
        (mode, y, x) in real space, centred at n//2.
    attributes
        Other values, such as the tilt's loss or fitted aberrations.
    """

    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    scan_positions: NDArray[np.float64] | None = None
    probe: NDArray[np.complex64] | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReconstructedVolume:
    """Contents of a volume file.

    Parameters
    ----------
    volume
        (z, y, x) [V], complex64 or float32.
    voxel_size
        Along (z, y, x) [Å].
    origin
        Coordinate (z, y, x) [Å] of voxel index n//2 relative to the rotation centre.
    attributes
        Provenance: configuration, versions, checksum of the input.
    tilts
        Name of the tilt -> its results.
    """

    volume: NDArray[Any]
    voxel_size: tuple[float, float, float]
    origin: tuple[float, float, float]
    attributes: dict[str, str | int | float]
    tilts: dict[str, ReconstructedTilt]


def write_volume(
    path: str | Path,
    volume: NDArray[Any],
    voxel_size: tuple[float, float, float],
    *,
    attributes: Mapping[str, str | int | float] | None = None,
    tilts: Mapping[str, ReconstructedTilt] | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    overwrite: bool = False,
) -> None:
    """Write a volume file, which appears only when it is complete. The parameters are those of `ReconstructedVolume`.

    Raises
    ------
    VolumeError
        The volume is not (z, y, x) of complex64 or float32, or an attribute's name is taken by the format.
    FileExistsError
        `path` exists and `overwrite` is false.
    """
    with write_beside(path, overwrite) as partial:
        create_volume(
            partial,
            (volume.shape, volume.dtype),
            voxel_size,
            target=path,
            attributes=attributes,
            tilts=tilts,
            origin=origin,
        )
        for name, values in volume_rows(volume, 0).items():
            write_rows(partial, name, values, 0)


def volume_rows(rows: NDArray[Any], first: int) -> dict[str, NDArray[Any]]:
    """Return the datasets to write for rows (z, rows, x) of a volume from `first` on: they and their checksums."""
    return {"volume": rows, "row_sha256/volume": row_checksums("volume", rows, first)}


def create_volume(
    path: Path,
    volume: CutArray,
    voxel_size: tuple[float, float, float],
    *,
    target: str | Path,
    attributes: Mapping[str, str | int | float] | None = None,
    tilts: Mapping[str, ReconstructedTilt] | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Create a volume file at `path`, complete but for the rows of the volume; it will be renamed to `target`.

    The rows are written by the ranks that own them, see `io.slab_files`. `volume` is the shape and type; the other
    parameters are those of `ReconstructedVolume`.

    Raises
    ------
    VolumeError
        The volume is not (z, y, x) of complex64 or float32, or an attribute's name is taken by the format.
    """
    attributes, tilts = attributes or {}, tilts or {}
    shape, dtype = volume
    problems = [f"attribute {name!r} is part of the format. Rename it." for name in RESERVED if name in attributes]
    if len(shape) != 3 or dtype not in (np.dtype(np.complex64), np.dtype(np.float32)):
        problems.append(f"volume has shape {shape}, type {dtype}; expected (z, y, x) of complex64 or float32 [V].")
    if problems:
        raise VolumeError(target, problems)
    arrays = [a for tilt in tilts.values() for a in (tilt.scan_positions, tilt.probe) if a is not None]
    size = math.prod(shape) * dtype.itemsize + shape[1] * CHECKSUM_BYTES + sum(array.nbytes for array in arrays)
    with create_with_space(path, size) as file:
        write_format(file, FORMAT, VERSION, attributes)
        dataset = allocate_rows(file, "volume", shape, dtype)
        allocate_rows(file, "row_sha256/volume", (1, shape[1], CHECKSUM_BYTES), np.dtype(np.uint8))
        write_attributes(dataset.attrs, {"units": "V"})
        dataset.attrs["voxel_size_A"] = np.asarray(voxel_size, dtype=np.float64)
        dataset.attrs["origin_A"] = np.asarray(origin, dtype=np.float64)
        for name, tilt in tilts.items():
            _write_tilt(file.create_group(f"tilts/{name}"), tilt)


def _write_tilt(group: h5py.Group, tilt: ReconstructedTilt) -> None:
    write_pose(group.attrs, tilt.euler_angles, tilt.translation)
    write_attributes(group.attrs, tilt.attributes)
    if tilt.scan_positions is not None:
        write_array(group, "scan_positions", np.asarray(tilt.scan_positions, dtype=np.float64))
    if tilt.probe is not None:
        write_array(group, "probe", np.asarray(tilt.probe, dtype=np.complex64))


def read_volume(path: str | Path, *, real_part: bool = False) -> ReconstructedVolume:
    """Return the contents of a volume file, all in memory; of the volume only the real part if that is enough.

    Raises
    ------
    VolumeError
        The file is missing, truncated, of another format, or incomplete.
    """
    with reading_format(path, VolumeError, file_format=FORMAT, version=VERSION, command="reconstruct") as file:
        problems = _file_problems(file)
        if problems:
            raise VolumeError(path, problems)
        dataset = file["volume"]
        tilts = member(file, "tilts") or {}
        return ReconstructedVolume(
            volume=_checked_volume(file, path, real_part),
            voxel_size=_three(dataset.attrs, "voxel_size_A"),
            origin=_three(dataset.attrs, "origin_A"),
            attributes=plain_values(file.attrs, without=RESERVED),
            tilts={name: _read_tilt(tilts[name]) for name in tilts},
        )


def _checked_volume(file: h5py.File, path: str | Path, real_part: bool) -> NDArray[Any]:
    """Return the volume if its rows match their checksums, which older files do not have."""
    dataset, checksums = file["volume"], member(file, "row_sha256")
    expected = None if checksums is None else read_array(checksums, "volume")
    depth, height, width = dataset.shape
    element = np.empty(0, dataset.dtype)
    volume: NDArray[Any] = np.empty(dataset.shape, element.real.dtype if real_part else dataset.dtype)
    for rows in pieces(range(height), depth * width * dataset.dtype.itemsize):
        with naming("volume"):
            values = dataset[:, rows.start : rows.stop]
        if expected is not None and (damaged := mismatch("volume", values, rows.start, expected[:, rows])):
            raise VolumeError(path, [f"{damaged}. Copy it again, or run `dptt reconstruct` again."])
        volume[:, rows.start : rows.stop] = values.real if real_part else values
    return volume


def volume_attributes(path: str | Path) -> dict[str, str | int | float]:
    """Return the attributes of a volume file, without the volume.

    Raises
    ------
    VolumeError
        The file is missing, truncated or of another format, or an attribute is of the wrong kind.
    """
    with reading_format(path, VolumeError, file_format=FORMAT, version=VERSION, command="reconstruct") as file:
        problems = list(result_problems(file.attrs, "the file", numbers=NUMBERS))
        if problems:
            raise VolumeError(path, problems)
        return plain_values(file.attrs, without=RESERVED)


def _file_problems(file: h5py.File) -> list[str]:
    volume = member(file, "volume")
    if not isinstance(volume, h5py.Dataset) or volume.ndim != 3:
        return [f"volume is {volume!r}; expected a dataset (z, y, x). Write the file again."]
    problems = list(result_problems(file.attrs, "the file", numbers=NUMBERS))
    for name, positive in (("voxel_size_A", True), ("origin_A", False)):
        problems += number_problems(volume.attrs, name, size=3, unit="Å (z, y, x)", where="volume", positive=positive)
    for name, tilt in (member(file, "tilts") or {}).items():
        where = f"tilts/{name}"
        problems += pose_problems(tilt.attrs, where)
        problems += result_problems(tilt.attrs, where, numbers=tuple(tilt.attrs), checked=POSE_ATTRIBUTES)
    return problems


def _read_tilt(group: h5py.Group) -> ReconstructedTilt:
    return ReconstructedTilt(
        *read_pose(group.attrs),
        scan_positions=read_optional(group, "scan_positions"),
        probe=read_optional(group, "probe"),
        attributes=plain_values(group.attrs, without=POSE_ATTRIBUTES),
    )


def _three(attributes: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    z, y, x = read_numbers(attributes, name)
    return z, y, x

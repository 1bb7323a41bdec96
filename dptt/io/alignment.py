"""Alignment files: `ptychography.h5`, whose projections `dptt align` reads, and `alignment.h5`, which it writes.

``ptychography.h5`` holds ``tilts/NAME`` with ``projection`` (y, x) [V Å], ``illumination`` (y, x) relative to the
maximum, and the pose as attributes. ``alignment.h5`` holds ``volume`` (z, y, x) [V] and ``tilts/NAME`` with the
aligned pose.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import number_problems, pose_problems, read_numbers, read_pose, result_problems, write_pose
from dptt.io.disk_space import create_with_space
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import member, plain_values, read_array, reading, reading_format
from dptt.io.hdf5_writing import write_array, write_attributes, write_format

FORMAT = "dptt-alignment"
VERSION = 1
ERRORS = {"angle_errors_deg": (3, "deg"), "translation_errors_A": (2, "Å")}
"""Attribute of an aligned tilt -> how many standard deviations it holds, and their unit."""
Share = Callable[[int], range]
"""Of a number of tilts, which ones a rank reads; `range` for all."""


class AlignmentError(ProblemsError):
    """A file of projections or an alignment file cannot be read."""


@dataclass(frozen=True)
class Projections:
    """Projections of all tilts on one grid, the rotation centre at pixel n//2, tilts sorted by name.

    Parameters
    ----------
    values
        (tilt, y, x) [V Å], of the `tilts` that were read.
    weights
        (tilt, y, x), from 0 where nothing was measured to 1.
    pixel_size
        (y, x) [Å].
    euler_angles
        (tilt, 3): nominal phi, theta, psi [deg].
    translations
        (tilt, 2): nominal tau (y, x) [Å].
    tilts
        Numbers of the tilts that were read; names and poses are those of all.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    weights: NDArray[np.float32]
    pixel_size: tuple[float, float]
    euler_angles: NDArray[np.float64]
    translations: NDArray[np.float64]
    tilts: range


@dataclass(frozen=True)
class AlignedTilt:
    """Result for one tilt: pose [deg, Å (y, x)], misfit |model - image| / |image|, and weight."""

    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    misfit: float
    weight: float
    errors: tuple[float, ...] = ()
    """Standard deviations of phi, theta, psi [deg] and of tau along and across the tilt axis [Å]; zero if fixed."""


@dataclass(frozen=True)
class Alignment:
    """Contents of an alignment file.

    Parameters
    ----------
    volume
        (z, y, x) [V].
    voxel_size
        (z, y, x) [Å].
    tilts
        Name of the tilt -> its result.
    attributes
        Provenance, identity, tilt axis and offset.
    """

    volume: NDArray[np.float32]
    voxel_size: tuple[float, float, float]
    tilts: Mapping[str, AlignedTilt]
    attributes: Mapping[str, str | int | float]


def read_projections(path: str | Path, share: Share = range) -> Projections:
    """Return the projections in a file written by `dptt ptycho`, of the `share` of their number.

    Raises
    ------
    AlignmentError
        The file cannot be read, or datasets and attributes are missing or do not fit; all problems are listed.
    """
    with reading(path, AlignmentError) as file:
        tilts = member(file, "tilts") or {}
        problems = _projection_problems(file, tilts)
        if problems:
            raise AlignmentError(path, problems)
        names = tuple(sorted(tilts))
        angles, translations = zip(*(read_pose(tilts[name].attrs) for name in names), strict=True)
        y, x = read_numbers(file.attrs, "pixel_size_A")
        read, image_shape = share(len(names)), tilts[names[0]]["projection"].shape
        values, weights = (
            _stack([tilts[names[tilt]] for tilt in read], name, image_shape)
            for name in ("projection", "illumination")
        )
        np.clip(weights, 0, 1, out=weights)
    problems = [
        f"tilts/{names[tilt]}/projection holds values that are not finite. Leave the tilt out."
        for tilt, image in zip(read, values, strict=True)
        if not np.isfinite(image).all()
    ]
    if problems:
        raise AlignmentError(path, problems)
    return Projections(
        names=names,
        values=values,
        weights=weights,
        pixel_size=(y, x),
        euler_angles=np.array(angles, dtype=np.float64),
        translations=np.array(translations, dtype=np.float64),
        tilts=read,
    )


def _stack(tilts: list[h5py.Group], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the images `name` of some tilts (tilt, y, x), read one by one."""
    stack = np.empty((len(tilts), *shape), np.float32)
    for tilt, out in zip(tilts, stack, strict=True):
        out[:] = read_array(tilt, name)
    return stack


def _projection_problems(file: h5py.File, tilts: Mapping[str, h5py.Group]) -> list[str]:
    problems = list(
        number_problems(file.attrs, "pixel_size_A", size=2, unit="Å (y, x)", where="the file", positive=True)
    )
    if not len(tilts):
        problems.append("has no tilts. Run `dptt ptycho` first, or describe `alignment.projections`.")
    shapes = {}
    for name, tilt in tilts.items():
        problems += pose_problems(tilt.attrs, f"tilts/{name}")
        for dataset in ("projection", "illumination"):
            if not isinstance(member(tilt, dataset), h5py.Dataset):
                problems.append(f"tilts/{name} has no dataset {dataset} (y, x). Run `dptt ptycho` again.")
            else:
                shapes[f"tilts/{name}/{dataset}"] = tilt[dataset].shape
    return [*problems, *_shape_problems(shapes)]


def _shape_problems(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield which datasets are not (y, x) or differ from the most common shape."""
    all_shapes = list(shapes.values())
    usual = max(set(all_shapes), key=all_shapes.count, default=())
    for name, shape in shapes.items():
        if shape != usual or len(shape) != 2:
            yield f"{name} has shape {shape}; expected (y, x) like the others, {usual}. Put all tilts on one grid."


def write_alignment(path: str | Path, alignment: Alignment, *, overwrite: bool = False) -> None:
    """Write an alignment file; an existing one is replaced only when the new one is complete."""
    with write_beside(path, overwrite) as partial, create_with_space(partial, alignment.volume.nbytes) as file:
        write_format(file, FORMAT, VERSION, alignment.attributes)
        dataset = write_array(file, "volume", np.asarray(alignment.volume, dtype=np.float32))
        write_attributes(dataset.attrs, {"units": "V"})
        dataset.attrs["voxel_size_A"] = np.asarray(alignment.voxel_size, dtype=np.float64)
        dataset.attrs["origin_A"] = np.zeros(3)
        for name, tilt in alignment.tilts.items():
            group = file.create_group(f"tilts/{name}")
            write_pose(group.attrs, tilt.euler_angles, tilt.translation)
            group.attrs["misfit"], group.attrs["weight"] = tilt.misfit, tilt.weight
            if tilt.errors:
                for errors, values in zip(ERRORS, (tilt.errors[:3], tilt.errors[3:]), strict=True):
                    group.attrs[errors] = values


def read_alignment(path: str | Path) -> Alignment:
    """Return the contents of an alignment file.

    Raises
    ------
    AlignmentError
        The file is missing, of another format, or incomplete.
    """
    with reading_format(path, AlignmentError, file_format=FORMAT, version=VERSION, command="align") as file:
        problems = list(_alignment_problems(file))
        if problems:
            raise AlignmentError(path, problems)
        tilts = {
            name: AlignedTilt(
                *read_pose(tilt.attrs),
                misfit=read_numbers(tilt.attrs, "misfit")[0],
                weight=read_numbers(tilt.attrs, "weight")[0],
                errors=_errors(tilt.attrs),
            )
            for name, tilt in (member(file, "tilts") or {}).items()
        }
        z, y, x = read_numbers(file["volume"].attrs, "voxel_size_A")
        return Alignment(
            read_array(file, "volume"), (z, y, x), tilts, plain_values(file.attrs, without=("format", "version"))
        )


def _errors(attributes: h5py.AttributeManager) -> tuple[float, ...]:
    """Return the standard deviations of a tilt; none from a file of an earlier version of dptt."""
    return tuple(error for name in ERRORS if name in attributes for error in read_numbers(attributes, name))


def _alignment_problems(file: h5py.File) -> Iterator[str]:
    yield from result_problems(file.attrs, "the file")
    volume = member(file, "volume")
    if not isinstance(volume, h5py.Dataset) or volume.ndim != 3:
        yield f"volume is {volume!r}; expected a dataset (z, y, x). Run `dptt align` again."
    else:
        yield from number_problems(
            volume.attrs, "voxel_size_A", size=3, unit="Å (z, y, x)", where="volume", positive=True
        )
    for name, tilt in (member(file, "tilts") or {}).items():
        yield from pose_problems(tilt.attrs, f"tilts/{name}")
        for number in ("misfit", "weight"):
            yield from number_problems(tilt.attrs, number, unit="relative", where=f"tilts/{name}")
        for errors, (size, unit) in ERRORS.items():
            if errors in tilt.attrs:
                yield from number_problems(
                    tilt.attrs, errors, size=size, unit=unit, where=f"tilts/{name}", finite=False
                )

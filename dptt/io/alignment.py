"""The projections that are aligned, and the result of aligning them, as HDF5 files.

``ptychography.h5`` holds ``tilts/NAME`` with ``projection`` (y, x) [V Å], ``illumination`` (y, x) relative, and the
pose as attributes; ``alignment.h5`` holds ``volume`` (z, y, x) [V] and ``tilts/NAME`` with the aligned pose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import number_problems, pose_problems, read_numbers, read_pose, write_pose
from dptt.io.dataset_structure import format_problems
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import create_file, open_for_reading

FORMAT = "dptt-alignment"
VERSION = 1


class AlignmentError(ProblemsError):
    """Projections or an alignment cannot be read or written as asked."""


@dataclass(frozen=True)
class Projections:
    """Projections of all tilts on one grid, the rotation centre at pixel n//2, tilts sorted by name.

    Parameters
    ----------
    values
        (tilt, y, x) [V Å].
    weights
        (tilt, y, x), 0 where nothing was measured, 1 at most.
    pixel_size
        (y, x) [Å].
    euler_angles
        (tilt, 3): nominal phi, theta, psi [deg].
    translations
        (tilt, 2): nominal tau (y, x) [Å].
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    weights: NDArray[np.float32]
    pixel_size: tuple[float, float]
    euler_angles: NDArray[np.float64]
    translations: NDArray[np.float64]


@dataclass(frozen=True)
class AlignedTilt:
    """What was found for one tilt: pose [deg, Å (y, x)], misfit |model - image| / |image|, and weight."""

    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    misfit: float
    weight: float


def read_projections(path: str | Path) -> Projections:
    """Return the projections in a file of `dptt ptycho`.

    Raises
    ------
    AlignmentError
        With everything that is missing or does not fit.
    """
    with open_for_reading(path, AlignmentError) as file:
        tilts = file.get("tilts", {})
        problems = list(number_problems(file.attrs, "pixel_size_A", 2, "Å (y, x)", "the file", positive=True))
        if not len(tilts):
            problems.append("has no tilts. Run `dptt ptycho` first, or describe `alignment.projections`.")
        shapes = {}
        for name, tilt in tilts.items():
            problems += pose_problems(tilt.attrs, f"tilts/{name}")
            for part in ("projection", "illumination"):
                if not isinstance(tilt.get(part), h5py.Dataset):
                    problems.append(f"tilts/{name} has no dataset {part} (y, x). Run `dptt ptycho` again.")
                else:
                    shapes[f"tilts/{name}/{part}"] = tilt[part].shape
        problems += _shape_problems(shapes)
        if problems:
            raise AlignmentError(path, problems)
        names = tuple(sorted(tilts))
        poses = [read_pose(tilts[name].attrs) for name in names]
        y, x = read_numbers(file.attrs, "pixel_size_A")
        values, weights = (_stack([tilts[name][part] for name in names]) for part in ("projection", "illumination"))
        np.clip(weights, 0, 1, out=weights)
    problems = [
        f"tilts/{name}/projection holds values that are not finite. Leave the tilt out."
        for name, image in zip(names, values, strict=True)
        if not np.isfinite(image).all()
    ]
    if problems:
        raise AlignmentError(path, problems)
    angles, translations = (np.array(part, dtype=np.float64) for part in zip(*poses, strict=True))
    return Projections(names, values, weights, (y, x), angles, translations)


def _stack(images: list[h5py.Dataset]) -> NDArray[np.float32]:
    """Return images (tilt, y, x), read one by one."""
    stack = np.empty((len(images), *images[0].shape), np.float32)
    for image, out in zip(images, stack, strict=True):
        image.read_direct(out)
    return stack


def _shape_problems(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Say which datasets are not (y, x) of the size that most have."""
    if not shapes:
        return []
    sizes = list(shapes.values())
    usual = max(set(sizes), key=sizes.count)
    return [
        f"{name} has shape {shape}; expected (y, x) as the others, {usual}. Put all tilts on one grid."
        for name, shape in shapes.items()
        if shape != usual or len(shape) != 2
    ]


def write_alignment(
    path: str | Path,
    volume: NDArray[np.float32],
    voxel_size: float,
    tilts: Mapping[str, AlignedTilt],
    attributes: Mapping[str, str | int | float],
    overwrite: bool = False,
) -> None:
    """Write an alignment file; `attributes` hold provenance, identity, tilt axis and offset."""
    with write_beside(path, overwrite) as partial, create_file(partial) as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs.update(attributes)
        dataset = file.create_dataset("volume", data=np.asarray(volume, dtype=np.float32))
        dataset.attrs["units"] = "V"
        dataset.attrs["voxel_size_A"] = np.full(3, voxel_size)
        dataset.attrs["origin_A"] = np.zeros(3)
        for name, tilt in tilts.items():
            group = file.create_group(f"tilts/{name}")
            write_pose(group.attrs, tilt.euler_angles, tilt.translation)
            group.attrs["misfit"], group.attrs["weight"] = tilt.misfit, tilt.weight


@dataclass(frozen=True)
class Alignment:
    """Contents of an alignment file; `volume` (z, y, x) [V], `voxel_size` (z, y, x) [Å]."""

    volume: NDArray[np.float32]
    voxel_size: tuple[float, float, float]
    tilts: dict[str, AlignedTilt]
    attributes: dict[str, str | int | float]


def read_alignment(path: str | Path) -> Alignment:
    """Return the contents of an alignment file.

    Raises
    ------
    AlignmentError
        The file is missing, of another format, or lacks a part.
    """
    with open_for_reading(path, AlignmentError) as file:
        problems = list(format_problems(file, FORMAT, VERSION, "Name a file written by `dptt align`."))
        if not problems:
            problems += [] if isinstance(file.get("volume"), h5py.Dataset) else ["has no volume. Run `dptt align`."]
            for name, tilt in file.get("tilts", {}).items():
                problems += pose_problems(tilt.attrs, f"tilts/{name}")
                for number in ("misfit", "weight"):
                    problems += number_problems(tilt.attrs, number, 1, "relative", f"tilts/{name}")
        if problems:
            raise AlignmentError(path, problems)
        tilts = {
            name: AlignedTilt(*read_pose(t.attrs), float(t.attrs["misfit"]), float(t.attrs["weight"]))
            for name, t in file.get("tilts", {}).items()
        }
        attributes = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in file.attrs.items()
            if name not in ("format", "version")
        }
        z, y, x = read_numbers(file["volume"].attrs, "voxel_size_A")
        return Alignment(file["volume"][()], (z, y, x), tilts, attributes)

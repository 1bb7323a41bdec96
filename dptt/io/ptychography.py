"""`ptychography.h5`, the result of `dptt ptycho`: one file per tilt, and one file that links them.

``ptychography/NAME.h5`` holds the group ``tilt``; ``ptychography.h5`` beside the folder links it as ``tilts/NAME``.
With one file per tilt, ranks write without waiting for each other. Potentials are projected over a slice [V Å];
positions and pixels are in Å.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
from dptt.io.disk_space import create_with_space
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import member, plain_values, read_array, reading, reading_format, text
from dptt.io.hdf5_writing import write_array, write_attributes, write_format

FORMAT = "dptt-ptychography"
VERSION = 1
OWN_ATTRIBUTES = (*POSE_ATTRIBUTES, "pixel_size_A", "slice_thickness_A")
ARRAYS = ("projection", "illumination", "slices", "probe", "scan_positions")


class PtychographyError(ProblemsError):
    """A ptychography file cannot be read."""


@dataclass(frozen=True)
class TiltImage:
    """Result of the ptychography of one tilt.

    Parameters
    ----------
    slices
        Projected potential of every slice (slice, y, x) [V Å], complex.
    illumination
        Electrons per pixel (y, x) at the entrance plane, relative to the maximum.
    probe
        (mode, y, x) in the plane of the rotation axis, centred at n//2.
    scan_positions
        Of all patterns of the tilt, (positions, 2) as (y, x) [Å].
    euler_angles, translation
        The initial pose; ptychography does not change it.
    pixel_size, slice_thickness
        (y, x) and along the beam [Å].
    attributes
        Other values, such as losses and electrons.
    """

    slices: NDArray[np.complex64]
    illumination: NDArray[np.float32]
    probe: NDArray[np.complex64]
    scan_positions: NDArray[np.float64]
    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    pixel_size: tuple[float, float]
    slice_thickness: float
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def projection(self) -> NDArray[np.float32]:
        """V_tot = sum_n Re V_n (y, x) [V Å] ([P], joint rigid alignment)."""
        return self.slices.real.sum(0, dtype=np.float64).astype(np.float32)


def tilt_path(path: str | Path, name: str) -> Path:
    """Return the path of the file of tilt `name`; `path` is the file that links all tilts."""
    return Path(path).with_suffix("") / f"{name}.h5"


def write_tilt_image(
    path: str | Path, name: str, image: TiltImage, attributes: Mapping[str, str | int | float]
) -> None:
    """Write the file of one tilt with its provenance `attributes`; it appears only when it is complete."""
    target = tilt_path(path, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(image, name) for name in ARRAYS}
    size = sum(values.nbytes for values in arrays.values())
    with write_beside(target, overwrite=True) as partial, create_with_space(partial, size) as file:
        write_format(file, FORMAT, VERSION, attributes)
        group = file.create_group("tilt")
        write_pose(group.attrs, image.euler_angles, image.translation)
        group.attrs["pixel_size_A"] = np.asarray(image.pixel_size, dtype=np.float64)
        group.attrs["slice_thickness_A"] = image.slice_thickness
        write_attributes(group.attrs, image.attributes)
        for array, values in arrays.items():
            write_array(group, array, values)


def link_tilt_images(
    path: str | Path,
    names: Sequence[str],
    pixel_size: tuple[float, float],
    attributes: Mapping[str, str | int | float],
) -> None:
    """Write the file that links the files of the tilts `names`."""
    path = Path(path)
    with write_beside(path, overwrite=True) as partial, create_with_space(partial, 0) as file:
        write_format(file, FORMAT, VERSION, attributes)
        file.attrs["pixel_size_A"] = np.asarray(pixel_size, dtype=np.float64)
        tilts = file.create_group("tilts")
        for name in names:
            tilts[name] = h5py.ExternalLink(str(tilt_path(path, name).relative_to(path.parent)), "/tilt")


def tilt_is_done(path: str | Path, name: str, identity: str) -> bool:
    """Return whether the file of tilt `name` exists, can be read, and was written by the step `identity`."""
    target = tilt_path(path, name)
    if not target.exists():
        return False
    try:
        with reading(target, PtychographyError) as file:
            return text(file.attrs.get("identity", "")) == identity and "tilt" in file
    except PtychographyError:
        return False


def linked_tilts(path: str | Path) -> list[str]:
    """Return the names of the tilts that the file `path` links.

    Raises
    ------
    PtychographyError
        The file is missing, damaged, or of another format.
    """
    with reading_format(path, PtychographyError, file_format=FORMAT, version=VERSION, command="ptycho") as file:
        if not isinstance(member(file, "tilts"), h5py.Group):
            raise PtychographyError(path, ["has no group tilts. Run `dptt ptycho` again."])
        return list(file["tilts"])


def read_tilt_image(path: str | Path, name: str) -> TiltImage:
    """Return the result of the tilt `name`.

    Raises
    ------
    PtychographyError
        The file is missing, damaged, of another format, or incomplete.
    """
    target = tilt_path(path, name)
    with reading_format(target, PtychographyError, file_format=FORMAT, version=VERSION, command="ptycho") as file:
        problems = _tilt_problems(file)
        if problems:
            raise PtychographyError(target, problems)
        group = file["tilt"]
        y, x = read_numbers(group.attrs, "pixel_size_A")
        euler_angles, translation = read_pose(group.attrs)
        return TiltImage(
            slices=read_array(group, "slices"),
            illumination=read_array(group, "illumination"),
            probe=read_array(group, "probe"),
            scan_positions=read_array(group, "scan_positions"),
            euler_angles=euler_angles,
            translation=translation,
            pixel_size=(y, x),
            slice_thickness=read_numbers(group.attrs, "slice_thickness_A")[0],
            attributes=plain_values(group.attrs, without=OWN_ATTRIBUTES),
        )


def _tilt_problems(file: h5py.File) -> list[str]:
    group = member(file, "tilt")
    if not isinstance(group, h5py.Group):
        return ["has no group tilt. Run `dptt ptycho` again."]
    problems = [f"tilt has no {name}. Run `dptt ptycho` again." for name in ARRAYS if member(group, name) is None]
    problems += pose_problems(group.attrs, "tilt")
    problems += number_problems(group.attrs, "pixel_size_A", size=2, unit="Å (y, x)", where="tilt", positive=True)
    problems += number_problems(group.attrs, "slice_thickness_A", unit="Å", where="tilt", positive=True)
    problems += result_problems(group.attrs, "tilt", numbers=tuple(group.attrs), checked=OWN_ATTRIBUTES)
    return problems

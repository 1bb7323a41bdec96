"""Results of the ptychography of every tilt: one file a tilt, so that ranks write alone, and one that links them.

``ptychography/NAME.h5`` holds the group ``tilt``; ``ptychography.h5`` beside the folder links it as ``tilts/NAME``.
Potentials are in volts times ångström, projected over a slice; positions and pixels in Å.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import number_problems, pose_problems, read_numbers, read_pose, write_pose
from dptt.io.dataset_structure import format_problems
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import create_file, open_for_reading, text

FORMAT = "dptt-ptychography"
VERSION = 1
ARRAYS = ("projection", "illumination", "slices", "probe", "scan_positions")


class PtychographyError(ProblemsError):
    """A file of ptychography results cannot be read as asked."""


@dataclass(frozen=True)
class TiltImage:
    """What the ptychography of one tilt found.

    Parameters
    ----------
    slices
        Projected potential of every slice (slice, y, x) [V Å], complex.
    illumination
        Electrons that fell on each pixel (y, x), relative to the largest.
    probe
        (mode, y, x) in the plane of the rotation axis, centred at n//2.
    scan_positions
        Of all patterns of the tilt, (positions, 2) as (y, x) [Å].
    euler_angles, translation
        The pose the tilt began with; ptychography leaves it as it is.
    pixel_size, slice_thickness
        (y, x) and along the beam [Å].
    attributes
        Anything else: losses, electrons.
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
    """Return the file of the tilt `name` that belongs to the linking file `path`."""
    return Path(path).with_suffix("") / f"{name}.h5"


def write_tilt_image(
    path: str | Path, name: str, image: TiltImage, attributes: Mapping[str, str | int | float]
) -> None:
    """Write the file of one tilt, whole or not at all; `attributes` are its provenance."""
    target = tilt_path(path, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(target, overwrite=True) as partial, create_file(partial) as file:
        _write_head(file, attributes)
        group = file.create_group("tilt")
        write_pose(group.attrs, image.euler_angles, image.translation)
        group.attrs["pixel_size_A"] = np.asarray(image.pixel_size, dtype=np.float64)
        group.attrs["slice_thickness_A"] = image.slice_thickness
        group.attrs.update(image.attributes)
        for array in ARRAYS:
            group[array] = getattr(image, array)


def link_tilt_images(
    path: str | Path,
    names: Sequence[str],
    pixel_size: tuple[float, float],
    attributes: Mapping[str, str | int | float],
) -> None:
    """Write the file that links those of the tilts `names`."""
    path = Path(path)
    with write_beside(path, overwrite=True) as partial, create_file(partial) as file:
        _write_head(file, attributes)
        file.attrs["pixel_size_A"] = np.asarray(pixel_size, dtype=np.float64)
        tilts = file.create_group("tilts")
        for name in names:
            tilts[name] = h5py.ExternalLink(str(tilt_path(path, name).relative_to(path.parent)), "/tilt")


def tilt_is_done(path: str | Path, name: str, identity: str) -> bool:
    """Return whether the file of the tilt `name` is there, whole, and was made by the step `identity`."""
    target = tilt_path(path, name)
    if not target.exists():
        return False
    try:
        with open_for_reading(target, PtychographyError) as file:
            return text(file.attrs.get("identity", "")) == identity and "tilt" in file
    except PtychographyError:
        return False


def read_tilt_image(path: str | Path, name: str) -> TiltImage:
    """Return what was found for the tilt `name`.

    Raises
    ------
    PtychographyError
        The file is missing, damaged, of another format, or lacks a part.
    """
    target = tilt_path(path, name)
    with open_for_reading(target, PtychographyError) as file:
        problems = list(format_problems(file, FORMAT, VERSION, "Name a file written by `dptt ptycho`."))
        problems = problems or list(_tilt_problems(file))
        if problems:
            raise PtychographyError(target, problems)
        group = file["tilt"]
        known = {"phi_deg", "theta_deg", "psi_deg", "translation_A", "pixel_size_A", "slice_thickness_A"}
        y, x = read_numbers(group.attrs, "pixel_size_A")
        euler_angles, translation = read_pose(group.attrs)
        return TiltImage(
            slices=group["slices"][()],
            illumination=group["illumination"][()],
            probe=group["probe"][()],
            scan_positions=group["scan_positions"][()],
            euler_angles=euler_angles,
            translation=translation,
            pixel_size=(y, x),
            slice_thickness=read_numbers(group.attrs, "slice_thickness_A")[0],
            attributes={
                key: value.item() if isinstance(value, np.generic) else value
                for key, value in group.attrs.items()
                if key not in known
            },
        )


def _write_head(file: h5py.File, attributes: Mapping[str, str | int | float]) -> None:
    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    file.attrs.update(attributes)


def _tilt_problems(file: h5py.File) -> list[str]:
    group = file.get("tilt")
    if not isinstance(group, h5py.Group):
        return ["has no group tilt. Run `dptt ptycho` again."]
    problems = [f"tilt has no {name}. Run `dptt ptycho` again." for name in ARRAYS if name not in group]
    problems += pose_problems(group.attrs, "tilt")
    problems += number_problems(group.attrs, "pixel_size_A", 2, "Å (y, x)", "tilt", positive=True)
    problems += number_problems(group.attrs, "slice_thickness_A", 1, "Å", "tilt", positive=True)
    return problems

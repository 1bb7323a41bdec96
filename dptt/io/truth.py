"""Ground truth of a simulated tilt series: the group ``/truth`` of its file. Every dataset in it is optional."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.attributes import (
    aberration_problems,
    number_problems,
    pose_problems,
    read_aberrations,
    read_numbers,
    read_pose,
    write_aberrations,
    write_pose,
)
from dptt.io.hdf5_file import member, read_array, read_optional
from dptt.io.hdf5_writing import write_array, write_attributes


@dataclass(frozen=True)
class TrueTilt:
    """True pose, scan positions and aberrations of one tilt.

    Parameters
    ----------
    name
        Name of the tilt's group, such as ``"0000"``.
    euler_angles
        True (phi, theta, psi) [deg].
    translation
        True (y, x) [Å].
    scan_positions
        True positions (positions, 2) as (y, x) [Å], or None if those in the series are true.
    aberrations
        True aberrations by name [Å, degrees]; empty if those in the series are true.
    errors
        Errors of the experiment by name, see `simulation.experiment.TiltErrors`; empty if there are none.
    """

    name: str
    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    scan_positions: NDArray[np.float64] | None = None
    aberrations: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """Ground truth: what a reconstruction should reproduce.

    Parameters
    ----------
    volume
        Electrostatic potential (z, y, x) [V], float32.
    voxel_size
        Voxel size of `volume` along (z, y, x) [Å].
    origin
        Coordinate (z, y, x) [Å] of voxel index n//2 relative to the rotation centre.
    atom_positions
        (atoms, 3) as (z, y, x) [Å] relative to the rotation centre.
    atomic_numbers
        (atoms,).
    tilts
        True poses and positions.
    bad_pixels
        Dead and hot pixels of the detector (pixels, 2) as (ky, kx).
    """

    volume: NDArray[np.float32] | None = None
    voxel_size: tuple[float, float, float] | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    atom_positions: NDArray[np.float64] | None = None
    atomic_numbers: NDArray[np.integer] | None = None
    tilts: tuple[TrueTilt, ...] = ()
    bad_pixels: NDArray[np.integer] | None = None


def read_truth(group: h5py.Group) -> Truth:
    """Return the contents of a ``/truth`` group, all in memory."""
    fields: dict[str, Any] = {}
    volume = member(group, "volume")
    if volume is not None:
        attributes = volume.attrs
        fields = {
            "volume": read_array(group, "volume").astype(np.float32, copy=False),
            "voxel_size": read_numbers(attributes, "voxel_size_A"),
            "origin": read_numbers(attributes, "origin_A") if "origin_A" in attributes else (0.0, 0.0, 0.0),
        }
    positions = read_optional(group, "atom_positions")
    if positions is not None:
        fields["atom_positions"] = positions.astype(np.float64, copy=False)
    fields["atomic_numbers"] = read_optional(group, "atomic_numbers")
    fields["bad_pixels"] = read_optional(group, "bad_pixels")
    tilts = member(group, "tilts") or {}
    return Truth(**fields, tilts=tuple(_read_true_tilt(name, tilts[name]) for name in sorted(tilts)))


def _read_true_tilt(name: str, group: h5py.Group) -> TrueTilt:
    positions = read_optional(group, "scan_positions")
    if positions is not None:
        positions = positions.astype(np.float64)
    errors = member(group, "errors")
    values = {} if errors is None else {key: read_numbers(errors.attrs, key)[0] for key in errors.attrs}
    return TrueTilt(name, *read_pose(group.attrs), positions, read_aberrations(group.attrs), values)


def write_truth(group: h5py.Group, truth: Truth) -> None:
    """Store `truth` in an empty ``/truth`` group."""
    if truth.volume is not None:
        if truth.voxel_size is None:
            raise ValueError("the true volume has no voxel_size; expected (z, y, x) [Å]. Set it.")
        volume = write_array(group, "volume", truth.volume.astype(np.float32, copy=False))
        write_attributes(volume.attrs, {"units": "V"})
        volume.attrs["voxel_size_A"] = np.asarray(truth.voxel_size, dtype=np.float64)
        volume.attrs["origin_A"] = np.asarray(truth.origin, dtype=np.float64)
    if truth.atom_positions is not None:
        write_array(group, "atom_positions", np.asarray(truth.atom_positions, dtype=np.float64))
    if truth.atomic_numbers is not None:
        write_array(group, "atomic_numbers", truth.atomic_numbers)
    if truth.bad_pixels is not None and len(truth.bad_pixels):
        write_array(group, "bad_pixels", truth.bad_pixels)
    for tilt in truth.tilts:
        tilt_group = group.create_group(f"tilts/{tilt.name}")
        write_pose(tilt_group.attrs, tilt.euler_angles, tilt.translation)
        write_aberrations(tilt_group.attrs, tilt.aberrations)
        if tilt.errors:
            write_attributes(tilt_group.create_group("errors").attrs, tilt.errors)
        if tilt.scan_positions is not None:
            write_array(tilt_group, "scan_positions", np.asarray(tilt.scan_positions, dtype=np.float64))


def truth_problems(group: h5py.Group, num_positions: dict[str, int | None]) -> Iterator[str]:
    """Yield what is wrong with a ``/truth`` group.

    `num_positions` holds the number of positions of each tilt of the series, None if it cannot be read.
    """
    volume = member(group, "volume")
    if volume is not None:
        if not isinstance(volume, h5py.Dataset) or volume.ndim != 3 or volume.dtype.kind != "f":
            yield f"truth/volume is {volume!r}; expected a dataset of real numbers (z, y, x) [V]. Rewrite it."
        yield from number_problems(
            volume.attrs, "voxel_size_A", size=3, unit="Å (z, y, x)", where="truth/volume", positive=True
        )
        if "origin_A" in volume.attrs:
            yield from number_problems(volume.attrs, "origin_A", size=3, unit="Å (z, y, x)", where="truth/volume")
    positions, numbers = member(group, "atom_positions"), member(group, "atomic_numbers")
    if positions is not None and (positions.ndim != 2 or positions.shape[1] != 3):
        yield f"truth/atom_positions has shape {positions.shape}; expected (atoms, 3) as (z, y, x) [Å]. Rewrite it."
    elif positions is not None and numbers is not None and numbers.shape != positions.shape[:1]:
        yield f"truth/atomic_numbers has shape {numbers.shape}; expected {positions.shape[:1]}, one per atom."
    for name, tilt in (member(group, "tilts") or {}).items():
        yield from _true_tilt_problems(name, tilt, num_positions)


def _true_tilt_problems(name: str, tilt: h5py.Group, num_positions: dict[str, int | None]) -> Iterator[str]:
    where = f"truth/tilts/{name}"
    if name not in num_positions:
        yield f"{where} has no counterpart; expected one of the names in /tilts. Rename or remove it."
    yield from pose_problems(tilt.attrs, where)
    yield from aberration_problems(tilt.attrs, where)
    errors = member(tilt, "errors")
    for error in () if errors is None else errors.attrs:
        yield from number_problems(errors.attrs, error, unit="", where=f"{where}/errors")
    expected = num_positions.get(name)
    positions = member(tilt, "scan_positions")
    if positions is not None and expected is not None and positions.shape != (expected, 2):
        yield (
            f"{where}/scan_positions has shape {positions.shape}; expected "
            f"({expected}, 2) in (y, x) order. Rewrite it."
        )

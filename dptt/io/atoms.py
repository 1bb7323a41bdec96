"""`atoms.h5`, the atoms that `dptt atoms` fitted to the patterns, and `atoms.xyz` for other programs.

Datasets of `atoms.h5`, one row an atom: ``positions`` (z, y, x) [Å] from the rotation centre, ``atomic_numbers``,
``occupancies``, ``b_factors`` [Å²], ``standard_errors`` of (z, y, x, occupancy, B), ``probabilities`` of every
element in ``elements``, and ``told``: whether the patterns tell the element. ``tilts/NAME`` has the pose and
``SCANS`` as attributes, and ``probe`` (mode, y, x) in the plane of the rotation axis.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gemmi
import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import replace_text, write_beside
from dptt.io.attributes import (
    POSE_ATTRIBUTES,
    number_problems,
    pose_problems,
    read_pose,
    result_problems,
    write_pose,
)
from dptt.io.disk_space import create_with_space
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import member, plain_values, read_array, read_optional, reading_format
from dptt.io.hdf5_writing import write_array, write_attributes, write_format
from dptt.io.volumes import ReconstructedTilt

SCANS = ("scan_scale", "scan_y_longer_than_x", "scan_rotation_rad", "scan_shear")
"""Attributes of a tilt: M of its scan, which is 1 + M times as large as the reconstruction has it, by
`model.calibration.SCAN_SHAPES`; 0 if scans were not fitted."""
COHERENCE = ("source_size_A", "focal_spread_A", "aperture_per_A")
"""Attributes of the file if partial coherence was fitted: ``probe`` is then a coherent one, see `model.coherence`."""
NUMBERS = ("figure_of_fit", "figure_uncertainty")
"""Attributes of the file of a complete fit that are numbers."""
SCAN_DOUBT = "scan_doubt"
"""Attribute of the file: the fraction by which the scale of fitted scans may be misjudged."""
FORMAT = "dptt-atoms"
VERSION = 1
ARRAYS = {
    "positions": ("(atoms, 3)", "Å"),
    "atomic_numbers": ("(atoms,)", ""),
    "occupancies": ("(atoms,)", ""),
    "b_factors": ("(atoms,)", "Å²"),
    "standard_errors": ("(atoms, 5)", "Å, 1, Å²"),
    "probabilities": ("(atoms, elements)", ""),
    "elements": ("(elements,)", ""),
    "told": ("(atoms,)", ""),
}
"""Name of a dataset -> its shape in words, and its unit."""


class AtomsError(ProblemsError):
    """A file of atoms is missing or cannot be read."""


@dataclass(frozen=True)
class AtomsFile:
    """Contents of an atoms file; arrays as in the module's text.

    Parameters
    ----------
    attributes
        Provenance, `identity` and the figure of fit.
    tilts
        Name of the tilt -> pose and probe.
    """

    positions: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    occupancies: NDArray[np.float64]
    b_factors: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    elements: NDArray[np.int64]
    told: NDArray[np.bool_]
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    tilts: Mapping[str, ReconstructedTilt] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of every atom."""
        return [gemmi.Element(int(number)).name for number in self.atomic_numbers]

    @property
    def allowed_symbols(self) -> list[str]:
        """Chemical symbol of every column of `probabilities`."""
        return [gemmi.Element(int(number)).name for number in self.elements]


def write_atoms(path: str | Path, atoms: AtomsFile) -> None:
    """Write an atoms file; an existing one is replaced only when the new one is complete."""
    arrays = {name: getattr(atoms, name) for name in ARRAYS}
    probes = [tilt.probe for tilt in atoms.tilts.values() if tilt.probe is not None]
    size = sum(array.nbytes for array in (*arrays.values(), *probes))
    with write_beside(path, overwrite=True) as partial, create_with_space(partial, size) as file:
        write_format(file, FORMAT, VERSION, atoms.attributes)
        for name, values in arrays.items():
            dataset = write_array(file, name, values)
            write_attributes(dataset.attrs, {"units": ARRAYS[name][1]} if ARRAYS[name][1] else {})
        for name, tilt in atoms.tilts.items():
            group = file.create_group(f"tilts/{name}")
            write_pose(group.attrs, tilt.euler_angles, tilt.translation)
            write_attributes(group.attrs, tilt.attributes)
            if tilt.probe is not None:
                write_array(group, "probe", tilt.probe)


def read_atoms(path: str | Path, numbers: Collection[str] = NUMBERS) -> AtomsFile:
    """Return the contents of an atoms file.

    Parameters
    ----------
    path
        The file.
    numbers
        Attributes of the file that must be there and finite; those of a complete fit.

    Raises
    ------
    AtomsError
        The file is missing, damaged, or of another format, or datasets or attributes are missing or do not fit.
    """
    with reading_format(path, AtomsError, file_format=FORMAT, version=VERSION, command="atoms") as file:
        problems = [*_attribute_problems(file, numbers), *_problems(file)]
        if problems:
            raise AtomsError(path, problems)
        arrays: dict[str, Any] = {name: read_array(file, name) for name in ARRAYS}
        arrays["told"] = arrays["told"].astype(bool)
        tilts = member(file, "tilts") or {}
        return AtomsFile(
            **arrays,
            attributes=plain_values(file.attrs, without=("format", "version")),
            tilts={
                name: ReconstructedTilt(
                    *read_pose(group.attrs),
                    probe=read_optional(group, "probe"),
                    attributes=plain_values(group.attrs, without=POSE_ATTRIBUTES),
                )
                for name, group in tilts.items()
            },
        )


def _attribute_problems(file: h5py.File, numbers: Collection[str]) -> Iterator[str]:
    optional = *(COHERENCE if COHERENCE[0] in file.attrs else ()), *({SCAN_DOUBT} & set(file.attrs))
    numbers = [*numbers, *optional]
    for name in numbers:
        yield from number_problems(file.attrs, name, unit="", where="the file")
    yield from result_problems(file.attrs, "the file", checked=numbers)
    for name, group in (member(file, "tilts") or {}).items():
        where = f"tilts/{name}"
        yield from pose_problems(group.attrs, where)
        for scan in SCANS:
            if scan in group.attrs:  # files of earlier versions have none
                yield from number_problems(group.attrs, scan, unit="fraction, or rad", where=where)
        yield from result_problems(group.attrs, where, checked=(*POSE_ATTRIBUTES, *SCANS))


def _problems(file: h5py.File) -> list[str]:
    """Return what is missing, has a shape that does not fit the others, or is no number."""
    problems: list[str] = []
    sizes = {}
    for name, (words, _) in ARRAYS.items():
        dataset = member(file, name)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != words.count(",") + (not words.endswith(",)")):
            problems.append(f"{name} is {dataset!r}; expected a dataset {words}. Run `dptt atoms` again.")
        elif dataset.dtype.kind not in "biuf":
            problems.append(f"{name} has type {dataset.dtype}; expected numbers. Run `dptt atoms` again.")
        else:
            sizes[name] = dataset.shape
    if problems:
        return problems
    count, elements = sizes["atomic_numbers"][0], sizes["elements"][0]
    expected = {"(atoms, 3)": (count, 3), "(atoms,)": (count,), "(atoms, 5)": (count, 5)}
    expected |= {"(atoms, elements)": (count, elements), "(elements,)": (elements,)}
    return [
        f"{name} has shape {sizes[name]}; expected {expected[words]}. Run `dptt atoms` again."
        for name, (words, _) in ARRAYS.items()
        if sizes[name] != expected[words]
    ]


def write_xyz(path: Path, atoms: AtomsFile, symbols: Mapping[int, str]) -> None:
    """Write atoms as an extended XYZ file, which ASE and OVITO read: columns x, y, z [Å] and what was fitted.

    `symbols` gives the chemical symbol of every atomic number.
    """
    columns = "species:S:1:pos:R:3:occupancy:R:1:b_factor:R:1:pos_error:R:3:probability:R:1"
    lines = [str(len(atoms.positions)), f'Properties={columns} pbc="F F F"']
    for number, position, occupancy, b_factor, errors, probabilities in zip(
        atoms.atomic_numbers,
        atoms.positions,
        atoms.occupancies,
        atoms.b_factors,
        atoms.standard_errors,
        atoms.probabilities,
        strict=True,
    ):
        numbers = [*position[::-1], occupancy, b_factor, *errors[:3][::-1], probabilities.max()]
        lines.append(f"{symbols[int(number)]:2s} " + " ".join(f"{value:.5f}" for value in numbers))
    replace_text(path, "\n".join(lines) + "\n")

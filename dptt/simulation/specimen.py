"""The specimen: atoms at (z, y, x) [Å] relative to the rotation centre, and operations on all of them.

Structures have the axes of their file or of ASE, (x, y, z); `specimen_from_atoms` reverses the order once. The
rotation centre is the centre of the specimen's bounding box. Thermal motion is the root mean square displacement
along one axis, u = sqrt(<u_x²>) [Å]; the Debye-Waller factor is B = 8 pi² u².
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float64, Int64
from scipy.spatial import cKDTree

from dptt.physics.rotation import rotation_matrix

SMALLEST_DISTANCE = 0.5
"""[Å] Shorter than the bond of H2 (0.74 Å): atoms closer than this are an error in the structure."""

LARGEST_EXTENT = 1e6
"""[Å] No beam passes more."""


@dataclass(frozen=True)
class Specimen:
    """Atoms about the rotation centre.

    Parameters
    ----------
    positions
        (atom, 3) as (z, y, x) [Å] relative to the rotation centre.
    atomic_numbers
        (atom,).
    rms_displacements
        (atom,) thermal displacement along one axis, sqrt(<u_x²>) [Å]; zero for atoms at rest.
    """

    positions: Float64[np.ndarray, "atom 3"]
    atomic_numbers: Int64[np.ndarray, " atom"]
    rms_displacements: Float64[np.ndarray, " atom"]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def extent(self) -> tuple[float, float, float]:
        """Side lengths (z, y, x) [Å] of the bounding box of the atoms."""
        z, y, x = np.ptp(self.positions, axis=0).tolist()
        return z, y, x

    def tilted(self, euler_angles: tuple[float, float, float], translation: tuple[float, float]) -> "Specimen":
        """Return the specimen in the pose (phi, theta, psi) [deg], tau = (y, x) [Å]: r' = R r + tau ([P] eq. 11)."""
        rotation = rotation_matrix(torch.tensor(euler_angles, dtype=torch.float64)).numpy()
        positions = (self.positions[:, ::-1] @ rotation.T)[:, ::-1] + np.array([0.0, *translation])
        return replace(self, positions=positions)

    def vibrating(self, generator: np.random.Generator) -> "Specimen":
        """Return one frozen-phonon configuration: every atom displaced at random and then at rest."""
        moved = self.positions + generator.normal(size=self.positions.shape) * self.rms_displacements[:, None]
        return Specimen(moved, self.atomic_numbers, np.zeros(len(self)))


def specimen_from_atoms(
    atoms: Atoms,
    *,
    orientation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    rms_displacement: float | Mapping[str, float] = 0.0,
    smallest_distance: float = SMALLEST_DISTANCE,
) -> Specimen:
    """Return ASE's `atoms` as a specimen, first oriented, then centred on its bounding box.

    Parameters
    ----------
    atoms
        Structure with axes (x, y, z); its cell is ignored.
    orientation
        Euler angles (phi, theta, psi) [deg] by which the structure is rotated first, in the convention of
        `dptt.physics.rotation`.
    rms_displacement
        Thermal displacement along one axis [Å]: one value, or one per element; all other elements are at rest.
    smallest_distance
        Atoms closer to each other than this [Å] are an error.

    Raises
    ------
    ValueError
        There are no atoms, positions are not finite, atoms are closer than `smallest_distance`, or a displacement is
        negative or for an element that is not in the structure.
    """
    if len(atoms) == 0:
        raise ValueError("the specimen has no atoms; expected at least one. Enlarge the cut or check the structure.")
    positions = atoms.get_positions()[:, ::-1].astype(np.float64)
    if not np.isfinite(positions).all():
        raise ValueError(
            f"{np.sum(~np.isfinite(positions).all(1))} of {len(positions)} atoms have positions that are not finite. "
            "Correct the structure."
        )
    if np.ptp(positions, axis=0).max() > LARGEST_EXTENT:
        raise ValueError(
            f"the specimen is {np.ptp(positions, axis=0).max():.3g} Å wide; expected at most {LARGEST_EXTENT:.0e} Å. "
            "Correct its lengths, which are in Å."
        )
    numbers = atoms.get_atomic_numbers().astype(np.int64)
    check_distances(positions, numbers, smallest_distance)
    symbols = np.array(atoms.get_chemical_symbols())
    specimen = Specimen(positions, numbers, _displacements(symbols, rms_displacement)).tilted(orientation, (0.0, 0.0))
    middle = (specimen.positions.min(0) + specimen.positions.max(0)) / 2
    return replace(specimen, positions=specimen.positions - middle)


def check_distances(
    positions: Float64[np.ndarray, "atom 3"], atomic_numbers: Int64[np.ndarray, " atom"], smallest_distance: float
) -> None:
    """Raise a ValueError that names the closest pair if any pair is closer than `smallest_distance` [Å]."""
    pairs = cKDTree(positions).query_pairs(smallest_distance, output_type="ndarray")
    if len(pairs) == 0:
        return
    distances = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    first, second = pairs[distances.argmin()]
    raise ValueError(
        f"{len(pairs)} pairs of atoms are closer than {smallest_distance} Å; the closest, atoms {first} and {second} "
        f"(Z = {atomic_numbers[first]} and {atomic_numbers[second]}), are {distances.min():.3f} Å apart. "
        "Remove the duplicates from the structure, or lower smallest_distance."
    )


def _displacements(symbols: np.ndarray, rms_displacement: float | Mapping[str, float]) -> np.ndarray:
    if not isinstance(rms_displacement, Mapping):
        rms_displacement = dict.fromkeys(symbols.tolist(), rms_displacement)
    unknown = sorted(set(rms_displacement) - set(symbols.tolist()))
    if unknown:
        raise ValueError(
            f"rms_displacement names {', '.join(unknown)}; expected elements of the specimen: "
            f"{', '.join(sorted(set(symbols.tolist())))}"
        )
    for symbol, value in rms_displacement.items():
        if not value >= 0:
            raise ValueError(f"rms_displacement of {symbol} is {value}; expected a number of Å, zero or more")
    return np.array([rms_displacement.get(symbol, 0.0) for symbol in symbols.tolist()], dtype=np.float64)

r"""Errors of the scans that are fitted together with atoms, and what the specimen does meanwhile.

Scan positions p of a tilt are (1 + M) p about the rotation axis, M by `model.calibration.SCAN_SHAPES`. A strain that
all scans have in common hardly shows against atoms that have followed the wrong scan: they follow the right one too,
r -> (1 + S) r. So the common strain has unknowns of its own, which move scans, atoms and translations together; the
scans of single tilts move against fixed atoms. What then tells the common strain is the size of what each probe sees,
which the angles of the detector set.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.model.calibration import SCAN_SHAPES
from dptt.physics.rotation import rotation_matrix

STRAINS = [0, 1, 3]
"""Of `SCAN_SHAPES`, the symmetric ones: a larger scale, y longer than x, a shear."""
SCANS_DOUBT, INCOHERENT_DOUBT, MORE_DOUBT = 3e-3, 5e-3, 1e-2
WELL_EXPLAINED = 1.03
"""By which a fit may misjudge the strain that scans share, beyond shot noise: with a coherent probe, with another,
and with either above this figure of fit.

Where nothing is wrong it finds a scale 0.11 % too small, with a source of 0.2 Å 0.3 to 0.5 %; with a blur of the
detector that the model lacks, up to 1 % (docs/atoms.md)."""
FLATTEST = 1e-3
"""Singular value, as a fraction of the largest, of a strain of the specimen that no tilt shows."""


def scans_doubt(figure: float, *, coherent: bool) -> float:
    """Return by which the common strain may be misjudged in a fit of this figure, with a `coherent` probe or not."""
    return MORE_DOUBT if figure > WELL_EXPLAINED else SCANS_DOUBT if coherent else INCOHERENT_DOUBT


def by_scan(
    slopes: Float[Tensor, "pos 2"], positions: Float[Tensor, "pos 2"], sampling: tuple[float, float]
) -> Float[Tensor, "4"]:
    """Return the derivatives by M of what has `slopes` [1/pixel] by positions; `positions` [Å] are those told."""
    by_position = slopes.double().cpu() / torch.tensor(sampling, dtype=torch.float64)
    return torch.einsum("pi,sij,pj->s", by_position, SCAN_SHAPES, positions)


def strains_of_specimen(euler_angles: Float[Tensor, "tilt 3"]) -> Float[Tensor, "strain 3 3"]:
    """Return S on (z, y, x) of the specimen for each common strain of the scans.

    Seen from all tilts, it comes closest to that strain: the same for a scale; a y longer than x becomes what y and z
    or x and z share; nothing makes up for a shear that every tilt has.
    """
    unit = torch.eye(3, dtype=torch.float64)
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    symmetric = torch.stack([(torch.outer(unit[i], unit[j]) + torch.outer(unit[j], unit[i])) / 2 for i, j in pairs])
    turns = torch.stack([rotation_matrix(angles).flip(0, 1) for angles in euler_angles])
    seen = torch.einsum("tij,sjk,tlk->tils", turns, symmetric, turns)[:, 1:, 1:].reshape(-1, len(pairs))
    wanted = SCAN_SHAPES[STRAINS].reshape(len(STRAINS), 4).repeat(1, len(turns))
    return torch.einsum("sn,nij->sij", wanted @ torch.linalg.pinv(seen, rtol=FLATTEST).T, symmetric)


def deformations(
    strain: Float[Tensor, "3"], shapes: Float[Tensor, "strain 3 3"]
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "2 2"]]:
    """Return what a common strain does to positions of atoms (z, y, x), and to scans and translations (y, x)."""
    of_atoms = torch.eye(3, dtype=torch.float64) + torch.einsum("s,sij->ij", strain, shapes)
    of_scans = torch.eye(2, dtype=torch.float64) + torch.einsum("s,sij->ij", strain, SCAN_SHAPES[STRAINS])
    return of_atoms, of_scans


def strain_gradient(
    by_scans: Float[Tensor, "4"],
    by_positions: Float[Tensor, "atom 3"],
    positions: Float[Tensor, "atom 3"],
    by_translations: Float[Tensor, "tilt 2"],
    translations: Float[Tensor, "tilt 2"],
    shapes: Float[Tensor, "strain 3 3"],
) -> Float[Tensor, "3"]:
    """Return the derivatives by the common strain, in which scans, atoms and translations move together."""
    return (
        by_scans[STRAINS]
        + torch.einsum("ai,sij,aj->s", by_positions, shapes, positions)
        + torch.einsum("ti,sij,tj->s", by_translations, SCAN_SHAPES[STRAINS], translations)
    )

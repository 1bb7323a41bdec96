"""The common motion between traced and true atoms: from several starts, with a figure of merit.

Where a volume lies in space is not always known: refined poses leave a common motion undetermined, and the rotation
centre of a foreign truth may be another one. Neither is an error of the reconstruction.

1. *Translations* come from the correlation of the two sets of points: every pair votes for the displacement between
   its two atoms, and the displacement with the most votes joins the most atoms.
2. *Rotations* up to 50° are tried on a grid, each with the best translations of its own, with the atoms near the
   centre only: far from it the grid would be too coarse.
3. The best candidates are refined by `match_atoms`, which fits the motion to the pairs until no pair changes.

The figure of merit is the fraction of the smaller set that finds a partner. A motion that is larger than needed fits
noise, so each kind (none, translation, rigid) is taken only if it joins clearly more atoms than the kind before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dptt.analysis.atom_matching import AtomMatch, fit_motion, match_atoms

Motion = Literal["none", "translation", "rigid"]
MOTIONS: tuple[Motion, ...] = ("none", "translation", "rigid")
Start = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Rotation (3, 3) and translation (3,) of the traced atoms."""

MIN_GAIN = {"translation": 4, "rigid": 8}
MIN_GAIN_FRACTION = 0.05
"""A further motion must join so many more pairs: any motion can join a few atoms by chance."""
MIN_MERIT = 0.5
"""A motion that was searched for must join at least half of the smaller set."""
SATISFIED = 0.8
"""Rotations are not searched where so much of the smaller set is joined without."""
LARGEST_ROTATION, ROTATION_STEP = 50.0, 9.0
"""Of the grid of rotations [degrees]."""
CORE_ATOMS, NEAR_ATOMS, MOST_ATOMS = 60, 400, 1500
"""Number of true and of traced atoms near the centre that vote for a rotation, and of either for a translation."""
REACH = 10.0
"""Largest displacement of the centre of the atoms beside a rotation [Å]."""
VOTE_CELL = 1.0
"""Edge of a cell of the votes [Å]."""
CANDIDATES = 5
"""Of each search that are refined."""


@dataclass(frozen=True)
class AtomRegistration:
    """Traced and true atoms, joined after their common motion was removed.

    Attributes
    ----------
    match : AtomMatch
        The pairs, and the motion that was applied to the traced atoms.
    motion : {"none", "translation", "rigid"}
        What was removed.
    displacement : array (3,)
        Mean of traced minus true positions of the pairs (z, y, x) [Å], before the motion was removed.
    angle : float
        Of the rotation that was removed [degrees].
    merit : float
        Fraction of the smaller set that has a partner.
    """

    match: AtomMatch
    motion: Motion
    displacement: NDArray[np.floating]
    angle: float
    merit: float


def register_atoms(
    traced: NDArray[np.floating],
    true: NDArray[np.floating],
    max_distance: float,
    *,
    undetermined: Motion = "none",
    true_numbers: NDArray[np.integer] | None = None,
    start: Start | None = None,
) -> AtomRegistration:
    """Join traced (n, 3) and true (m, 3) positions [Å] after removing the motion that they have in common.

    Parameters
    ----------
    max_distance : float
        Of the two atoms of a pair, after the motion was removed [Å].
    undetermined : {"none", "translation", "rigid"}
        Motion that the data do not determine: it is always removed. A larger one is removed only where it fits
        clearly better.
    start : tuple (rotation, translation), optional
        Motion of the traced atoms from a registration of the volumes.
    """
    traced, true = np.asarray(traced, dtype=float), np.asarray(true, dtype=float)

    def match(align: Motion, start: Start | None) -> AtomMatch:
        return match_atoms(traced, true, max_distance, align=align, true_numbers=true_numbers, start=start)

    motion, best = undetermined, match(undetermined, start)
    smaller = min(len(traced), len(true))
    for kind in MOTIONS[max(MOTIONS.index(undetermined), 1) :]:
        search = len(best.pairs) < SATISFIED * smaller
        starts = [(best.rotation, best.translation), *_starts(traced, true, kind, search)]
        found = max((match(kind, one) for one in starts), key=_quality)
        if _is_clearly_better(found, best, kind, smaller):
            motion, best = kind, found
    return AtomRegistration(best, motion, *_moved(traced, true, best), merit=len(best.pairs) / max(smaller, 1))


def _is_clearly_better(found: AtomMatch, best: AtomMatch, kind: Motion, smaller: int) -> bool:
    """Return whether a motion joins clearly more atoms, or the same ones at half the distance."""
    if len(found.pairs) < max(MIN_GAIN[kind], MIN_MERIT * smaller):
        return False
    gain = len(found.pairs) - len(best.pairs)
    return gain >= max(MIN_GAIN[kind], MIN_GAIN_FRACTION * smaller) or (gain >= 0 and found.rmsd < 0.5 * best.rmsd)


def _quality(match: AtomMatch) -> tuple[int, float]:
    return len(match.pairs), -match.rmsd if len(match.pairs) else 0.0


def _moved(
    traced: NDArray[np.floating], true: NDArray[np.floating], match: AtomMatch
) -> tuple[NDArray[np.floating], float]:
    difference = traced[match.pairs[:, 0]] - true[match.pairs[:, 1]]
    displacement = difference.mean(axis=0) if len(difference) else np.zeros(3)
    return displacement, float(np.degrees(Rotation.from_matrix(match.rotation).magnitude()))


def _starts(traced: NDArray[np.floating], true: NDArray[np.floating], kind: Motion, search: bool) -> Iterator[Start]:
    """Yield the motions of the traced atoms that bring most of them near true ones."""
    if len(traced) == 0 or len(true) == 0:
        return
    votes_of = _nearest_to_centre(traced, MOST_ATOMS), _nearest_to_centre(true, MOST_ATOMS)
    for _, translation in _most_common_displacements(*votes_of):
        yield np.eye(3), translation
    if kind == "rigid" and search:
        yield from _rotated_starts(traced, true)


def _rotated_starts(traced: NDArray[np.floating], true: NDArray[np.floating]) -> list[Start]:
    """Return the best rotations of a grid with their translations, judged by the atoms near the centre."""
    core, near = _nearest_to_centre(true, CORE_ATOMS), _nearest_to_centre(traced, NEAR_ATOMS)
    centre, aim = near.mean(axis=0), core.mean(axis=0)
    rotated = [
        (votes, rotation, aim + displacement - rotation @ centre)
        for rotation in rotation_grid(LARGEST_ROTATION, ROTATION_STEP)
        for votes, displacement in _most_common_displacements((near - centre) @ rotation.T, core - aim, REACH)[:1]
    ]
    rotated.sort(key=lambda candidate: -candidate[0])
    return [_refined(rotation, translation, traced, core) for _, rotation, translation in rotated[:CANDIDATES]]


def _refined(
    rotation: NDArray[np.floating],
    translation: NDArray[np.floating],
    traced: NDArray[np.floating],
    core: NDArray[np.floating],
) -> Start:
    """Return the motion after iterations of closest points, in which the reach shrinks as the fit improves."""
    for reach in (2.0, 1.5, 1.5, 1.0, 1.0, 0.7, 0.7):
        placed = traced @ rotation.T + translation
        distance, partner = KDTree(placed).query(core)
        near = distance < reach
        if near.sum() < 3:
            break
        rotation, translation = fit_motion(traced[partner[near]], core[near], rotate=True)
    return rotation, translation


def rotation_grid(largest: float, step: float) -> list[NDArray[np.floating]]:
    """Rotation matrices up to the largest angle: rotation vectors on a cubic grid of a step [degrees]."""
    along = np.arange(-int(largest // step), int(largest // step) + 1) * step
    vectors = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = vectors[np.linalg.norm(vectors, axis=1) <= largest]
    return list(Rotation.from_rotvec(np.radians(vectors)).as_matrix())


def _most_common_displacements(
    source: NDArray[np.floating], target: NDArray[np.floating], reach: float = np.inf
) -> list[tuple[float, NDArray[np.floating]]]:
    """Return votes and displacement (z, y, x) [Å] of the strongest maxima of the correlation of two point sets."""
    difference = (target[None] - source[:, None]).reshape(-1, 3)
    difference = difference[np.all(np.abs(difference) <= reach, axis=1)]
    if len(difference) == 0:
        return []
    lowest = difference.min(axis=0)
    cells = np.rint((difference - lowest) / VOTE_CELL).astype(np.intp)
    shape = cells.max(axis=0) + 1
    flat = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    votes = np.bincount(flat, minlength=int(shape.prod())).reshape(shape)
    smooth = scipy.ndimage.gaussian_filter(votes.astype(float), 0.7, mode="constant", truncate=2.0).ravel()
    strongest = np.argpartition(-smooth, min(CANDIDATES, smooth.size - 1))[:CANDIDATES]
    strongest = strongest[np.argsort(-smooth[strongest], kind="stable")]
    place = np.stack(np.unravel_index(strongest, shape), axis=1) * VOTE_CELL + lowest
    return list(zip(smooth[strongest].tolist(), place, strict=True))


def _nearest_to_centre(positions: NDArray[np.floating], number: int) -> NDArray[np.floating]:
    return positions[np.argsort(np.linalg.norm(positions - positions.mean(axis=0), axis=1))[:number]]

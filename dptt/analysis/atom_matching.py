"""Match traced atoms with true ones: one-to-one, with as many pairs as possible and then the shortest distances."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

MAX_ALIGNMENTS = 30


@dataclass(frozen=True)
class ElementMatch:
    """Match of the atoms of one element: number of true atoms, recall, and RMSD of the matched ones [Å]."""

    count: int
    recall: float
    rmsd: float


@dataclass(frozen=True)
class AtomMatch:
    """Agreement of traced and true atoms.

    Attributes
    ----------
    recall, precision : float
        Number of pairs over that of true atoms (that count), and over that of traced atoms.
    rmsd : float
        Root mean square distance of the pairs [Å]; NaN without pairs.
    rmsd_axes : array (3,)
        The same along z, y, x [Å]; usually the largest along the beam.
    pairs : array (n, 2)
        Indices (traced, true).
    false_positive, missed : array
        Indices of unpaired traced atoms, and of unpaired true ones.
    elements : dict
        By atomic number; empty if the atomic numbers of the true atoms are unknown.
    rotation, translation : array (3, 3), (3,)
        Motion ``r -> rotation @ r + translation`` (z, y, x) [Å] that was applied to the traced atoms.
    """

    recall: float
    precision: float
    rmsd: float
    rmsd_axes: NDArray[np.floating]
    pairs: NDArray[np.int64]
    false_positive: NDArray[np.int64]
    missed: NDArray[np.int64]
    elements: dict[int, ElementMatch]
    rotation: NDArray[np.floating]
    translation: NDArray[np.floating]


def match_atoms(
    traced: NDArray[np.floating],
    true: NDArray[np.floating],
    max_distance: float,
    *,
    align: Literal["none", "translation", "rigid"] = "none",
    true_numbers: NDArray[np.integer] | None = None,
    start: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> AtomMatch:
    """Best one-to-one pairs of traced (n, 3) and true (m, 3) positions [Å], at most ``max_distance`` [Å] apart.

    Parameters
    ----------
    max_distance : float
        [Å] Half a bond length is a good value. With ``align`` it must exceed the misalignment that ``start`` leaves.
    align : {"none", "translation", "rigid"}
        Motion of the traced atoms. It is fitted to the pairs, then the atoms are paired again, until no pair changes.
    true_numbers : array (m,), optional
        Atomic numbers, for recall and RMSD by element.
    start : tuple (rotation, translation), optional
        First guess of the motion of the traced atoms, from a registration of the volumes; the identity by default.
    counted : array (m,), optional
        Which true atoms must be found; the others may be. All by default.
    """
    traced, true = np.asarray(traced, dtype=float), np.asarray(true, dtype=float)
    for name, positions in (("traced", traced), ("true", true)):
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise ValueError(f"{name} has shape {positions.shape}; expected (num_atoms, 3) in (z, y, x) order")
    rotation, translation = (np.eye(3), np.zeros(3)) if start is None else start
    pairs = _assign(traced @ rotation.T + translation, true, max_distance)
    for _ in range(MAX_ALIGNMENTS if align != "none" else 0):
        if len(pairs) < (3 if align == "rigid" else 1):
            break
        rotation, translation = fit_motion(traced[pairs[:, 0]], true[pairs[:, 1]], rotate=align == "rigid")
        previous, pairs = pairs, _assign(traced @ rotation.T + translation, true, max_distance)
        if np.array_equal(previous, pairs):
            break
    difference = (traced @ rotation.T + translation)[pairs[:, 0]] - true[pairs[:, 1]]
    counted = np.ones(len(true), dtype=bool) if counted is None else counted
    return AtomMatch(
        recall=_ratio(int(counted[pairs[:, 1]].sum()), int(counted.sum())),
        precision=_ratio(len(pairs), len(traced)),
        rmsd=_rmsd(difference),
        rmsd_axes=np.array([_rmsd(difference[:, [d]]) for d in range(3)]),
        pairs=pairs,
        false_positive=np.setdiff1d(np.arange(len(traced)), pairs[:, 0]),
        missed=np.setdiff1d(np.flatnonzero(counted), pairs[:, 1]),
        elements={} if true_numbers is None else _by_element(true_numbers, pairs, difference, counted),
        rotation=rotation,
        translation=translation,
    )


def _assign(traced: NDArray[np.floating], true: NDArray[np.floating], max_distance: float) -> NDArray[np.int64]:
    """Pairs (n, 2): as many as possible and, among those, with the minimum sum of squared distances.

    Each cluster of atoms within reach of each other is solved separately, which keeps thousands of atoms cheap.
    """
    if len(traced) == 0 or len(true) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    near = KDTree(traced).sparse_distance_matrix(KDTree(true), max_distance, output_type="coo_matrix")
    size = len(traced) + len(true)
    links = scipy.sparse.coo_array((np.ones(near.nnz), (near.row, near.col + len(traced))), (size, size))
    _, cluster = scipy.sparse.csgraph.connected_components(links, directed=False)
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    by_cluster = np.argsort(cluster[near.row], kind="stable")
    for edges in np.split(by_cluster, np.flatnonzero(np.diff(cluster[near.row][by_cluster])) + 1):
        rows, row = np.unique(near.row[edges], return_inverse=True)
        columns, column = np.unique(near.col[edges], return_inverse=True)
        no_pair = max_distance**2 * (len(rows) + len(columns))  # costs more than any exchange of partners
        cost = np.full((len(rows), len(columns)), no_pair)
        cost[row, column] = near.data[edges] ** 2
        i, j = scipy.optimize.linear_sum_assignment(cost)
        allowed = cost[i, j] < no_pair
        pairs.append(np.column_stack([rows[i], columns[j]])[allowed])
    return np.concatenate(pairs)


def fit_motion(
    source: NDArray[np.floating], target: NDArray[np.floating], *, rotate: bool
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Rotation (the identity unless ``rotate``) and translation that bring atoms closest to their partners.

    Atoms on a line leave the angle about it undetermined; any is returned.
    """
    centre, aim = source.mean(axis=0), target.mean(axis=0)
    rotation = np.eye(3)
    if rotate:
        u, _, vt = np.linalg.svd((target - aim).T @ (source - centre))
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return rotation, aim - rotation @ centre


def _by_element(
    numbers: NDArray[np.integer],
    pairs: NDArray[np.int64],
    difference: NDArray[np.floating],
    counted: NDArray[np.bool_],
) -> dict[int, ElementMatch]:
    matched = numbers[pairs[:, 1]]
    found = matched[counted[pairs[:, 1]]]
    return {
        int(number): ElementMatch(
            count=int(count),
            recall=_ratio(int(np.sum(found == number)), int(count)),
            rmsd=_rmsd(difference[matched == number]),
        )
        for number, count in zip(*np.unique(numbers[counted], return_counts=True), strict=True)
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _rmsd(difference: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.sum(difference**2, axis=1)))) if len(difference) else float("nan")

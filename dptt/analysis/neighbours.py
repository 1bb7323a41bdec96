"""What atoms with error bars say of their surroundings: distances of neighbours, coordination, pair distances."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ndtr

NARROWEST = 0.02
"""[Å] of the Gaussian for a pair in `pair_distances`: exact positions would give spikes."""


@dataclass(frozen=True)
class Neighbours:
    """Pairs of atoms closer than a cutoff.

    Parameters
    ----------
    pairs
        (pair, 2): numbers of the atoms, each pair once, the lower number first.
    distances, errors
        (pair,): length of the bond and its standard error [Å]; errors of two atoms are taken as independent.
    coordination, coordination_errors
        (atom,): expected number of neighbours within the cutoff, and its standard deviation. A neighbour whose
        distance is within errors of the cutoff counts by its probability to be within.
    """

    pairs: NDArray[np.int64]
    distances: NDArray[np.float64]
    errors: NDArray[np.float64]
    coordination: NDArray[np.float64]
    coordination_errors: NDArray[np.float64]


def neighbours(positions: NDArray[np.float64], errors: NDArray[np.float64], cutoff: float) -> Neighbours:
    """Return the neighbours of atoms.

    Parameters
    ----------
    positions, errors
        (atom, 3): places and their standard errors [Å].
    cutoff
        Largest distance of two neighbours [Å].

    Raises
    ------
    ValueError
        The cutoff is not positive, or shapes differ.
    """
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff} Å; expected a positive length, such as 1.2 times the shortest bond")
    pairs, distances, pair_errors = _pairs(positions, errors, cutoff + 5 * float(np.max(errors, initial=0.0)))
    within = ndtr((cutoff - distances) / np.maximum(pair_errors, 1e-12))
    counts, variances = np.zeros(len(positions)), np.zeros(len(positions))
    for end in pairs.T:
        np.add.at(counts, end, within)
        np.add.at(variances, end, within * (1 - within))
    near = distances <= cutoff
    return Neighbours(pairs[near], distances[near], pair_errors[near], counts, np.sqrt(variances))


def pair_distances(
    positions: NDArray[np.float64], errors: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the density of atoms at distance r from an atom, averaged over atoms [1/Å], for every r in `radii` [Å].

    Its integral up to r is the mean number of atoms within r (4 pi r² rho g(r) in a bulk). Every pair is a Gaussian
    of its own error. A particle has no atoms outside: nothing is corrected for its surface.
    """
    radii = np.asarray(radii, dtype=float)
    reach = float(radii.max()) + 5 * max(NARROWEST, 2 * float(np.max(errors, initial=0.0)))
    _, distances, pair_errors = _pairs(positions, errors, reach)
    density = np.zeros(len(radii))
    for distance, spread in zip(distances, np.hypot(pair_errors, NARROWEST), strict=True):
        density += np.exp(-0.5 * ((radii - distance) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    return 2 * density / max(len(positions), 1)


def _pairs(
    positions: NDArray[np.float64], errors: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return pairs of atoms, their distances and the standard errors of these."""
    if np.shape(positions) != np.shape(errors) or np.ndim(positions) != 2:
        raise ValueError(
            f"got positions {np.shape(positions)} and errors {np.shape(errors)}; expected (atom, 3) for both"
        )
    pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray").astype(np.int64).reshape(-1, 2)
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    between = positions[pairs[:, 1]] - positions[pairs[:, 0]]
    distances = np.linalg.norm(between, axis=1)
    along = between / np.maximum(distances, 1e-12)[:, None]
    variances = (along**2 * (errors[pairs[:, 0]] ** 2 + errors[pairs[:, 1]] ** 2)).sum(axis=1)
    return pairs, distances, np.sqrt(variances)

"""The content of the panels of [P] as numbers: atoms by element, and atoms resolved along the beam."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float64, Int
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

SEPARATED = 0.81
"""Two peaks are resolved if the valley between them is at most this fraction of the lower one (Rayleigh, slit)."""
SAME_COLUMN = 0.3
"""Largest lateral distance between two atoms of one column along the beam [Å]."""
PEAK_REACH = 0.6
"""Radius of the search for the peak of an atom about its true position [Å]."""
PROFILE_STEP = 0.1
"""Distance between the samples of a profile [Å]."""
RIDGE_RADIUS = 0.6
"""Largest distance of a streak from the line through the two atoms it joins [Å]; columns are 1.4 Å apart."""


@dataclass(frozen=True)
class ElementScore:
    """Result for one element: number of true atoms, recall, precision, RMSD [Å] and RMSD along (z, y, x) [Å]."""

    count: int
    recall: float
    precision: float
    rmsd: float
    rmsd_axes: Float64[np.ndarray, "3"]


def column_pairs(positions: Float[np.ndarray, "atom 3"], longest: float) -> Int[np.ndarray, "pair 2"]:
    """Return pairs of successive atoms of a column along z, at most `longest` [Å] apart, the upstream atom first."""
    pairs = cKDTree(positions[:, 1:]).query_pairs(SAME_COLUMN, output_type="ndarray").reshape(-1, 2).astype(np.int64)
    distances = positions[pairs[:, 1], 0] - positions[pairs[:, 0], 0]
    pairs = np.where(distances[:, None] < 0, pairs[:, ::-1], pairs)
    order = np.argsort(np.abs(distances), kind="stable")
    _, first = np.unique(pairs[order, 0], return_index=True)  # the next atom downstream of every atom
    nearest = order[first]
    return pairs[nearest[np.abs(distances[nearest]) <= longest]]


def pairs_by_elements(
    pairs: Int[np.ndarray, "pair 2"], numbers: Int[np.ndarray, " atom"]
) -> dict[tuple[int, int], Int[np.ndarray, "some 2"]]:
    """Return the pairs by their two atomic numbers, the heavier element first."""
    elements = -np.sort(-numbers[pairs], axis=1)
    return {
        (int(heavy), int(light)): pairs[(elements == (heavy, light)).all(1)]
        for heavy, light in np.unique(elements, axis=0)[::-1]
    }


def valley_to_peak(
    volume: Float[np.ndarray, "z y x"],
    voxel_size: tuple[float, float, float],
    positions: Float[np.ndarray, "atom 3"],
    pairs: Int[np.ndarray, "pair 2"],
) -> Float64[np.ndarray, " pair"]:
    """Return for every pair the minimum between its atoms over the lower of their peaks; 1 if there is no dip.

    The profile follows the ridge, the highest value within `RIDGE_RADIUS` of the line. On the line itself, a streak
    that weaves from side to side would look like two resolved atoms.

    Parameters
    ----------
    volume
        Potential [V].
    positions
        True positions of the atoms in the frame of the volume, (z, y, x) [Å] from voxel n//2.
    """
    ratios = np.ones(len(pairs))
    for number, (upstream, downstream) in enumerate(pairs):
        profile, distance = _ridge(volume, voxel_size, positions[upstream], positions[downstream])
        along = np.arange(len(profile)) * PROFILE_STEP - PEAK_REACH
        first, last = (np.flatnonzero(np.abs(along - end) <= PEAK_REACH) for end in (0.0, distance))
        peaks = [near[np.argmax(profile[near])] for near in (first, last)]
        lower = min(profile[peaks[0]], profile[peaks[1]])
        if lower > 0:
            ratios[number] = max(profile[peaks[0] : peaks[1] + 1].min(), 0.0) / lower
    return ratios


def _ridge(
    volume: np.ndarray, voxel_size: tuple[float, float, float], start: np.ndarray, stop: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the ridge along the line through two atoms, extended by `PEAK_REACH` at both ends, and the distance."""
    distance = float(np.linalg.norm(stop - start))
    along = np.arange(-PEAK_REACH, distance + PEAK_REACH + PROFILE_STEP / 2, PROFILE_STEP)
    line = start + along[:, None] * (stop - start) / distance
    steps = np.arange(-RIDGE_RADIUS, RIDGE_RADIUS + PROFILE_STEP, 2 * PROFILE_STEP)
    offsets = np.array([(0.0, y, x) for y in steps for x in steps if np.hypot(y, x) <= RIDGE_RADIUS + 1e-9])
    voxels = (line[:, None] + offsets) / voxel_size + np.array(volume.shape) // 2
    values = scipy.ndimage.map_coordinates(volume, voxels.reshape(-1, 3).T, order=1, mode="nearest")
    return values.reshape(len(line), len(offsets)).max(1), distance


def element_scores(atoms: Mapping[str, Any], true_numbers: Int[np.ndarray, " atom"]) -> dict[int, ElementScore]:
    """Return recall, precision and RMSD by element from the section `atoms` of analysis.json.

    Every traced atom is assigned an element from its integrated potential alone (`classify`). The precision of an
    element is the fraction of the atoms assigned to it that lie on a true atom of it. Recall ignores the element.
    """
    pairs = np.array(atoms["match"]["pairs"]).reshape(-1, 2)
    traced, true = np.array(atoms["positions"]), np.array(atoms["true_positions"])
    assigned = classify(np.array(atoms["integrated_potential"], dtype=float), np.unique(true_numbers))
    scores = {}
    for number in np.unique(true_numbers).tolist():
        own_pairs = pairs[true_numbers[pairs[:, 1]] == number]
        difference = traced[own_pairs[:, 0]] - true[own_pairs[:, 1]]
        count, num_assigned = int(np.sum(true_numbers == number)), int(np.sum(assigned == number))
        correct = int(np.sum(assigned[own_pairs[:, 0]] == number))
        scores[number] = ElementScore(
            count=count,
            recall=len(own_pairs) / count,
            precision=correct / num_assigned if num_assigned else float("nan"),
            rmsd=float(np.sqrt(np.mean(np.sum(difference**2, axis=1)))) if len(own_pairs) else float("nan"),
            rmsd_axes=np.sqrt(np.mean(difference**2, axis=0)) if len(own_pairs) else np.full(3, np.nan),
        )
    return scores


def classify(
    integrated: Float[np.ndarray, " atom"], numbers: Int[np.ndarray, " element"]
) -> Int[np.ndarray, " atom"]:
    """Return an atomic number for every traced atom, from as many classes of log integrated potential as `numbers`.

    The classes come from one-dimensional k-means with evenly spaced starts; a larger potential is a heavier element.
    Atoms whose fit failed (no positive integral) go to the lightest class. Values are clipped to the 5th and 95th
    percentile, because a few failed fits would otherwise form a class of their own.
    """
    logs = np.log(np.clip(np.nan_to_num(integrated, nan=0.0), 1e-3 * np.nanmax(integrated), None))
    ends = np.percentile(logs, [5, 95])
    logs = np.clip(logs, *ends)
    starts = np.linspace(*ends, len(numbers))
    centres, labels = kmeans2(logs, starts, minit="matrix")
    rank = np.argsort(np.argsort(centres))
    return np.sort(numbers)[rank[labels]]


def read_analysis(run: Path) -> dict[str, Any]:
    """Return analysis.json of a run, as `dptt analyze` wrote it."""
    return json.loads((run / "analysis.json").read_text())

"""Volumes from two independent halves of the patterns, compared with one another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dptt.analysis.atoms import TracedAtoms
from dptt.analysis.directional_correlation import axis_directions
from dptt.analysis.field_of_view import FieldOfView
from dptt.analysis.grid import VoxelSize
from dptt.analysis.half_sets import half_set_correlations, peak_noise_of_half_sets
from dptt.analysis.plain import to_plain
from dptt.analysis.registration import register_rigid
from dptt.analysis.resampling import shift_volume, transform_volume
from dptt.analysis.translation import register_translation
from dptt.assembly.resolution import masked, resolution_entries
from dptt.assembly.truth import undetermined_motion
from dptt.config import Config
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedVolume, read_volume

HALF_SET_CRITERION = 0.143
"""FSC of two halves where that of all data with the truth is 0.5."""


@dataclass(frozen=True)
class HalfSets:
    """Real potentials (z, y, x) [V] of two half-sets, and how they were registered with the volume of all data."""

    reference: np.ndarray
    """The volume of all data."""
    first: np.ndarray
    second: np.ndarray
    voxel_size: VoxelSize
    motion: str
    """Common motion that the data leave undetermined: none, translation or rigid."""
    moved: tuple[float, ...] = ()
    """By how far each half was moved [Å]: the larger of its shift and of what its rotation moves at the edge."""

    def registered(self) -> "HalfSets":
        """Return both halves moved onto the volume of all data, by the motion that the data leave undetermined.

        Each half has its own poses and probes, and so its own place of the specimen.
        """
        if self.motion == "none":
            return self
        pairs = [self._registered(half) for half in (self.first, self.second)]
        (first, moved_first), (second, moved_second) = pairs
        return HalfSets(self.reference, first, second, self.voxel_size, self.motion, (moved_first, moved_second))

    def _registered(self, half: np.ndarray) -> tuple[np.ndarray, float]:
        shift = register_translation(self.reference, half, self.voxel_size)
        half = shift_volume(half, shift, self.voxel_size).real
        distance = float(np.linalg.norm(shift))
        if self.motion == "translation":
            return half, distance
        rigid = register_rigid(self.reference, half, self.voxel_size)
        transform_volume(half, rigid.rotation, rigid.translation, self.voxel_size, out=half)
        radius = max(np.multiply(half.shape, self.voxel_size)) / 2
        return half, max(distance, float(np.radians(rigid.angle) * radius))


def read_half_sets(files: tuple[Path, Path], result: ReconstructedVolume, config: Config) -> HalfSets:
    """Return the half-sets in two volume files, as they are; `result` holds the real part of its volume.

    Raises
    ------
    ProblemsError
        A file cannot be read, or the volumes do not have one grid.
    """
    volumes = [read_volume(file, real_part=True) for file in files]
    problems = [
        f"half-set {file} has shape {half.volume.shape}, voxels of {half.voxel_size} Å; expected those of the "
        f"volume, {result.volume.shape} and {result.voxel_size} Å. Reconstruct it with the same `volume` section."
        for file, half in zip(files, volumes, strict=True)
        if half.volume.shape != result.volume.shape or not np.allclose(half.voxel_size, result.voxel_size)
    ]
    if problems:
        raise ProblemsError(config.run / "volume.h5", problems)
    first, second = (half.volume for half in volumes)
    return HalfSets(result.volume, first, second, result.voxel_size, undetermined_motion(config))


def compare_half_sets(halves: HalfSets, config: Config, view: FieldOfView | None) -> dict[str, Any]:
    """Return the resolution by the FSC of registered half-sets, corrected for mask and non-negativity."""
    voxel_size = halves.voxel_size
    nonnegative = config.reconstruction.regularisation.nonnegativity > 0

    def constrained(volume: np.ndarray) -> np.ndarray:
        return masked(np.maximum(volume, 0.0) if nonnegative else volume, voxel_size, config, view)

    whole, *cones = half_set_correlations(halves.first, halves.second, voxel_size, constrained, axis_directions())
    entries = resolution_entries(
        whole.corrected, [cone.corrected for cone in cones], criterion=HALF_SET_CRITERION, view=view
    )
    entries["fsc"] |= {
        "uncorrected": to_plain(whole.measured),
        "randomised": to_plain(whole.randomised),
        "randomised_from": to_plain(whole.randomised_from),
    }
    return {"reference": "half-sets", "half_sets": {"moved_A": list(halves.moved)}, **entries}


def judge_peaks(traced: TracedAtoms, halves: HalfSets, config: Config) -> dict[str, Any]:
    """Return the significance of every peak against the noise in the vacuum and against that of the half-sets.

    The smaller of the two counts.
    """
    sigma = peak_noise_of_half_sets(
        halves.first, halves.second, halves.voxel_size, traced.positions, config.analysis.min_separation
    )
    by_halves = np.divide(traced.peaks, sigma, out=np.full(len(sigma), np.inf), where=sigma > 0)
    significance = np.fmin(traced.significance, by_halves)
    return {
        "significance": to_plain(significance),
        "half_set_sigma": to_plain(sigma),
        "num_significant": int(np.sum(significance > traced.noise.level)),
    }

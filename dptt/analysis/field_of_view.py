"""What every tilt of a series sees of a specimen that continues beyond the scan.

A point r = (x, y, z) of the specimen lies at r' = R r + tau in the microscope; a tilt sees it if (x', y') is within
the rectangle of its scan positions. What only some tilts see is reconstructed from fewer, mostly high ones: it is
needed to explain their patterns, but it is not as good as what all tilts see.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt16
from scipy.spatial.transform import Rotation

from dptt.analysis.grid import Shape, VoxelSize, coordinate_axes


@dataclass(frozen=True)
class FieldOfView:
    """Poses and scanned rectangles of all tilts.

    Attributes
    ----------
    rotations : array (tilt, 3, 3)
        R, acting on (x, y, z).
    translations, lowest, highest : array (tilt, 2)
        tau, and the rectangle of the scan positions, (y, x) [Å].
    """

    rotations: Float64[np.ndarray, "tilt 3 3"]
    translations: Float64[np.ndarray, "tilt 2"]
    lowest: Float64[np.ndarray, "tilt 2"]
    highest: Float64[np.ndarray, "tilt 2"]

    @staticmethod
    def of(
        euler_angles: Sequence[tuple[float, float, float]],
        translations: Sequence[tuple[float, float]],
        scan_positions: Sequence[Float64[np.ndarray, "pos 2"]],
    ) -> "FieldOfView":
        """Return the view of tilts: poses (phi, theta, psi) [degrees] and (y, x) [Å], scan positions (y, x) [Å]."""
        return FieldOfView(
            Rotation.from_euler("xyz", list(euler_angles), degrees=True).as_matrix(),
            np.array(translations, dtype=np.float64),
            np.array([positions.min(0) for positions in scan_positions]),
            np.array([positions.max(0) for positions in scan_positions]),
        )

    def distances(self, points: Float[np.ndarray, "point 3"]) -> Float64[np.ndarray, "tilt point"]:
        """Return how far points (z, y, x) [Å] are within what each tilt sees [Å]; negative outside."""
        seen = np.einsum("tij,pj->tpi", self.rotations[:, 1::-1], points[:, ::-1]) + self.translations[:, None]
        inside: np.ndarray = np.minimum(seen - self.lowest[:, None], self.highest[:, None] - seen)
        return inside.min(axis=2)

    def holds(self, points: Float[np.ndarray, "point 3"], margin: float = 0.0) -> Bool[np.ndarray, " point"]:
        """Return whether all tilts see points (z, y, x) [Å], at least `margin` [Å] within their scans."""
        return np.asarray(self.distances(points).min(axis=0) >= margin)

    @property
    def lowest_frequency(self) -> float:
        """Of what is judged [1/Å]: the shape of the view does not imitate periods up to half the narrowest scan."""
        return 2 / float((self.highest - self.lowest).min())

    def counts(self, shape: Shape, voxel_size: VoxelSize) -> UInt16[np.ndarray, "z y x"]:
        """Return how many tilts see each voxel (z, y, x)."""
        planes = ((d >= 0).sum(axis=0, dtype=np.uint16) for d in self._by_planes(shape, voxel_size))
        return np.stack([plane.reshape(shape[1:]) for plane in planes])

    def window(self, shape: Shape, voxel_size: VoxelSize, edge: float) -> Iterator[Float64[np.ndarray, "y x"]]:
        """Yield a mask, plane by plane along z, that rises from 0 to 1 over the first `edge` [Å] of what all see."""
        for distances in self._by_planes(shape, voxel_size):
            plane = np.clip(distances.min(axis=0) / edge, 0.0, 1.0)
            yield (0.5 - 0.5 * np.cos(np.pi * plane)).reshape(shape[1:])

    def _by_planes(self, shape: Shape, voxel_size: VoxelSize) -> Iterator[Float64[np.ndarray, "tilt point"]]:
        """Yield the distances of the voxels of one plane after the other, so that few are in memory."""
        z, y, x = coordinate_axes(shape, voxel_size)
        lateral = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
        for depth in z:
            yield self.distances(np.column_stack([np.full(len(lateral), depth), lateral]))

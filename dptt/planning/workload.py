"""One reconstruction in numbers: everything that decides what it costs."""

import math
from dataclasses import dataclass

ROUNDING = 1e-3
"""Rows: less than this beyond a slab is not fetched."""


@dataclass(frozen=True)
class Workload:
    """[P] Algorithm 3 on one series; means over the tilts where these differ."""

    volume_shape: tuple[int, int, int]
    """Voxels (z, y, x)."""
    window_shape: tuple[int, int]
    """Pixels (y, x) of probe and pattern."""
    num_slices: int
    modes: int
    """Incoherent modes of the probe."""
    tilts: int
    patterns: int
    """Of a tilt, held-out ones included."""
    epochs: int
    batches: int
    """Minibatches of a tilt: updates of the volume."""
    scan_rows: tuple[int, int]
    """First and last row of the image at which a probe window begins."""
    held_out: float = 0.02
    """Fraction of the patterns that no update sees."""
    complex_volume: bool = True
    real_bytes: int = 4
    """Of a real number: 4 or 8."""
    compiled: bool = True
    """Whether compiled kernels do the work; plain torch needs more memory."""
    pattern_bytes: int = 0
    """Of a pattern in memory."""
    chunk_bytes: int = 4 << 20
    """Bound of the waves held at once."""
    data_bytes: int = 8 << 30
    """Patterns are kept in memory up to this, a rank."""
    gpu_bytes: int | None = None
    """Of a GPU that a rank may use, if GPUs compute: memory is then theirs."""
    resident: bool = False
    """Whether patterns stay on the GPU; see `planning.gpu`."""
    halo_rows: float = 0.0
    """Rows that a slab needs beyond its own, at both sides together; see `halo`."""
    halo_rows_most: float = 0.0
    """The same for the tilt that needs most."""
    refines_probe: bool = True
    refines_positions: bool = False
    refines_pose: bool = False
    filters_epochs: bool = False
    """A Butterworth filter after every epoch."""
    filters_tilts: bool = False
    """A layer filter after every tilt."""

    @property
    def voxels(self) -> int:
        """Of the whole volume."""
        return math.prod(self.volume_shape)

    @property
    def voxel_bytes(self) -> int:
        """Of one number of the volume."""
        return self.real_bytes * (2 if self.complex_volume else 1)

    @property
    def wave_bytes(self) -> int:
        """Of one complex number."""
        return 2 * self.real_bytes

    @property
    def updates(self) -> int:
        """Of the volume in an epoch."""
        return self.tilts * self.batches

    @property
    def batch(self) -> float:
        """Patterns of a minibatch."""
        return self.patterns * (1 - self.held_out) / self.batches

    @property
    def pattern_work(self) -> int:
        """Pixels × modes × slices of one pattern."""
        return math.prod(self.window_shape) * self.modes * self.num_slices


def halo(
    euler_angles: tuple[float, float, float],
    translation_rows: float,
    volume_shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
) -> float:
    """Return the rows along y that a slab needs beyond its own, at both its sides together.

    A rotation about y needs none. A row of the slices leaves its row of the volume by (column y of R) · (z, x), up to
    the corners; see `kernels.source_rows`. Angles (phi, theta, psi) in degrees, `translation_rows` along y in voxels.
    """
    phi, theta, psi = (math.radians(angle) for angle in euler_angles)
    along_z = math.cos(theta) * math.sin(phi)
    along_x = math.cos(psi) * math.sin(theta) * math.sin(phi) - math.sin(psi) * math.cos(phi)
    depth, _, width = (n * d / voxel_size[1] for n, d in zip(volume_shape, voxel_size, strict=True))
    reach = (abs(along_z) * depth + abs(along_x) * width) / 2
    return math.fsum(max(0, math.ceil(reach + side * translation_rows - ROUNDING)) for side in (-1, 1))

"""One reconstruction in numbers: everything that determines its cost."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

ROUNDING = 1e-3
"""Rows; less than this beyond a slab is not fetched."""
INTERPOLATED_ROWS = 12
"""On either side of a place between rows; `HALF` of `physics.sinc_weights`."""


@dataclass(frozen=True)
class Workload:
    """[P] Algorithm 3 on one series; means over the tilts where they differ."""

    volume_shape: tuple[int, int, int]
    """Voxels (z, y, x)."""
    window_shape: tuple[int, int]
    """Pixels (y, x) of probe and pattern."""
    num_slices: int
    modes: int
    """Incoherent modes of the probe."""
    tilts: int
    patterns: int
    """Patterns per tilt, held-out ones included."""
    epochs: int
    batches: int
    """Minibatches per tilt; each updates the volume."""
    scan_rows: tuple[int, int]
    """First and last row of the image at which a probe window begins."""
    pixels_per_voxel: float = 1.0
    """Pixels of the slices that the waves pass through, per voxel: more than one with angular padding."""
    held_out: float = 0.02
    """Fraction of the patterns that no update uses."""
    complex_volume: bool = True
    real_bytes: int = 4
    """Bytes of a real number: 4 or 8."""
    compiled: bool = True
    """Whether compiled kernels are used; plain torch needs more memory."""
    pattern_bytes: int = 0
    """Bytes of a pattern in memory."""
    chunk_bytes: int = 4 << 20
    """Maximum bytes of the waves computed at once."""
    data_bytes: int = 8 << 30
    """Maximum bytes of patterns that a rank keeps in memory."""
    gpu_bytes: int | None = None
    """Bytes of a GPU that a rank may use; None on CPUs. Peak memory is that of the GPU if set."""
    resident: bool = False
    """Whether patterns stay on the GPU; see `planning.gpu`."""
    halo_rows: float = 0.0
    """Rows that a slab needs beyond its own, at both sides together; see `halo`."""
    halo_rows_most: float = 0.0
    """`halo_rows` of the tilt that needs most."""
    refines_probe: bool = True
    refines_positions: bool = False
    refines_pose: bool = False
    filters_epochs: bool = False
    """Whether a Butterworth filter follows every epoch."""
    filters_tilts: bool = False
    """Whether a layer filter follows every tilt."""
    skewed: bool = False
    """Whether tilts are turned about another axis than y, as given or refined."""
    copies_volume: bool = False
    """Whether a copy of volume and momentum undoes an epoch; otherwise they are read from the checkpoint."""
    checkpoint_epochs: int = 1
    """Epochs between two checkpoints."""
    seconds_after_checkpoint: Callable[[float], float] | None = field(default=None, compare=False)
    """Time to the next checkpoint instead, from the seconds that writing one takes."""

    @property
    def voxels(self) -> int:
        """Voxels of the whole volume."""
        return math.prod(self.volume_shape)

    @property
    def voxel_bytes(self) -> int:
        """Bytes of a voxel."""
        return self.real_bytes * (2 if self.complex_volume else 1)

    @property
    def wave_bytes(self) -> int:
        """Bytes of a complex number."""
        return 2 * self.real_bytes

    @property
    def updates(self) -> int:
        """Updates of the volume per epoch."""
        return self.tilts * self.batches

    @property
    def batch(self) -> float:
        """Mean patterns per minibatch."""
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
    the corners, and where rows are interpolated, once for shifts and once for the direction in the plane, more rows
    count on either side; see `kernels.source_rows`. Angles (phi, theta, psi) in degrees, `translation_rows` along y
    in voxels.
    """
    phi, theta, psi = (math.radians(angle) for angle in euler_angles)
    along_z = math.cos(theta) * math.sin(phi)
    along_x = math.cos(psi) * math.sin(theta) * math.sin(phi) - math.sin(psi) * math.cos(phi)
    depth, _, width = (n * d / voxel_size[1] for n, d in zip(volume_shape, voxel_size, strict=True))
    reach = (abs(along_z) * depth + abs(along_x) * width) / 2
    turned = reach > ROUNDING
    between = turned or abs(translation_rows - round(translation_rows)) > ROUNDING
    moved = math.fsum(max(0, math.ceil(reach + side * translation_rows - ROUNDING)) for side in (-1, 1))
    return moved + 2 * INTERPOLATED_ROWS * (between + turned)

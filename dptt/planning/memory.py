"""Peak memory of a rank, on the host or on its GPU: what it keeps, and the most expensive moment of an update.

The moments follow `solvers.tomography.minibatch_update`: slices of the tilted volume, gradients of a minibatch, their
back-projection, the update, the pose, the filters. The sums count the arrays that exist at the same time in the code.
"""

from dataclasses import dataclass

from dptt.planning.bands import bands
from dptt.planning.layout import Layout, share
from dptt.planning.workload import Workload

TAPS_BYTES = 200
"""Per pixel of a plane being rotated, in addition to index, weight and value of its 8 taps: coordinates and masks."""
CONSTRAINED_BYTES = 24 << 20
"""For the planes that are constrained at once, see `kernels.volume_step.PIECE_VOXELS`."""
KEPT_PLANS = 4
"""Turnings of which tables are kept; see `kernels.rotation.PLANS`."""
TABLE_TAPS = 34
"""Weights of a pixel in these tables: 24, and up to √2 times as many where pixels are farther apart than voxels."""
UNNAMED_BYTES = 8 << 20
"""What the allocator keeps and libraries allocate at first use; measured, see docs/scaling.md."""
WAVES_ABOVE_CHUNK = 1.25
"""Factor for the workspace of the FFT in addition to the chunk of waves."""


@dataclass(frozen=True)
class Memory:
    """Peak memory of a rank where it computes [bytes], by purpose."""

    baseline: int
    """Python, torch and the libraries, before any data."""
    volume: int
    """Volume and momentum of the rank's own rows."""
    working: int
    """In addition, in the most expensive moment: copies of the volume, slices, waves; and tables of turnings."""
    patterns: int
    probes: int
    moment: str
    """Name of the most expensive moment."""

    @property
    def total(self) -> int:
        """All memory [bytes]."""
        return self.baseline + self.volume + self.working + self.patterns + self.probes


def peak_memory(workload: Workload, layout: Layout, baseline: int = 0) -> Memory:
    """Return the peak memory of the rank that needs most."""
    rows = share(workload.volume_shape[1], layout.slabs)
    own = workload.volume_shape[0] * rows * workload.volume_shape[2] * workload.voxel_bytes
    moments = _moments(workload, layout)
    moment = max(moments, key=lambda name: moments[name])
    copies = 2 + workload.refines_pose + 2 * workload.copies_volume  # the volume at the start of tilt, of the epoch
    if layout.tilt_groups > 1:
        copies += 2  # volume and momentum of the averages
    probe = workload.modes * _window(workload) * workload.wave_bytes
    return Memory(
        baseline + UNNAMED_BYTES,
        copies * own,
        round(moments[moment]) + turning_tables(workload, layout),
        pattern_memory(workload, layout),
        # with what undoes an epoch; scan positions in double precision, on the host: current, twice before the epoch,
        # of the series, and the exchange
        workload.tilts * (2 * probe + (workload.gpu_bytes is None) * workload.patterns * 16 * 5),
        moment,
    )


def keeps_patterns(workload: Workload, layout: Layout) -> bool:
    """Return whether patterns stay in the host's memory once read; see `assembly.problem.fits_in_memory`."""
    return workload.tilts * workload.patterns * workload.pattern_bytes <= workload.data_bytes * layout.ranks


def pattern_memory(workload: Workload, layout: Layout) -> int:
    """Return the bytes of patterns that a rank holds: its whole share, or those of this and the next minibatch."""
    batch = share(workload.batch, layout.group_ranks) * workload.pattern_bytes
    on_gpu = workload.gpu_bytes is not None
    if not (workload.resident if on_gpu else keeps_patterns(workload, layout)):
        return (2 if on_gpu else 3) * batch  # computed, read ahead; on the host one is brought into corner order
    patterns = share(workload.tilts, layout.tilt_groups) * share(workload.patterns, layout.group_ranks)
    return patterns * workload.pattern_bytes


def turning_tables(workload: Workload, layout: Layout) -> int:
    """Return the bytes of the weights that bring slices from the grid of shifted planes onto their pixels, and back.

    Code compiled for CPUs computes them where they are used; without a skew all lines of an image have the same.
    """
    if not workload.skewed or (workload.compiled and workload.gpu_bytes is None):
        return 0
    _, height, width = workload.volume_shape
    rows = min(height, share(height, layout.slabs) + workload.halo_rows_most)
    both_axes_and_ways = 4
    return round(KEPT_PLANS * both_axes_and_ways * rows * width * (TABLE_TAPS * workload.real_bytes + 8))


def _moments(workload: Workload, layout: Layout) -> dict[str, float]:
    """Return the bytes in addition to volume, patterns and probes, for every moment of an update."""
    depth, height, width = workload.volume_shape
    voxel, wave, real = workload.voxel_bytes, workload.wave_bytes, workload.real_bytes
    rows = share(height, layout.slabs)
    cut, held = layout.slabs > 1, layout.tilt_groups > 1
    sides = min(2, layout.slabs - 1) / 2  # of the halo; both of two slabs are outer ones
    with_halo = min(height, rows + sides * workload.halo_rows_most)
    own, piece = depth * rows * width * voxel, depth * with_halo * width * voxel
    foreign = 2 * (piece - own)  # as sent, and as put together
    # compiled kernels interpolate in registers and constrain in place
    taps = 0 if workload.compiled else rows * width * (8 * (8 + real + 2 * voxel) + TAPS_BYTES)
    band = bands(workload, layout).largest
    finer = workload.pixels_per_voxel**0.5
    image = workload.num_slices * band * width * wave * workload.pixels_per_voxel
    extended_shape = band * finer + workload.window_shape[0], width * finer + workload.window_shape[1]
    extended = workload.num_slices * extended_shape[0] * extended_shape[1] * wave
    one_position = ((workload.num_slices + 4) * workload.modes + 2 * workload.num_slices) * _window(workload) * wave
    one_by_one = workload.compiled and workload.gpu_bytes is None
    waves = one_position if one_by_one else WAVES_ABOVE_CHUNK * max(workload.chunk_bytes, one_position)
    spectrum = depth * rows * width * wave
    moments = {
        # foreign rows, what is being interpolated
        "slices of the tilted volume": foreign + taps + 2 * image,
        # transmission, the extended image and its gradient, the waves
        "gradients": image + 2 * extended + waves,
        # the folded gradient, the transmission gradient, the message
        "sum over ranks": 5 * image + extended,
        # the gradient, its quotient, the illumination and the bound (real); one image with its spectra
        "preconditioning": 3 * image + workload.num_slices * rows * width * wave + 4 * height * width * wave,
        # into the momentum; several tilt groups first hold their own update, with its halo, and then the sum of all
        "back-projection": 4 * image + (max(piece + taps, cut * (piece + own)) if held else foreign + taps),
        "update": 4 * image + held * own + (0 if workload.compiled else CONSTRAINED_BYTES),
    }
    if workload.refines_pose:
        moments["pose"] = 2 * image + cut * piece + 3 * taps
    if workload.filters_epochs or workload.filters_tilts:
        response = 2 if not workload.filters_tilts else 5  # real arrays of a response being computed
        workspace = workload.gpu_bytes is not None  # cuFFT's, as large as what it transforms
        moments["filter"] = spectrum * (2 + 2 * cut + workspace) + response * spectrum / 2
    return moments


def _window(workload: Workload) -> int:
    return workload.window_shape[0] * workload.window_shape[1]

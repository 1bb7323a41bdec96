"""Workloads for the tests: odd sizes, and the study of the slabs that was measured."""

from dataclasses import replace

from dptt.planning.workload import Workload, halo

ODD = Workload(
    volume_shape=(12, 45, 37),
    window_shape=(16, 14),
    num_slices=3,
    modes=2,
    tilts=5,
    patterns=42,
    epochs=4,
    batches=3,
    scan_rows=(2, 25),
    held_out=0.05,
    pattern_bytes=16 * 14 * 2,
)
TELLURIUM = Workload(  # the experiment of [P]
    volume_shape=(296, 296, 296),
    window_shape=(66, 66),
    num_slices=8,
    modes=3,
    tilts=26,
    patterns=220 * 220,
    epochs=300,
    batches=5,
    scan_rows=(5, 224),
    pattern_bytes=66 * 66 * 2,
)


def cube(size: int, off_axis: float = 0.0) -> Workload:
    """Return one update of a size³ volume, as `scripts/measure_slabs.py` makes it."""
    rows = halo((off_axis, 25.0, off_axis), 0.0, (size, size, size), (1.0, 1.0, 1.0))
    first = round(-(size - 80) / 2) + size // 2 - 32
    return replace(
        ODD,
        volume_shape=(size, size, size),
        window_shape=(64, 64),
        num_slices=8,
        modes=1,
        tilts=1,
        patterns=64,
        epochs=1,
        batches=1,
        held_out=0.0,
        scan_rows=(first, first + size - 80),
        pattern_bytes=64 * 64 * 4,
        halo_rows=rows,
        halo_rows_most=rows,
        refines_probe=False,
    )

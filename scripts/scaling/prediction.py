"""What the model says: of the runs that were measured, and of 1 to 1024 GPUs."""

from dataclasses import replace
from typing import Any

from dptt.planning.duration import epoch_duration
from dptt.planning.layout import Layout
from dptt.planning.machine import KNOWN, Machine
from dptt.planning.memory import peak_memory
from dptt.planning.recommendation import forecasts
from dptt.planning.traffic import bytes_per_update
from dptt.planning.workload import Workload

SIZES = (296, 512, 1024)
"""Voxels along each axis; 296 is the experiment of [P]."""
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TELLURIUM = Workload(
    volume_shape=(296, 296, 296),
    window_shape=(66, 66),
    num_slices=8,
    modes=3,
    tilts=26,
    patterns=220 * 220,
    epochs=30,
    batches=5,
    scan_rows=(5, 224),
    pattern_bytes=66 * 66 * 2,
    halo_rows=4.0,  # tilts up to a degree off the axis
    halo_rows_most=8.0,
)


def scaled(size: int) -> Workload:
    """Return the experiment of [P] with a volume of size³: the scanned area and the slices grow with it."""
    factor = size / TELLURIUM.volume_shape[0]
    scanned = 220 * 220 * factor**2
    margin = 5
    return replace(
        TELLURIUM,
        volume_shape=(size, size, size),
        num_slices=round(8 * factor),
        patterns=round(scanned),
        scan_rows=(margin, size - 67 - margin),
        halo_rows=TELLURIUM.halo_rows * factor,
        halo_rows_most=TELLURIUM.halo_rows_most * factor,
    )


def layout_of(one: dict[str, Any]) -> Layout:
    """Return the mesh of a measured run."""
    ranks = one["ranks"]
    return {
        "scan": Layout(scan=ranks),
        "slab": Layout(slabs=ranks),
        "scan-slab": Layout(scan=max(1, ranks // 2), slabs=min(2, ranks)),
        "tilt": Layout(tilt_groups=ranks),
    }[one["mode"]]


def compared(one: dict[str, Any], workload: Workload, machine: Machine) -> dict[str, Any]:
    """Return what was predicted of a measured run beside what was measured."""
    layout = layout_of(one)
    if one["every"] > 1:
        workload = replace(workload, patterns=len(range(0, workload.patterns, one["every"])))
    # processor time is that of a core to itself: the crowd of ranks on few cores does not count
    alone = machine.changed(full_speed=max(machine.full_speed, layout.ranks))
    busy = epoch_duration(workload, layout, alone)
    return {
        "study": one["study"],
        "layout": one["layout"],
        "ranks": one["ranks"],
        "epoch_seconds": (epoch_duration(workload, layout, machine).total, one["epoch_seconds"]),
        "cpu_seconds": (busy.patterns + busy.volume + busy.overhead, one["cpu_seconds"]),
        "bytes_per_update": (bytes_per_update(workload, layout), one["bytes_per_update"]),
        "peak_bytes": (peak_memory(workload, layout, machine.baseline).total, max(one["peak_bytes"])),
    }


def gpu_curves(machine: str) -> list[dict[str, Any]]:
    """Return the fastest layout, scan mode and slab mode for every size and number of GPUs."""
    found = []
    for size in SIZES:
        workload = scaled(size)
        alone = epoch_duration(workload, Layout(), KNOWN[machine]).total
        for count in GPUS:
            for one in forecasts(workload, KNOWN[machine], [count]):
                found.append(
                    {
                        "size": size,
                        "gpus": count,
                        "scan": one.layout.scan,
                        "slabs": one.layout.slabs,
                        "epoch_seconds": one.duration.total,
                        "communicate_seconds": one.duration.communicate,
                        "efficiency": alone / (count * one.duration.total),
                        "peak_GiB": one.memory.total / 2**30,
                        "fits": one.fits,
                    }
                )
    return found


def fastest(curves: list[dict[str, Any]], size: int, count: int) -> dict[str, Any] | None:
    """Return the fastest layout that fits in memory, None if there is none."""
    fitting = [one for one in curves if one["size"] == size and one["gpus"] == count and one["fits"]]
    return min(fitting, key=lambda one: one["epoch_seconds"], default=None)

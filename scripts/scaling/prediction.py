"""Predictions of `dptt.planning` for the measured runs and for 1 to 1024 GPUs."""

from dataclasses import replace
from typing import Any

from dptt.planning.duration import epoch_duration
from dptt.planning.gpu import RESERVE, on_gpu, placed
from dptt.planning.layout import Layout
from dptt.planning.machine import KNOWN, Machine
from dptt.planning.memory import peak_memory
from dptt.planning.recommendation import forecasts
from dptt.planning.traffic import bytes_per_update
from dptt.planning.workload import Workload

SIZES = (296, 512, 1024)
"""Voxels along each axis; 296 is that of the experiment in [P]."""
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
    data_bytes=128 << 30,  # of a node's memory for each of its GPUs
    halo_rows=4.0,  # tilts up to a degree off the axis
    halo_rows_most=8.0,
)


def scaled(size: int) -> Workload:
    """Return the experiment of [P] with a volume of size³; scanned area and number of slices grow with it."""
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


def layout_of(run: dict[str, Any]) -> Layout:
    """Return the mesh of a measured run."""
    ranks = run["ranks"]
    return {
        "scan": Layout(scan=ranks),
        "slab": Layout(slabs=ranks),
        "scan-slab": Layout(scan=max(1, ranks // 2), slabs=min(2, ranks)),
        "tilt": Layout(tilt_groups=ranks),
    }[run["mode"]]


def compared(run: dict[str, Any], workload: Workload, machine: Machine) -> dict[str, Any]:
    """Return pairs of predicted and measured numbers of a run."""
    layout = layout_of(run)
    if run["every"] > 1:
        workload = replace(workload, patterns=len(range(0, workload.patterns, run["every"])))
    # CPU time assumes a core for every rank; sharing cores does not change it
    unshared = machine.changed(full_speed=max(machine.full_speed, layout.ranks))
    busy = epoch_duration(workload, layout, unshared)
    return {
        "study": run["study"],
        "layout": run["layout"],
        "ranks": run["ranks"],
        "epoch_seconds": (epoch_duration(workload, layout, machine).total, run["epoch_seconds"]),
        "cpu_seconds": (busy.patterns + busy.volume + busy.overhead, run["cpu_seconds"]),
        "bytes_per_update": (bytes_per_update(workload, layout), run["bytes_per_update"]),
        "peak_bytes": (peak_memory(workload, layout, machine.baseline).total, max(run["peak_bytes"])),
    }


def gpu_curves(machine: str) -> list[dict[str, Any]]:
    """Return the fastest layout, scan mode and slab mode for every size and number of GPUs."""
    curves = []
    for size in SIZES:
        workload = on_gpu(scaled(size), round((1 - RESERVE) * KNOWN[machine].memory))
        one_gpu = epoch_duration(placed(workload, Layout())[0], Layout(), KNOWN[machine]).total
        for count in GPUS:
            for forecast in forecasts(workload, KNOWN[machine], [count]):
                curves.append(
                    {
                        "size": size,
                        "gpus": count,
                        "scan": forecast.layout.scan,
                        "slabs": forecast.layout.slabs,
                        "epoch_seconds": forecast.duration.total,
                        "communicate_seconds": forecast.duration.communicate,
                        "efficiency": one_gpu / (count * forecast.duration.total),
                        "peak_GiB": forecast.memory.total / 2**30,
                        "fits": forecast.fits,
                    }
                )
    return curves


def fastest(curves: list[dict[str, Any]], size: int, count: int) -> dict[str, Any] | None:
    """Return the fastest layout that fits into memory, None if no layout fits."""
    fitting = [
        forecast for forecast in curves if forecast["size"] == size and forecast["gpus"] == count and forecast["fits"]
    ]
    return min(fitting, key=lambda forecast: forecast["epoch_seconds"], default=None)

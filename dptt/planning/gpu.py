"""What a rank keeps on its GPU: the patterns or two minibatches of them, and how many waves at once.

Waves in smaller chunks cost little, so they give way first; patterns that are sent again every epoch travel while
others are computed, and give way next. Chunks are halved, so that a few bytes more or less do not change how sums
are rounded. The run and `dptt plan` decide here alike.
"""

from dataclasses import replace

from dptt.planning.layout import Layout
from dptt.planning.memory import Memory, pattern_memory, peak_memory
from dptt.planning.workload import Workload

MOST_WAVES = 1 << 30
"""Bytes: more at once are no faster."""
ENOUGH_WAVES = 1 << 27
"""Bytes: with fewer a large GPU would idle, and patterns leave it instead."""
LEAST_WAVES = 1 << 24
"""Bytes."""
RESERVE = 0.1
"""Of the memory that is free: what allocators lose between blocks, and libraries load at first use."""


def on_gpu(workload: Workload, gpu_bytes: int) -> Workload:
    """Return the workload of ranks that may use `gpu_bytes` of a GPU; its kernels are single precision's."""
    return replace(workload, gpu_bytes=gpu_bytes, compiled=workload.real_bytes == 4)


def placed(workload: Workload, layout: Layout) -> tuple[Workload, bool]:
    """Return the workload with what stays on the GPU chosen, and whether it fits; on a CPU it stays as it is."""
    if workload.gpu_bytes is None:
        return workload, True
    for resident, least in ((True, ENOUGH_WAVES), (False, LEAST_WAVES)):
        chunk = MOST_WAVES
        while chunk >= least:
            choice = replace(workload, resident=resident, chunk_bytes=chunk)
            if peak_memory(choice, layout).total <= workload.gpu_bytes:
                return choice, True
            chunk //= 2
    return replace(workload, resident=False, chunk_bytes=LEAST_WAVES), False


def host_memory(workload: Workload, layout: Layout, baseline: int) -> int:
    """Return the bytes of the host that a rank with a GPU takes: volume and momentum before they move, patterns."""
    own = workload.voxels * workload.voxel_bytes // layout.slabs
    few = replace(workload, gpu_bytes=None, data_bytes=0 if workload.resident else workload.data_bytes)
    return baseline + 2 * own + pattern_memory(few, layout)


def shortage(needed: Memory, gpu_bytes: int) -> str:
    """Return what to tell the user if a rank needs at least `needed`, and may use less."""
    parts = {
        "volume and momentum": needed.volume,
        needed.moment: needed.working,
        "two minibatches of patterns": needed.patterns,
        "probes": needed.probes,
    }
    listing = ", ".join(f"{_mebibytes(part)} for {name}" for name, part in parts.items())
    return (
        f"distribution.memory: a rank may use {gpu_bytes // 2**20} MiB of its GPU; expected at least "
        f"{_mebibytes(needed.total)} ({listing}). Allow more, cut the volume into more distribution.slabs, take more "
        "reconstruction.batches or larger voxels, or compute on the host with distribution.device=cpu"
    )


def _mebibytes(size: int) -> str:
    return f"{-(-size // 2**20)} MiB"

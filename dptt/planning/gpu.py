"""What a rank keeps on its GPU: all its patterns or two minibatches of them, and how many waves at once.

If memory is short, waves are first computed in smaller chunks, which costs little. Then patterns no longer stay on
the GPU: they are sent again in every epoch, while others are computed. Chunks are halved, so that a few bytes more or
less do not change how sums are rounded. The run and `dptt plan` decide in the same way.
"""

from dataclasses import replace

from dptt.planning.layout import Layout
from dptt.planning.memory import Memory, pattern_memory, peak_memory
from dptt.planning.workload import Workload

MOST_WAVES = 1 << 30
"""Bytes of the largest chunk of waves: larger ones are no faster."""
ENOUGH_WAVES = 1 << 27
"""Bytes of the smallest chunk with all patterns on the GPU: a smaller one would leave a large GPU idle."""
LEAST_WAVES = 1 << 24
"""Bytes of the smallest chunk."""
RESERVE = 0.1
"""Fraction of the free memory that is left to fragmentation and to what libraries load at first use."""


def on_gpu(workload: Workload, gpu_bytes: int) -> Workload:
    """Return the workload on ranks that may use `gpu_bytes` of a GPU; compiled kernels are single precision only."""
    return replace(workload, gpu_bytes=gpu_bytes, compiled=workload.real_bytes == 4)


def placed(workload: Workload, layout: Layout) -> tuple[Workload, bool]:
    """Return the workload with chunks and patterns placed on the GPU, and whether it fits; unchanged on a CPU."""
    if workload.gpu_bytes is None:
        return workload, True
    for resident, least in ((True, ENOUGH_WAVES), (False, LEAST_WAVES)):
        chunk = MOST_WAVES
        while chunk >= least:
            candidate = replace(workload, resident=resident, chunk_bytes=chunk)
            if peak_memory(candidate, layout).total <= workload.gpu_bytes:
                return candidate, True
            chunk //= 2
    return replace(workload, resident=False, chunk_bytes=LEAST_WAVES), False


def host_memory(workload: Workload, layout: Layout, baseline: int) -> int:
    """Return the host memory of a rank with a GPU [bytes]: patterns, and volume and momentum before they move."""
    own = workload.voxels * workload.voxel_bytes // layout.slabs
    on_host = replace(workload, gpu_bytes=None, data_bytes=0 if workload.resident else workload.data_bytes)
    return baseline + 2 * own + pattern_memory(on_host, layout)


def shortage(needed: Memory, gpu_bytes: int) -> str:
    """Return the error for a rank that needs at least `needed` but may use only `gpu_bytes`."""
    parts = {
        "volume and momentum": needed.volume,
        needed.moment: needed.working,
        "two minibatches of patterns": needed.patterns,
        "probes": needed.probes,
    }
    listing = ", ".join(f"{_mebibytes(part)} for {name}" for name, part in parts.items())
    return (
        f"distribution.memory: a rank may use {gpu_bytes // 2**20} MiB of its GPU; expected at least "
        f"{_mebibytes(needed.total)} ({listing}). Allow more memory, increase distribution.slabs or "
        "reconstruction.batches, use larger voxels, or compute on the host with distribution.device=cpu"
    )


def _mebibytes(size: int) -> str:
    return f"{-(-size // 2**20)} MiB"

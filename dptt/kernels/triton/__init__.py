"""The kernels in Triton, for any GPU that it compiles for; transforms between them are those of `torch.fft`.

Every sum has a fixed order, so that a run repeats itself bit by bit. With TRITON_INTERPRET=1, set before the first
import, the same sources run on a CPU, slowly: so they are tested where no GPU is at hand.
"""

from functools import cache

from dptt.kernels.implementation import Kernels


@cache
def loaded() -> Kernels | None:
    """Return the kernels, or None where Triton is missing or cannot run."""
    try:
        from dptt.kernels.triton import language, multislice, rotation, volume_step
    except ImportError:
        return None
    return Kernels(multislice, rotation, volume_step) if language.can_run() else None

"""The parts, the most important first: what each runs on a GPU, and what stands for it in a rehearsal on a CPU.

Sums of the limits exceed the nine minutes: most parts end long before theirs, and what is last has the rest.
`{out}` is the folder of a part's own results.
"""

import sys
from dataclasses import dataclass

_PYTHON = (sys.executable,)
_BENCHMARK = (*_PYTHON, "scripts/benchmark.py", "--repeats", "5", "--output", "{out}")
_PYTEST = (*_PYTHON, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "--override-ini=filterwarnings=")
_DEVICES = "tests/solvers/tomography/test_devices.py"


@dataclass(frozen=True)
class Part:
    """One part of the acceptance."""

    name: str
    seconds: float
    """Limit."""
    command: tuple[str, ...]
    """On the GPU."""
    rehearsal: tuple[str, ...]
    """On a CPU."""


def _benchmark(name: str, seconds: float, workload: str, rehearsed: str) -> Part:
    on_gpu = (*_BENCHMARK, "--device", "cuda", "--only", workload)
    return Part(name, seconds, on_gpu, (*_BENCHMARK, "--only", rehearsed))


_KERNEL_TESTS = "cuda or triton or finished or step_by or parts_of or slice_projection or devices"
_SMALL_KERNEL = "kernel: 1024 positions, 64², 1 modes"

PARTS = (
    Part(
        "correctness",
        130,
        (*_PYTEST, "-n", "8", "tests/kernels", _DEVICES, "-k", _KERNEL_TESTS),
        (*_PYTEST, "tests/kernels/test_cuda_plan.py", _DEVICES),
    ),
    _benchmark("tilt-iteration", 100, "tilt-iteration: 296³", "tilt-iteration: 128³"),
    Part(
        "quickstart",
        120,
        (*_PYTHON, "-m", "gpu_acceptance.quickstart", "{out}"),
        (*_PYTHON, "-m", "gpu_acceptance.quickstart", "{out}", "--rehearse"),
    ),
    _benchmark("kernels-66", 50, "kernel: 1024 positions, 66²", _SMALL_KERNEL),
    _benchmark("large-windows", 70, "kernel: 16384 positions, 128², 6 modes", _SMALL_KERNEL),
    Part(
        "paper-experiment",
        250,
        (*_BENCHMARK, "--device", "cuda", "--only", "epochs: 23_te_nanotube_full"),
        (*_PYTHON, "-m", "dptt", "plan", "jobs/configs/23_te_nanotube_full.yaml"),  # hours on a CPU
    ),
    _benchmark("kernels-128", 50, "kernel: 256 positions, 128²", _SMALL_KERNEL),
    _benchmark("kernels-64", 60, "kernel: 1024 positions, 64²", _SMALL_KERNEL),
)

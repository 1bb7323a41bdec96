"""What is installed and what it gives: the findings of `dptt doctor`.

A part that is missing or broken is a finding, never an exception: the doctor is called when something is wrong.
"""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from dptt import __version__

Verdict = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """One part of the installation."""

    part: str
    verdict: Verdict
    found: str
    """What there is, with its version; or what is wrong."""
    gives: str
    """What dptt does with it, or does instead."""
    cure: str = ""
    """How to get what is missing; empty if nothing is to be done."""
    needed: bool = False
    """Whether nothing works without it."""


PLUGINS = {
    "hdf5plugin": "reads HDF5 files compressed by detectors (bitshuffle, LZ4, Zstd)",
    "rsciio": "reads the files of most microscopes, for `dptt import`",
    "zarr": "reads zarr; writes OME-Zarr",
    "tifffile": "reads and writes TIFF",
}
"""Module -> what it gives."""
DISTRIBUTIONS = {"rsciio": "rosettasciio"}
"""Module -> name for pip, where it is another one."""


def findings() -> list[Finding]:
    """Return what is found of every part, needed ones first."""
    parts: dict[str, Callable[[], list[Finding]]] = {
        "Python": _python,
        "PyTorch": _torch,
        "GPU": _gpu,
        "compiled kernels": _compiled_kernels,
        "HDF5": _hdf5,
        "MPI": _mpi,
        "plugins": _plugins,
        "cluster": _cluster,
    }
    return [finding for part, examine in parts.items() for finding in _examined(part, examine)]


def _examined(part: str, examine: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return examine()
    except Exception as error:  # whatever a broken library raises when it is imported or asked
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return [Finding(part, "broken", what, "cannot be used", "install it again", part in ("PyTorch", "HDF5"))]


def _python() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.prefix}"
    memory = ""
    with suppress(OSError, ValueError, AttributeError):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    threads = os.environ.get("OMP_NUM_THREADS")
    limited = f"; OMP_NUM_THREADS={threads} limits the threads" if threads else ""
    return [
        Finding("dptt", "ok", __version__, str(Path(__file__).resolve().parents[1]), needed=True),
        Finding("Python", "ok", found, f"{cores} cores{memory}{limited}", needed=True),
    ]


def _torch() -> list[Finding]:
    try:
        import torch
    except ModuleNotFoundError:
        cure = "pip install torch --index-url https://download.pytorch.org/whl/cpu, or the CUDA build for your GPU"
        return [Finding("PyTorch", "missing", "not installed", "nothing runs without it", cure, needed=True)]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "build for CPUs"
    return [Finding("PyTorch", "ok", f"{torch.__version__} ({build})", "all computing", needed=True)]


def _gpu() -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        from dptt.kernels import cuda, triton

        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GiB)" for one in names)
        kernels = "the fused CUDA kernel" if cuda.loaded() else "Triton" if triton.loaded() else ""
        if kernels:
            return [Finding("GPU", "ok", found, f"used by default, with {kernels}")]
        return [Finding("GPU", "broken", found, "used with plain PyTorch, slowly", "pip install triton")]
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    if driver and torch.version.cuda is None:
        cure = "pip install torch from the CUDA index that https://pytorch.org/get-started names"
        return [
            Finding("GPU", "broken", "an NVIDIA driver, but PyTorch is the build for CPUs", "the CPU is used", cure)
        ]
    if driver:
        cure = "nvidia-smi tells whether the driver sees the GPU; check CUDA_VISIBLE_DEVICES"
        return [Finding("GPU", "broken", "an NVIDIA driver, but PyTorch finds no GPU", "the CPU is used", cure)]
    return [Finding("GPU", "missing", "none", "the CPU is used")]


def _compiled_kernels() -> list[Finding]:
    from dptt.kernels import cpu

    numba = _version("numba")
    if numba is None:
        slow = "plain PyTorch on CPUs, several times slower"
        return [Finding("numba", "missing", "not installed", slow, "pip install numba")]
    reason = cpu.missing()
    if reason:
        return [Finding("compiled kernels", "broken", f"numba {numba}, but {reason}", "plain PyTorch on CPUs")]
    return [
        Finding("numba", "ok", numba, "kernels compiled for this CPU"),
        Finding("transforms", "ok", cpu.transforms_in_use(), "Fourier transforms of the compiled kernels"),
    ]


def _hdf5() -> list[Finding]:
    import h5py

    parallel = bool(h5py.get_config().mpi)
    found = f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, {'with' if parallel else 'without'} MPI"
    gives = "ranks write one file together" if parallel else "ranks send rows to the first one, which writes them"
    return [Finding("HDF5", "ok", found, gives, "" if parallel else "on a cluster: bash scripts/setup_mpi.sh", True)]


def _mpi() -> list[Finding]:
    starter = shutil.which("mpirun") or shutil.which("mpiexec")
    if _version("mpi4py") is None:
        without = "several ranks by torchrun or srun, with gloo or NCCL"
        return [
            Finding("MPI", "missing", "mpi4py is not installed", without, "bash scripts/setup_mpi.sh on a cluster")
        ]
    mpi4py = importlib.import_module("mpi4py")
    mpi4py.rc.initialize = False  # asking for the version must not start MPI
    library = importlib.import_module("mpi4py.MPI").Get_library_version().strip("\0 \n").splitlines()[0][:60]
    found = f"mpi4py {mpi4py.__version__}, {library}"
    if starter is None:
        cure = "load the module of your cluster's MPI, or install openmpi-bin"
        return [Finding("MPI", "broken", f"{found}; no mpirun", "srun alone can start ranks", cure)]
    return [Finding("MPI", "ok", found, f"ranks started by {starter}")]


def _plugins() -> list[Finding]:
    result = []
    for module, gives in PLUGINS.items():
        name = DISTRIBUTIONS.get(module, module)
        number = _version(name)
        if number is None:
            result.append(Finding(name, "missing", "not installed", gives, "pip install 'dptt[formats]'"))
        else:
            importlib.import_module(module)
            result.append(Finding(name, "ok", number, gives))
    return result


def _cluster() -> list[Finding]:
    result = []
    for program, gives in (("sbatch", "submits the jobs of `dptt plan`"), ("apptainer", "runs jobs in a container")):
        path = shutil.which(program)
        found = ("ok", path) if path else ("missing", "not on this machine")
        result.append(Finding(program, found[0], found[1], gives))  # type: ignore[arg-type]
    return result


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None

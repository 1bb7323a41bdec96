"""Where a rank computes: on its GPU, if it has one, and how much of the memory of that GPU it may use."""

from collections.abc import Callable

import torch

from dptt.assembly.device_use import ON_HOST, DeviceUse, gpu_use
from dptt.distributed.comm import Communicator
from dptt.distributed.launch import LaunchError
from dptt.distributed.mesh import Mesh
from dptt.logs import log
from dptt.model.transfer import ToGpu
from dptt.planning.gpu import RESERVE, on_gpu
from dptt.planning.layout import Layout
from dptt.planning.workload import Workload


def compute_device(setting: str) -> torch.device:
    """Return the device of this rank for the value of `distribution.device`.

    `distributed.joining` has already selected one of several GPUs.

    Raises
    ------
    LaunchError
        The value is ``cuda``, but there is no GPU.
    """
    if torch.cuda.is_available() and setting != "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    if setting == "cuda":
        build = "this PyTorch is a build for CPUs" if torch.version.cuda is None else "PyTorch finds no GPU"
        raise LaunchError(
            f"distribution.device: got cuda, but {build}. Install a build for CUDA, check the driver and "
            "CUDA_VISIBLE_DEVICES, or use distribution.device=cpu"
        )
    return torch.device("cpu")


def on_device(device: torch.device) -> str:
    """Return the end of a log line that names the GPU; empty on a CPU."""
    return f", on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""


def use_of(
    device: torch.device, workload: Callable[[], Workload], mesh: Mesh, memory: float | None, world: Communicator
) -> DeviceUse:
    """Return how the ranks of `world` use their devices, the same on all, and log it.

    Parameters
    ----------
    workload
        Returns what each `mesh` of ranks will compute; called on GPUs only.
    memory
        `distribution.memory` [MiB].

    Raises
    ------
    ConfigError, LaunchError
        On every rank: the GPUs have less memory than is set or needed, or some ranks have no GPU.
    """
    gpu_bytes = gpu_share(world.gather_messages(_free(device)), memory)
    if gpu_bytes is None:
        return ON_HOST
    layout = Layout(mesh.tilt.size, mesh.scan.size, mesh.slab.size)
    use = gpu_use(on_gpu(workload(), gpu_bytes), layout, ToGpu(device))
    log.info(use.description)
    return use


def gpu_share(messages: list[str], memory: float | None) -> int | None:
    """Return the bytes of its GPU that each rank may use, from the `_free` of every rank; None on CPUs.

    Raises
    ------
    LaunchError
        Only some ranks have a GPU, or less than `memory` [MiB] is free.
    """
    if not any(messages):
        return None
    if not all(messages):
        without = ", ".join(str(rank) for rank, message in enumerate(messages) if not message)
        raise LaunchError(
            f"rank(s) {without} of {len(messages)} have no GPU, the others have one; expected all or none. Start all "
            "ranks on hosts with GPUs, or use distribution.device=cpu"
        )
    gpus, free_bytes = zip(*(message.split() for message in messages), strict=True)
    free = min(int(number) // gpus.count(gpu) for gpu, number in zip(gpus, free_bytes, strict=True))
    if memory is None:
        return int((1 - RESERVE) * free)
    if memory * 2**20 > free:
        raise LaunchError(
            f"distribution.memory: got {memory:g} MiB for every rank, but only {free // 2**20} MiB per rank are free "
            f"on the fullest GPU, which up to {max(map(gpus.count, gpus))} rank(s) share. Reduce it, end other "
            "programs on the GPU, or remove the setting to use what is free"
        )
    return int(memory * 2**20)


def _free(device: torch.device) -> str:
    """Return the name of the GPU, the same for all ranks on it, and its free memory [bytes]; empty for a CPU."""
    if device.type != "cuda":
        return ""
    torch.cuda.empty_cache()  # cached by an earlier step
    return f"{torch.cuda.get_device_properties(device).uuid} {torch.cuda.mem_get_info(device)[0]}"

"""Where a rank computes: on its GPU, if there is one, and what of that GPU is its own."""

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


def compute_device(wish: str) -> torch.device:
    """Return the device of this rank for `distribution.device`; `distributed.joining` has chosen among its GPUs.

    Raises
    ------
    LaunchError
        A GPU is asked for, and there is none.
    """
    if torch.cuda.is_available() and wish != "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    if wish == "cuda":
        build = "this PyTorch is a build for CPUs" if torch.version.cuda is None else "PyTorch sees no GPU here"
        raise LaunchError(
            f"distribution.device: got cuda, but {build}. Install a build for CUDA, check the driver and "
            "CUDA_VISIBLE_DEVICES, or use distribution.device=cpu"
        )
    return torch.device("cpu")


def on_device(device: torch.device) -> str:
    """Return how a log line ends: nothing on a CPU."""
    return f", on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""


def use_of(
    device: torch.device, workload: Callable[[], Workload], mesh: Mesh, wish: float | None, world: Communicator
) -> DeviceUse:
    """Return how the ranks of `world` use their devices, the same on all, and log it.

    Parameters
    ----------
    workload
        Returns what each `mesh` of them will compute; asked for GPUs only.
    wish
        `distribution.memory` [MiB].

    Raises
    ------
    ConfigError, LaunchError
        On every rank: the GPUs hold less than is wished or needed, or some ranks have none.
    """
    gpu_bytes = gpu_share(world.gather_messages(_free(device)), wish)
    if gpu_bytes is None:
        return ON_HOST
    layout = Layout(mesh.tilt.size, mesh.scan.size, mesh.slab.size)
    use = gpu_use(on_gpu(workload(), gpu_bytes), layout, ToGpu(device))
    log.info(use.description)
    return use


def gpu_share(told: list[str], wish: float | None) -> int | None:
    """Return the bytes of a GPU that any rank may use, from what each of them told by `_free`; None on CPUs.

    Raises
    ------
    LaunchError
        Ranks have a GPU and others have none, or less is free than `wish` [MiB].
    """
    if not any(told):
        return None
    if not all(told):
        without = ", ".join(str(rank) for rank, one in enumerate(told) if not one)
        raise LaunchError(
            f"rank(s) {without} of {len(told)} have no GPU, the others have one; expected all or none. Start them on "
            "hosts that are alike, or use distribution.device=cpu"
        )
    gpus = [one.split()[0] for one in told]
    free = min(int(one.split()[1]) // gpus.count(one.split()[0]) for one in told)
    if wish is None:
        return int((1 - RESERVE) * free)
    if wish * 2**20 > free:
        raise LaunchError(
            f"distribution.memory: got {wish:g} MiB for every rank, but {free // 2**20} MiB are free for each on the "
            f"fullest GPU; up to {max(map(gpus.count, gpus))} rank(s) share one. Ask for less, end what else runs "
            "there, or leave it out to take what is free"
        )
    return int(wish * 2**20)


def _free(device: torch.device) -> str:
    """Return the name of a GPU, the same for all its ranks, and its free memory [bytes]; nothing for a CPU."""
    if device.type != "cuda":
        return ""
    torch.cuda.empty_cache()  # what an earlier step gave back
    return f"{torch.cuda.get_device_properties(device).uuid} {torch.cuda.mem_get_info(device)[0]}"

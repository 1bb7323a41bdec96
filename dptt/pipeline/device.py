"""Where a rank computes: on its GPU, if there is one."""

import torch

from dptt.distributed.launch import LaunchError


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

"""Where a rank computes, with and without a GPU; one is pretended."""

import pytest
import torch

from dptt.distributed.launch import LaunchError
from dptt.runtime.device import compute_device, on_device


@pytest.fixture
def gpus(monkeypatch):
    """Let PyTorch say that there are so many GPUs, of which the last is this rank's."""

    def pretend(count: int, build: str | None = "13.0") -> None:
        monkeypatch.setattr(torch.version, "cuda", build)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: count - 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")

    return pretend


@pytest.mark.parametrize("wish", ["auto", "cuda"])
def test_a_rank_computes_on_the_gpu_that_was_chosen_for_it(gpus, wish):
    gpus(3)
    device = compute_device(wish)
    assert device == torch.device("cuda", 2)
    assert on_device(device) == ", on card 2"


def test_a_rank_leaves_the_gpu_alone_if_it_is_told_to(gpus):
    gpus(1)
    assert compute_device("cpu") == torch.device("cpu")


def test_without_a_gpu_a_rank_computes_on_the_cpu_and_does_not_mention_it(gpus):
    gpus(0)
    assert compute_device("auto") == torch.device("cpu")
    assert on_device(torch.device("cpu")) == ""


@pytest.mark.parametrize(("build", "reason"), [(None, "a build for CPUs"), ("13.0", "PyTorch finds no GPU")])
def test_a_gpu_that_is_asked_for_and_missing_is_refused_with_the_reason(gpus, build, reason):
    gpus(0, build)
    with pytest.raises(LaunchError, match=f"distribution.device: got cuda, but .*{reason}.*distribution.device=cpu"):
        compute_device("cuda")

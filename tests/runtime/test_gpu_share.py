"""What of a GPU is a rank's own: the same on all ranks, whoever shares a GPU with whom."""

import pytest
import torch

from dptt.assembly.device_use import ON_HOST
from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.launch import LaunchError
from dptt.distributed.mesh import Mesh
from dptt.model.transfer import SameMemory
from dptt.planning.workload import Workload
from dptt.runtime.device import gpu_share, use_of

GIBIBYTE = 1 << 30
TINY = Workload((8, 9, 7), (4, 5), 2, 1, tilts=3, patterns=11, epochs=1, batches=2, scan_rows=(0, 9))


def told(*gpus: tuple[str, float]) -> list[str]:
    """Return what ranks tell of their GPU and its free memory [GiB]."""
    return [f"{name} {round(free * GIBIBYTE)}" if name else "" for name, free in gpus]


def test_a_tenth_of_what_is_free_is_left():
    assert gpu_share(told(("a", 80)), None) == pytest.approx(72 * GIBIBYTE, rel=1e-9)


def test_ranks_on_one_gpu_share_it_and_all_ranks_take_what_the_poorest_has():
    assert gpu_share(told(("a", 80), ("b", 80)), None) == pytest.approx(72 * GIBIBYTE, rel=1e-9)
    assert gpu_share(told(("a", 80), ("b", 40)), None) == pytest.approx(36 * GIBIBYTE, rel=1e-9)
    assert gpu_share(told(("a", 80), ("a", 79), ("b", 60)), None) == pytest.approx(0.45 * 79 * GIBIBYTE, rel=1e-9)


def test_a_wish_is_taken_as_it_is_where_it_fits():
    assert gpu_share(told(("a", 80), ("b", 5)), 4096.0) == 4 * GIBIBYTE
    assert gpu_share(told(("a", 8), ("a", 8)), 4096.0) == 4 * GIBIBYTE


def test_a_wish_for_more_than_is_free_is_refused_with_both_numbers():
    with pytest.raises(LaunchError, match=r"distribution.memory: got 4100 MiB .* 4096 MiB per rank .* 2 rank\(s\)"):
        gpu_share(told(("a", 8), ("a", 8)), 4100.0)


def test_hosts_alone_have_no_gpu_and_some_hosts_alone_are_refused():
    assert gpu_share(["", ""], 4096.0) is None
    with pytest.raises(LaunchError, match=r"rank\(s\) 1, 2 of 3 have no GPU"):
        gpu_share(told(("a", 8), ("", 0), ("", 0)), None)


def test_a_gpu_is_named_by_what_all_its_ranks_see_and_asked_once_what_is_free(monkeypatch, caplog):
    asked = []

    class Properties:
        uuid = "a1b2"

    class Pair(SerialCommunicator):
        """Two ranks on one GPU, of which the other saw a little less."""

        size = 2

        def gather_messages(self, message):
            assert message == f"a1b2 {8 * GIBIBYTE}"
            return [message, f"a1b2 {7 * GIBIBYTE}"]

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (asked.append(d), (8 * GIBIBYTE, 0))[1])
    monkeypatch.setattr("dptt.runtime.device.ToGpu", lambda device: SameMemory())
    gpu = torch.device("cuda", 3)
    with caplog.at_level("INFO", logger="dptt"):
        use = use_of(gpu, lambda: TINY, Mesh.serial(), None, Pair())
    assert asked == [gpu]
    assert use.resident and use.chunk_bytes == GIBIBYTE
    assert f"a rank may use {0.45 * 7 * 1024:.4g} MiB of its GPU" in caplog.text


def test_on_a_host_nothing_is_planned():
    def workload():
        raise AssertionError("asked for nothing")

    cpu, mesh = torch.device("cpu"), Mesh.serial()
    assert use_of(cpu, workload, mesh, 100.0, SerialCommunicator()) is ON_HOST

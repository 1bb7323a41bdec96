"""A damaged checkpoint costs one epoch, and never the sound one before it."""

import numpy as np
import pytest
from command_line import checkpoint, epochs_of, run_ranks

from dptt.io.checkpoint import load_checkpoint

QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2"]


@pytest.mark.parametrize(
    ("ranks", "place"),
    [
        (1, "volume"),
        pytest.param(2, "root", marks=pytest.mark.thorough),
        pytest.param(1, "root", marks=pytest.mark.thorough),
        pytest.param(2, "volume", marks=pytest.mark.thorough),
    ],
)
def test_a_run_continues_from_the_one_before(tiny, tmp_path, place, ranks):
    def reconstruct(run, epochs):
        arguments = ["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", f"reconstruction.epochs={epochs}", *QUICK]
        ended = run_ranks(ranks, arguments, tmp_path / "said")
        assert [one.code for one in ended] == [0] * ranks, ended
        return "".join(one.stderr for one in ended)

    reconstruct(tmp_path / "whole", 3)
    run = tmp_path / "run"
    reconstruct(run, 2)
    data = bytearray((run / "checkpoint.h5").read_bytes())
    volume = data.index(np.ascontiguousarray(checkpoint(run)["volume"][0]).tobytes())
    data[200 if place == "root" else volume + 100] ^= 4
    (run / "checkpoint.h5").write_bytes(data)
    said = reconstruct(run, 3)
    assert "checkpoint.h5 is missing or damaged; checkpoint.h5.previous, the one before it, is sound" in said
    assert "resumed from" in said and "after epoch 1" in said
    assert (run / "checkpoint.h5.damaged").read_bytes() == data
    assert load_checkpoint(run / "checkpoint.h5.previous")[1]["epoch"] == 2
    np.testing.assert_array_equal(checkpoint(run)["volume"], checkpoint(tmp_path / "whole")["volume"])
    assert epochs_of(run) == [1, 2, 3]

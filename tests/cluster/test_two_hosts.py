"""Two hosts lose each other in mid-run: both stop with the message, and the resumed run gives the same volume."""

import subprocess
import time

from launchers import until
from small_run import arguments, assert_same_result, epochs_done

EPOCHS = "reconstruction.epochs=6"
PATIENCE = 60.0
"""Of distribution.patience; a peer that gives no sign of life is dead within a tenth of it."""


def test_both_hosts_stop_when_the_link_is_cut_and_the_run_resumes(
    torchrun_on, two_hosts, small_series, reconstructed_alone, tmp_path
):
    run = tmp_path / "run"
    words = arguments("reconstruct", small_series, run, EPOCHS, f"distribution.patience={PATIENCE}")
    started = torchrun_on(1, words, nodes=2)
    until(lambda: epochs_done(run) >= 2, started[0])
    two_hosts.cut("h2")
    try:
        cut_at = time.monotonic()
        ended = [one.wait(PATIENCE / 10 + 40.0) for one in started]
        seconds = time.monotonic() - cut_at
    finally:
        two_hosts.mend("h2")
    done = epochs_done(run)
    assert 2 <= done < 6, "the link was cut in mid-run"
    assert all(one.code != 0 for one in ended)
    print(f"both ended {seconds:.1f} s after the cut")
    assert "error: rank 1 (host h2" in ended[0].output, ended[0].output
    assert "error: the connection to h1" in ended[1].output, ended[1].output
    assert not (run / "volume.h5").exists()

    ended = [one.wait() for one in torchrun_on(1, words, nodes=2)]
    assert [one.code for one in ended] == [0, 0], ended[0].output
    assert "resumed from" in ended[0].output
    assert_same_result(run, reconstructed_alone(EPOCHS))


def test_a_run_folder_that_is_a_disk_of_each_host_is_refused_and_the_host_is_named(
    torchrun_on, two_hosts, small_series, tmp_path
):
    run = tmp_path / "run"
    run.mkdir()
    mount = ["mount", "-t", "tmpfs", "of-h2", str(run)]
    subprocess.run(two_hosts.on("h2", mount), check=True, timeout=20)
    words = arguments("reconstruct", small_series, run, EPOCHS, f"distribution.patience={PATIENCE}")
    ended = [one.wait(PATIENCE) for one in torchrun_on(1, words, nodes=2)]
    subprocess.run(two_hosts.on("h2", ["umount", str(run)]), check=True, timeout=20)
    said = "".join(one.output for one in ended)
    assert all(one.code != 0 for one in ended)
    assert said.count(f"error: rank 1 (host h2): {run}: is not the folder of the run that rank 0 has") == 1, said
    assert list(run.iterdir()) == []

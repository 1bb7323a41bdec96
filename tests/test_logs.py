"""What the log says of a long work."""

import logging

from dptt import logs
from dptt.logs import progress_bar


def test_a_log_without_a_bar_says_once_a_minute_how_far_the_work_is(monkeypatch, caplog):
    clock = iter([0.0, 10.0, 59.0, 61.0, 61.0, 100.0, 110.0, 110.0, 172.0, 172.0])
    monkeypatch.setattr(logs.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(logs.log, "propagate", True)
    caplog.set_level(logging.INFO, "dptt")
    with progress_bar("reconstruct", "tilt") as progress:  # begins at 0 s
        progress.update(40, 104)  # of a resumed run, 10 s
        progress.update(41, 104)  # 59 s: not yet
        progress.update(42, 104)  # 61 s
        progress.update(43, 104)  # 100 s
        progress.say("epoch 1")  # 110 s
        progress.update(44, 104)  # 110 s: an epoch has just been told
        progress.update(52, 104)  # 172 s
    assert caplog.messages == [
        "reconstruct: 42 of 104 tilts, about 26 min to go",
        "epoch 1",
        "reconstruct: 52 of 104 tilts, about 12 min to go",
    ]


def test_other_ranks_say_nothing(monkeypatch, caplog):
    monkeypatch.setattr(logs, "SILENCE", -1.0)
    caplog.set_level(logging.INFO, "dptt")
    monkeypatch.setattr(logs.log, "propagate", True)
    for rank, lines in ((1, 0), (0, 1)):
        with progress_bar("align", "tilt", rank) as progress:
            progress.update(1, 9)
            progress.update(2, 9)
        assert len(caplog.messages) == lines

"""How far apart checkpoints are, by the clock."""

import pytest

from dptt.config.distribution import checkpoint_interval
from dptt.distributed.mesh import Mesh
from dptt.runtime import pace as pace_module
from dptt.runtime.pace import Pace


@pytest.mark.parametrize(
    ("interval", "writing", "due"),
    [
        ("auto", 0.05, range(1, 31)),
        ("auto", 0.5, [1, 11, 21]),  # the second begins 9.5 s after the first is written
        ("auto", 1.0, [1, 20]),
        ("0.2 min", 0.5, [1, 13, 25]),
        ("4", 0.5, [1, 4, 8, 12, 16, 20, 24, 28]),
    ],
)
def test_auto_spends_a_twentieth_of_the_time_and_shows_early_that_it_can_write(monkeypatch, interval, writing, due):
    """Thirty epochs of a second, with checkpoints that take `writing` seconds."""
    clock = [0.0]
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: clock[0])
    pace, written = Pace(checkpoint_interval(interval)), []
    for epoch in range(1, 31):
        clock[0] += 1.0
        if pace.is_due(epoch, Mesh.serial().world):
            with pace.writing():
                clock[0] += writing
            written.append(epoch)
    assert written == list(due)

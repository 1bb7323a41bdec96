import threading
import time
import weakref

import numpy as np
import pytest
import torch

from dptt.model.faulty_patterns import PatternLimits
from dptt.model.patterns import Delivery, PatternReader, StoredPatterns, centre_window
from dptt.model.read_ahead import ReadAhead

DETECTOR = (7, 10)
AHEAD = ReadAhead()


def stored_patterns(number=12):
    return np.arange(number * 70, dtype=np.uint16).reshape(number, *DETECTOR)


def stored(read, selection=None, least=0.0, most=1e9, **options):
    selection = np.arange(12) if selection is None else selection
    limits = PatternLimits(35.0, least, most)
    return StoredPatterns(read, selection, DETECTOR, scale=0.5, mean_electrons=35.0, limits=limits, **options)


def reader(window=DETECTOR, selection=None, mask=None, keep=False, log=None):
    def read(indices):
        if log is not None:
            log.append(indices.tolist())
        return stored_patterns()[indices]

    selection = np.arange(12) if selection is None else selection
    return PatternReader(stored(read, selection, mask=mask), Delivery(window, keep=keep, ahead=AHEAD))


@pytest.mark.parametrize("window", [(7, 10), (5, 13), (8, 6), (4, 7), (10, 11)])
def test_zero_angle_comes_to_the_corner_and_frequencies_keep_their_pixels(window):
    patterns = stored_patterns(2)
    windowed = centre_window(patterns, window).numpy()
    for ky in range(-(window[0] // 2), (window[0] + 1) // 2):
        for kx in range(-(window[1] // 2), (window[1] + 1) // 2):
            y, x = ky + 7 // 2, kx + 10 // 2
            inside = 0 <= y < 7 and 0 <= x < 10
            np.testing.assert_array_equal(windowed[:, ky, kx], patterns[:, y, x] if inside else 0)


def test_patterns_keep_the_detectors_type():
    assert reader((9, 6)).read(torch.tensor([1, 4])).dtype == torch.uint16


def test_indices_count_within_the_selection():
    selected = reader(selection=np.array([1, 5, 6, 11])).read(torch.tensor([1, 3]))
    assert torch.equal(selected, centre_window(stored_patterns()[[5, 11]], DETECTOR))


def test_no_indices_read_nothing():
    log = []
    assert reader((9, 6), log=log).read(torch.tensor([], dtype=torch.int64)).shape == (0, 9, 6)
    assert log == []


def test_unmeasured_pixels_are_masked():
    mask = reader((9, 6)).mask
    assert mask.shape == (9, 6)
    assert torch.equal(mask, centre_window(np.ones((1, *DETECTOR), bool), (9, 6))[0])
    assert reader((5, 6)).mask is None


def test_dead_pixels_are_masked_at_their_place():
    alive = np.ones(DETECTOR, bool)
    alive[3, 5 + 2] = False  # zero angle at (3, 5)
    mask = reader((9, 9), mask=alive).mask
    assert not mask[0, 2]
    assert mask.sum() == 7 * 9 - 1


def test_what_is_kept_is_read_once():
    log = []
    kept = reader(keep=True, log=log)
    first, second = (kept.read(torch.tensor([2, 3, 7])) for _ in range(2))
    assert torch.equal(first, second) and log == [[2, 3, 7]]


def test_kept_patterns_are_those_of_their_indices():
    kept = reader(keep=True)
    kept.read(torch.tensor([2, 3, 7]))
    assert torch.equal(kept.read(torch.tensor([2, 5, 7])), centre_window(stored_patterns()[[2, 5, 7]], DETECTOR))


class GatedFile:
    """Patterns that are read only once `gate` is open; counts reads and how many run at once."""

    def __init__(self):
        self.gate, self.log, self.now, self.most = threading.Event(), [], 0, 0

    def read(self, indices):
        self.now += 1
        self.most = max(self.most, self.now)
        assert self.gate.wait(10)
        self.log.append((threading.current_thread() is threading.main_thread(), indices.tolist()))
        self.now -= 1
        return stored_patterns()[indices]

    def reader(self, keep=False, name=""):
        return PatternReader(stored(self.read, name=name), Delivery(DETECTOR, keep=keep, ahead=AHEAD))


def test_patterns_are_read_ahead_by_another_thread_and_only_once():
    file = GatedFile()
    ahead = file.reader()
    ahead.prefetch(torch.tensor([2, 3, 7]))  # returns although nothing can be read yet
    assert file.log == []
    file.gate.set()
    patterns = ahead.read(torch.tensor([2, 3, 7]))
    assert torch.equal(patterns, centre_window(stored_patterns()[[2, 3, 7]], DETECTOR))
    assert file.log == [(False, [2, 3, 7])]
    ahead.read(torch.tensor([2, 3, 7]))
    assert file.log[1:] == [(True, [2, 3, 7])], "it is not kept"


def test_what_was_not_read_ahead_is_read_and_what_was_is_still_there():
    file = GatedFile()
    file.gate.set()
    ahead = file.reader()
    ahead.prefetch(torch.tensor([4, 5]))
    assert torch.equal(ahead.read(torch.tensor([0, 1])), centre_window(stored_patterns()[[0, 1]], DETECTOR))
    ahead.read(torch.tensor([4, 5]))
    assert sorted(file.log) == [(False, [4, 5]), (True, [0, 1])]


def test_only_one_minibatch_is_read_ahead_whatever_the_tilt():
    file = GatedFile()
    first, second = file.reader(), file.reader()
    file.gate.set()
    for number in range(6):
        first.prefetch(torch.tensor([number]))
        second.prefetch(torch.tensor([number]))
    assert torch.equal(second.read(torch.tensor([5])), centre_window(stored_patterns()[[5]], DETECTOR))
    assert file.most == 1 and len(file.log) == 12
    first.read(torch.tensor([5]))
    assert file.log[-1] == (True, [5]), "the first tilt's were let go for those of the second"


def test_kept_patterns_are_not_read_ahead_again():
    file = GatedFile()
    file.gate.set()
    kept = file.reader(keep=True)
    for _ in range(3):
        kept.prefetch(torch.tensor([1, 2]))
        kept.read(torch.tensor([1, 2]))
    kept.prefetch(torch.tensor([], dtype=torch.int64))
    assert file.log == [(False, [1, 2])]


def test_an_error_is_raised_where_the_patterns_are_asked_for(tmp_path):
    def fail(indices):
        raise OSError(f"disk fell off at {indices.tolist()}")

    broken = PatternReader(stored(fail), Delivery(DETECTOR, ahead=AHEAD))
    broken.prefetch(torch.tensor([1, 2]))
    good = reader(log=[])
    good.prefetch(torch.tensor([3]))  # lets the failed one go without a word
    good.read(torch.tensor([3]))
    broken.prefetch(torch.tensor([4, 6]))
    with pytest.raises(OSError, match=r"disk fell off at \[4, 6\]"):
        broken.read(torch.tensor([4, 6]))
    with pytest.raises(OSError, match=r"disk fell off at \[4, 6\]"):
        broken.read(torch.tensor([4, 6]))


def test_faulty_patterns_are_found_as_without_reading_ahead(monkeypatch):
    said = []
    monkeypatch.setattr("dptt.model.patterns.log.warning", said.append)
    counts = np.ones((12, *DETECTOR), np.float32)
    counts[[1, 7]], counts[8] = 0, 30
    plain, ahead = (
        PatternReader(stored(lambda i: counts[i], least=3.0, most=140.0, name=name), Delivery(DETECTOR))
        for name in ("plain", "ahead")
    )
    for epoch in range(2):
        for batch in torch.tensor([0, 1, 2]), torch.tensor([6, 7, 8, 9]):
            ahead.prefetch(batch)
            assert ahead.num_left_out == (3 if epoch else int(batch[0] > 0)), "nothing is judged before it is read"
            assert torch.equal(ahead.read(batch), plain.read(batch))
            assert torch.equal(ahead.usable(batch), plain.usable(batch))
    assert plain.num_left_out == ahead.num_left_out == 3
    assert [m.replace("ahead", "plain") for m in said if "ahead" in m] == [m for m in said if "plain" in m]
    assert len(said) == 6


def test_a_masked_hot_pixel_makes_no_pattern_overexposed(monkeypatch):
    said = []
    monkeypatch.setattr("dptt.model.patterns.log.warning", said.append)
    counts, mask = np.ones((12, *DETECTOR), np.uint16), np.ones(DETECTOR, bool)
    counts[3], counts[4], mask[2, 4] = 0, 30, False
    counts[:, 2, 4] = 65535
    for valid, left_out in ((mask, [3, 4]), (None, list(range(12)))):
        tested = PatternReader(stored(lambda i: counts[i], least=3.0, most=140.0, mask=valid), Delivery(DETECTOR))
        tested.read(torch.arange(12))
        assert torch.nonzero(~tested.usable(torch.arange(12))).flatten().tolist() == left_out
    assert [message.split(": ")[1] for message in said[:2]] == [
        "1 empty patterns are left out",
        "1 overexposed patterns are left out",
    ]


def test_reading_ahead_ends_when_its_block_is_left():
    file, ahead = GatedFile(), ReadAhead()
    with ahead:
        PatternReader(stored(file.read), Delivery(DETECTOR, ahead=ahead)).prefetch(torch.tensor([2, 3]))
        file.gate.set()
    assert file.log == [(False, [2, 3])] and file.now == 0


def test_a_reader_counts_the_seconds_in_which_it_keeps_the_solver_waiting():
    def slowly(indices):
        time.sleep(0.05)
        return stored_patterns()[indices]

    tested = PatternReader(stored(slowly), Delivery(DETECTOR))
    tested.read(torch.tensor([1]))
    tested.read(torch.tensor([2]))
    assert 0.1 <= tested.seconds_reading < 5


def test_where_no_thread_can_be_started_patterns_are_read_at_once(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    ahead = ReadAhead()
    ahead.begin("key", lambda: 7)
    assert ahead.take("key") == 7


def test_a_result_that_was_taken_is_held_by_no_thread():
    class Patterns:
        pass

    ahead = ReadAhead()
    for _ in range(200):
        ahead.begin("key", Patterns)
        patterns = weakref.ref(taken := ahead.take("key"))
        del taken
        assert patterns() is None

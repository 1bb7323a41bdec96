import numpy as np
import pytest
import torch

from dptt.model.patterns import PatternReader, centre_window

DETECTOR = (7, 10)


def stored_patterns(number=12):
    return np.arange(number * 70, dtype=np.uint16).reshape(number, *DETECTOR)


def reader(window=DETECTOR, selection=None, mask=None, keep=False, log=None):
    def read(indices):
        if log is not None:
            log.append(indices.tolist())
        return stored_patterns()[indices]

    return PatternReader(
        read, np.arange(12) if selection is None else selection, DETECTOR, window, 0.5, 9.0, mask, keep
    )


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

"""Patterns on their way to a GPU: complete when they are computed, two minibatches at most, or sent once for all."""

import threading

import numpy as np
import pytest
import torch
from pretended_gpu import PretendedGpu

from dptt.model import transfer
from dptt.model.faulty_patterns import PatternLimits
from dptt.model.patterns import Delivery, PatternReader, StoredPatterns, centre_window
from dptt.model.transfer import ToGpu, chosen_patterns

DETECTOR = (7, 10)
STORED = np.random.default_rng(3).integers(1, 2**16, (23, *DETECTOR), np.uint16)
MINIBATCHES = [torch.arange(23)[n::5] for n in range(5)]
EXPECTED = [centre_window(STORED[batch.numpy()], DETECTOR) for batch in MINIBATCHES]


@pytest.fixture
def gpu(monkeypatch):
    return PretendedGpu(monkeypatch)


def reader(keep=False, resident=False, log=None):
    def read(indices):
        if log is not None:
            log.append(indices.tolist())
        return STORED[indices]

    way = ToGpu(torch.device("cpu"))
    mean = float(STORED.mean() * 70)
    limits = PatternLimits(mean, 0.0, 2.0**23)
    stored = StoredPatterns(read, np.arange(23), DETECTOR, scale=1.0, mean_electrons=mean, limits=limits)
    return PatternReader(stored, Delivery(DETECTOR, keep=keep, transfer=way, resident=resident))


def epochs(gpu, patterns, number=3, ahead=True):
    """Compute every minibatch as the solver does, without ever waiting for the GPU; return what it will have seen."""
    seen, order = [], [n for epoch in range(number) for n in np.random.default_rng(epoch).permutation(5)]
    for here, following in zip(order, [*order[1:], None], strict=True):
        measured = patterns.read(MINIBATCHES[here])
        if ahead and following is not None:
            patterns.prefetch(MINIBATCHES[following])
        gpu.compute(measured, seen)
        del measured
    return seen, [EXPECTED[n] for n in order]


KINDS = {"from the file": {}, "from the host": {"keep": True}, "resident": {"resident": True}}


@pytest.mark.parametrize("eager", ["copying", "computing"])
@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_computed_are_the_patterns_whichever_stream_is_faster(gpu, kind, ahead, eager):
    seen, expected = epochs(gpu, reader(**KINDS[kind]), ahead=ahead)
    assert seen == []
    gpu.finish(eager)
    assert len(seen) == len(expected) == 15
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))
    assert seen[0].dtype == torch.uint16


@pytest.mark.parametrize("kind", ["from the file", "from the host"])
def test_two_minibatches_at_most_are_on_the_gpu(gpu, kind):
    epochs(gpu, reader(**KINDS[kind]))
    assert gpu.most_alive <= 2  # 1 if the thread that reads ahead is late
    assert len(gpu.buffers) <= 2


def test_resident_patterns_are_read_pinned_and_sent_once(gpu):
    log = []
    patterns = reader(resident=True, log=log)
    epochs(gpu, patterns)
    assert sorted(map(tuple, log)) == sorted(tuple(batch.tolist()) for batch in MINIBATCHES)
    assert gpu.pinned == STORED.nbytes and gpu.alive == 5
    assert patterns.read(MINIBATCHES[2]) is patterns.read(MINIBATCHES[2])


def test_patterns_of_the_host_are_read_and_pinned_once_and_sent_every_epoch(gpu):
    log = []
    epochs(gpu, reader(keep=True, log=log))
    assert len(log) == 5 and gpu.pinned == STORED.nbytes
    assert sum(something is not None for something, _, _ in gpu.copying.work) == 15


def test_patterns_of_the_file_are_read_every_epoch(gpu):
    log = []
    epochs(gpu, reader(log=log))
    assert len(log) == 15 and gpu.pinned == 3 * STORED.nbytes


def test_what_the_host_holds_is_sent_without_another_thread(gpu):
    patterns = reader(keep=True)
    patterns.read(MINIBATCHES[1])
    before, threads = len(gpu.copying.work), threading.active_count()
    patterns.prefetch(MINIBATCHES[1])
    assert len(gpu.copying.work) > before and threading.active_count() == threads
    patterns.read(MINIBATCHES[1])


def test_what_was_sent_and_never_taken_does_no_harm(gpu):
    patterns, seen = reader(keep=True), []
    for batch in MINIBATCHES:
        patterns.read(batch)
    first = patterns.read(MINIBATCHES[0])
    for batch in (1, 2, 3):
        patterns.prefetch(MINIBATCHES[batch])
    gpu.compute(first, seen)
    gpu.compute(patterns.read(MINIBATCHES[3]), seen)
    gpu.finish("copying")
    assert torch.equal(seen[0], EXPECTED[0]) and torch.equal(seen[1], EXPECTED[3])
    assert len(gpu.buffers) == 2


def test_the_pretended_gpu_finds_a_copy_that_does_not_wait(gpu, monkeypatch):
    monkeypatch.setattr(type(gpu.copying), "wait_stream", lambda self, other: None)
    seen, expected = epochs(gpu, reader(keep=True))
    gpu.finish("copying")
    assert not all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


def test_the_pretended_gpu_finds_a_computation_that_does_not_wait(gpu, monkeypatch):
    monkeypatch.setattr(type(gpu.copying), "wait_event", lambda self, event: None)
    seen, expected = epochs(gpu, reader(keep=True))
    gpu.finish("computing")
    assert not all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


def test_pinned_pieces_are_no_larger_than_asked_and_complete(gpu, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE_BYTES", 3 * 140 + 60)
    way = ToGpu(torch.device("cpu"))
    pieces = way.prepare(EXPECTED[0])
    assert [len(piece) for piece in pieces] == [3, 2]
    arrived = way.take(way.begin(pieces))
    gpu.finish("copying")
    assert torch.equal(arrived, EXPECTED[0])


def test_a_pattern_larger_than_a_piece_is_a_piece(gpu, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE_BYTES", 1)
    assert [len(piece) for piece in ToGpu(torch.device("cpu")).prepare(EXPECTED[4])] == [1] * 4


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int16, torch.float32])
def test_patterns_are_chosen_in_any_type_of_a_detector(dtype):
    patterns = torch.from_numpy(STORED[:5].astype(np.int64)).to(dtype)
    which = torch.tensor([True, False, False, True, True])
    assert torch.equal(chosen_patterns(patterns, which), patterns[[0, 3, 4]])
    assert chosen_patterns(patterns, which).dtype == dtype

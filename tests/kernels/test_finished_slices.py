"""Triton's adjoint tells of slices one by one, when no position will add to them any more."""

import os
from dataclasses import replace

import pytest
import torch
from multislice_problems import DEVICE, batch, single

from dptt.kernels import dispatch

if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import
kernels = pytest.importorskip("dptt.kernels.triton").loaded()
pytestmark = pytest.mark.skipif(kernels is None, reason="needs Triton")

ALL_AT_ONCE, ONE_BY_ONE = None, 1
"""Bytes of a chunk."""


def told(given, chunk_bytes):
    """Return the gradient, and the slices that were told of with a copy of theirs at that moment."""
    calls = []
    gradient = kernels.multislice.multislice_gradient(
        given, chunk_bytes, lambda slices, part: calls.append((slices, part.clone()))
    )
    return gradient, calls


@pytest.mark.parametrize("chunk_bytes", [ALL_AT_ONCE, ONE_BY_ONE])
def test_slices_are_told_of_once_from_the_last_to_the_first_when_they_are_complete(chunk_bytes):
    given = single(batch("odd and wide"))
    gradient, calls = told(given, chunk_bytes)
    numbers = range(len(given.transmission))
    assert [list(numbers[slices]) for slices, _ in calls] == [[k] for k in reversed(numbers)]
    for slices, part in calls:
        assert torch.equal(part, gradient.transmission[slices])
        assert part.abs().max() > 0


def test_a_rank_without_positions_tells_of_all_slices_too():
    given = single(batch("odd and wide"))
    empty = replace(given, corners=given.corners[:0], shifts=given.shifts[:0], measured=given.measured[:0])
    gradient, calls = told(empty, ALL_AT_ONCE)
    (slices, part), *others = calls
    assert not others
    assert part.shape == gradient.transmission[slices].shape == given.transmission.shape
    assert not part.any()


def test_kernels_that_finish_all_slices_at_the_end_tell_of_all_at_the_end():
    given, calls = batch("odd and wide"), []
    gradient = dispatch.multislice_gradient(given, finished=lambda *call: calls.append(call))
    (slices, part), *others = calls
    assert not others
    assert part is gradient.transmission
    assert len(part[slices]) == len(given.transmission)

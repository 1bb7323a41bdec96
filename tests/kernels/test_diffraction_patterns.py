"""Patterns from compiled code against plain torch, which is tested in tests/simulation against everything else."""

from dataclasses import replace

import pytest
import torch
from checks import random_tensor, relative_error
from multislice_problems import PRIME, PROBLEMS, SHAPES, batch

from dptt.kernels import Exposures, cpu, diffraction, dispatch

compiled = cpu.loaded()
pytestmark = pytest.mark.skipif(compiled is None, reason="needs numba")

EMPTY = {"none": [], "first": [0], "last": [-1], "inner": [1], "all": [0, 1, 2, 3]}
"""Slices without a specimen; indices beyond the slices of a problem are left out."""


def exposures(name, empty=(), displaced=False, dtype=torch.complex128):
    """Return positions of a problem; the band of its propagators is a rectangle of half of the frequencies."""
    given = batch(name)
    num_slices, window = len(given.transmission), given.window
    chosen = {k % num_slices for k in empty if k < num_slices}
    transmission = given.transmission.clone()
    transmission[list(chosen)] = 1
    band = torch.outer(*(torch.fft.fftfreq(n).abs() <= 0.3 for n in window))
    phase = 2 * random_tensor(*window, seed=5)
    limited = torch.fft.ifft2(torch.fft.fft2(given.probe) * band)  # as waves that come from a propagator are
    return Exposures(
        transmission=transmission.to(dtype),
        probe=limited.to(dtype),
        corners=given.corners,
        shifts=given.shifts.to(dtype.to_real()),
        propagator=lambda number: torch.polar(torch.ones_like(phase), number * phase) * band,
        band=band,
        detector_shape=(max(1, window[0] - 3), window[1] - 4),
        pattern_shifts=2 * random_tensor(len(given.corners), 2, seed=7).to(dtype.to_real()) if displaced else None,
    )


def patterns(module, given):
    return torch.cat(list(module.diffraction_patterns(given)))


@pytest.mark.parametrize("displaced", [False, True], ids=["centred", "displaced"])
@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("name", SHAPES | PRIME)
def test_patterns_are_those_of_plain_torch_also_where_slices_are_merged(name, empty, displaced):
    given = exposures(name, EMPTY[empty], displaced)
    expected = patterns(diffraction, given)
    assert expected.shape == (5, *given.detector_shape) and expected.min(0).values.max() > 0
    torch.testing.assert_close(patterns(compiled.diffraction, given), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", SHAPES)
def test_single_precision_keeps_five_digits(name):
    expected = patterns(diffraction, exposures(name, [1]))
    result = patterns(compiled.diffraction, exposures(name, [1], dtype=torch.complex64))
    assert result.dtype == torch.float32
    assert relative_error(result, expected) < 1e-5


def test_a_slice_is_empty_where_it_scatters_a_negligible_part_of_the_beam():
    given = exposures("odd and wide")
    (height, width), image = given.window, given.transmission.shape[-2:]
    scattered = []
    for k, transmission in enumerate(given.transmission):
        beam = torch.fft.ifft2(torch.fft.fft2(given.probe) * given.propagator(k)) if k else given.probe
        for top, left in given.corners.tolist():
            rows, columns = (torch.arange(height) + top) % image[0], (torch.arange(width) + left) % image[1]
            scattered.append((beam * (transmission[rows][:, columns] - 1)).abs().square().sum())
    parts = torch.stack(scattered).reshape(len(given.transmission), -1) / given.probe.abs().square().sum()
    limit = parts.median().item() * 1.001
    empty = compiled.diffraction.empty_slices(replace(given, negligible=limit))
    assert torch.equal(empty, parts <= limit) and 0 < empty.sum() < empty.numel()


def test_a_pattern_is_the_same_in_any_company(monkeypatch):
    """On any number of threads, in chunks of any size: ranks and restarts do not change a series."""
    given = exposures("odd and wide", [1], displaced=True, dtype=torch.complex64)
    expected = patterns(compiled.diffraction, given)
    monkeypatch.setattr(compiled.diffraction, "_AT_ONCE", 2)
    assert torch.equal(patterns(compiled.diffraction, given), expected)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(patterns(compiled.diffraction, given), expected)
    finally:
        torch.set_num_threads(before)


def test_compiled_code_takes_large_tilts_in_single_precision_alone(monkeypatch):
    taken = []
    for module, name in ((compiled.diffraction, "compiled"), (diffraction, "plain")):
        monkeypatch.setattr(module, "diffraction_patterns", lambda given, name=name: iter(taken.append(name) or ()))
    given = exposures("odd and wide", dtype=torch.complex64)
    image, window, num_slices, num_modes = PROBLEMS["odd and wide"]
    size = len(given.corners) * window[0] * window[1] * num_slices * num_modes
    for worth in (size, size + 1):
        monkeypatch.setattr(dispatch, "_WORTH_PATTERNS", worth)
        dispatch.diffraction_patterns(given)
    monkeypatch.setattr(dispatch, "_WORTH_PATTERNS", 0)
    dispatch.diffraction_patterns(replace(given, probe=given.probe.to(torch.complex128)))
    assert taken == ["compiled", "plain", "plain"]

"""The contestants: the bare transforms, naive automatic differentiation, and the kernels of dptt."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from benchmark.measure import best_of
from benchmark.workloads import EPSILON, Workload
from dptt.kernels import Batch, cuda, multislice, multislice_gradient
from dptt.kernels.losses import amplitude_loss
from dptt.physics.probe import phase_ramp

Result = TypeVar("Result")
SIZES = {"cpu": (4, 8, 16, 32, 64), "cuda": (64, 256, 1024)}
"""Windows, or positions, at once: each contestant runs with the size that is fastest here."""


def bare_transforms(workload: Workload, device: str) -> Callable[[], None]:
    """Return the transforms alone, `torch.fft` there and back on arrays of the workload's windows."""

    def at_once(size: int) -> Callable[[], None]:
        waves = torch.randn(size, workload.window, workload.window, dtype=torch.complex64, device=device)
        rounds = -(-workload.transforms // (2 * size))

        def run() -> None:
            for _ in range(rounds):
                torch.fft.fft2(waves)
                torch.fft.ifft2(waves)

        return run

    return best_of([at_once(size) for size in (*SIZES[device], 96)])


def naive_autograd(workload: Workload, batch: Batch, device: str) -> Callable[[], None]:
    """Return loss and gradients as a physicist writes them in torch: the model, `backward`, a few positions at once.

    The windows of all slices are cut with one index, since autograd fills an array as large as the image for each.
    """

    def at_once(size: int, positions: int) -> Callable[[], None]:
        def run() -> None:
            leaves = [t.clone().requires_grad_() for t in (batch.transmission, batch.probe)]
            shifts = batch.shifts.clone().requires_grad_()
            for start in range(0, positions, size):
                here = slice(start, start + size)
                model = _intensity(*leaves, batch.corners[here], shifts[here], batch.propagator)
                value, _ = amplitude_loss(model, batch.measured[here], EPSILON)
                value.sum().backward()

        return run

    sizes = SIZES[device]
    part = min(workload.positions, max(128, max(sizes)))
    tried = [at_once(size, part) for size in sizes]
    return at_once(sizes[tried.index(best_of(tried))], workload.positions)


def _intensity(transmission: Tensor, probe: Tensor, corners: Tensor, shifts: Tensor, propagator: Tensor) -> Tensor:
    steps = torch.arange(probe.shape[-1], device=probe.device)
    rows, columns = ((corners[:, axis, None] + steps) % transmission.shape[1 + axis] for axis in (0, 1))
    windows = transmission[:, rows[:, :, None], columns[:, None, :]]
    ramp = phase_ramp(probe.shape[-2:], shifts[:, 0], shifts[:, 1])[:, None]
    wave = torch.fft.ifft2(torch.fft.fft2(probe) * ramp)
    for k, window in enumerate(windows.unbind(0)):
        wave = wave * window[:, None]
        if k < len(windows) - 1:
            wave = torch.fft.ifft2(torch.fft.fft2(wave) * propagator)
    far = torch.fft.fft2(wave, norm="ortho")
    return torch.view_as_real(far).square().sum((1, -1))


def kernel(batch: Batch) -> Callable[[], None]:
    """Return the kernel that the reconstruction calls."""
    return lambda: _discard(multislice_gradient(batch))


def without_fused_kernel(work: Callable[[], Result]) -> Callable[[], Result]:
    """Return `work` with Triton's kernels, as on a GPU on which the fused kernel is not available."""

    def run() -> Result:
        loaded = cuda.loaded
        cuda.loaded = lambda: None
        try:
            return work()
        finally:
            cuda.loaded = loaded

    return run


def gradient_errors(batch: Batch, positions: int = 64) -> dict[str, float]:
    """Return the relative errors of the slices' gradient of some positions, against double precision."""
    some = replace(
        batch,
        corners=batch.corners[:positions],
        shifts=batch.shifts[:positions],
        measured=batch.measured[:positions],
    )
    wide = replace(
        some,
        transmission=some.transmission.to(torch.complex128),
        probe=some.probe.to(torch.complex128),
        shifts=some.shifts.double(),
        propagator=some.propagator.to(torch.complex128),
    )
    exact = multislice.multislice_gradient(wide).transmission
    found = {"dptt": lambda: multislice_gradient(some)}
    if batch.probe.is_cuda:
        found["portable"] = without_fused_kernel(found["dptt"])
        found["fast"] = lambda: multislice_gradient(replace(some, fast=True))
    return {who: ((gradient().transmission - exact).norm() / exact.norm()).item() for who, gradient in found.items()}


def plain_kernel(batch: Batch) -> Callable[[], None]:
    """Return the analytic adjoint in plain torch, with the chunk that is fastest here."""

    def with_chunk(mebibytes: int, some: Batch) -> Callable[[], None]:
        return lambda: _discard(multislice.multislice_gradient(some, mebibytes << 20))

    on_cpu = batch.probe.device.type == "cpu"
    sizes = (1, 2, 4, 8) if on_cpu else (256, 1024, 4096)
    part = 128 if on_cpu else len(batch.corners)
    some = replace(batch, corners=batch.corners[:part], shifts=batch.shifts[:part], measured=batch.measured[:part])
    tried = [with_chunk(size, some) for size in sizes]
    return with_chunk(sizes[tried.index(best_of(tried))], batch)


def _discard(result: object) -> None:
    del result

"""`multislice_gradient` and `multislice_loss` by the fused kernel: one launch for all positions of a batch.

Gradients of slices are added by atomic additions, in whatever order positions come: the last digits differ from run
to run. With `torch.use_deterministic_algorithms(True)` every position writes windows of its own, which are added in
order: the same bits in every run on the same kind of GPU, for 16 bytes of traffic per pixel and slice of a position.

Of a batch that is `fast` the adjoint steps are on tensor cores, where these are there and the propagator is a product
p(ky) q(kx): gradients keep three digits, the loss all of its own.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dptt.kernels.batch import Batch, Finished, MultisliceGradient, finished_together
from dptt.kernels.cuda import compiler
from dptt.kernels.cuda.plan import Multiprocessor, Plan, plan, with_tensor_cores
from dptt.kernels.cuda.separable import adjoint_kernels
from dptt.kernels.losses import (
    FAR_SLOPE,
    FAR_VALUE,
    LARGEST_RATIO,
    POISSON,
    PixelLoss,
    is_spread,
    loss_code,
    valid_pixels,
)

_COUNT_TYPES = {
    torch.uint8: "unsigned char",
    torch.int8: "signed char",
    torch.uint16: "unsigned short",
    torch.int16: "short",
    torch.uint32: "unsigned int",
    torch.int32: "int",
    torch.int64: "long long",
    torch.float32: "float",
    torch.float64: "double",
}
_WAVES_BYTES, _WINDOWS_BYTES = 2 << 30, 1 << 29
"""Of the waves in front of the slices of all positions in work; of the windows that are added in order."""
_COLUMNS = 256
"""Of an image that one block of `accumulate` owns."""


def plan_of(batch: Batch) -> Plan | None:
    """Return how the kernel computes a batch, or None if it cannot."""
    device = multiprocessor(batch.transmission.device)
    found = plan(batch.window, len(batch.probe), device)
    if found is None or not batch.fast:
        return found
    faster = with_tensor_cores(found, device)
    return faster if faster and adjoint_kernels(batch.propagator) is not None else found


@cache
def multiprocessor(device: torch.device) -> Multiprocessor:
    """Return the limits of a GPU."""
    found = torch.cuda.get_device_properties(device)
    return Multiprocessor(
        found.multi_processor_count,
        found.shared_memory_per_multiprocessor,
        getattr(found, "shared_memory_per_block_optin", found.shared_memory_per_block),
        found.major >= 8,
    )


def multislice_gradient(
    batch: Batch, chunk_bytes: int | None = None, finished: Finished | None = None
) -> MultisliceGradient:
    """Return the loss of a batch and its gradients."""
    waves_bytes = chunk_bytes or _WAVES_BYTES
    work = _work(batch, waves_bytes)
    transmission = torch.zeros_like(work.transmission)
    illumination = torch.zeros_like(work.transmission[0].real)
    spectra = torch.zeros_like(work.waves[:, 0])
    shifts, losses = torch.zeros_like(work.shifts), work.shifts.new_zeros(len(work.shifts))
    if not torch.are_deterministic_algorithms_enabled():
        work.run(slice(None), losses, (transmission, illumination, spectra, shifts))
    else:
        for some in work.chunks(min(_WINDOWS_BYTES, waves_bytes // 4)):
            windows = transmission.new_zeros((some.stop - some.start, len(transmission), *batch.window))
            illuminated = windows[:, :1].real.contiguous()
            work.run(some, losses, (windows, illuminated, spectra, shifts), alone=True)
            accumulate_(transmission, windows, work.corners[some])
            accumulate_(illumination[None], illuminated, work.corners[some])
    spectrum = torch.empty_like(batch.probe)
    spectrum[:, work.order[0][:, None], work.order[1][None, :]] = spectra.sum(0).transpose(1, 2)
    gradient = MultisliceGradient(_sum(losses), transmission, torch.fft.ifft2(spectrum), shifts, illumination)
    return finished_together(gradient, finished)


def multislice_loss(batch: Batch, chunk_bytes: int | None = None) -> Tensor:
    """Return the summed loss alone."""
    work = _work(batch, chunk_bytes or _WAVES_BYTES)
    losses = work.shifts.new_zeros(len(work.shifts))
    work.run(slice(None), losses, None)
    return _sum(losses)


def accumulate_(image: Tensor, windows: Tensor, corners: Tensor) -> None:
    """Add windows (pos, slice, y, x) into images (slice, Y, X), in the order of positions; corners are within."""
    columns = 2 if image.is_complex() else 1
    height, width = image.shape[1], image.shape[2] * columns
    kernel = compiler.compiled("windows.cu", "accumulate", (), _COLUMNS, 0, image.device)
    sizes = windows.shape[2], windows.shape[3] * columns, height, width, columns
    with _on(image):
        kernel((-(-width // _COLUMNS), height, len(image)), len(windows), *sizes, corners, windows, image)


@dataclass(frozen=True)
class _Work:
    """A batch as the kernel takes it, and the memory it needs beside it."""

    kernel: Callable[..., None]
    transmission: Tensor
    spectrum: Tensor
    """Of the probe, divided by the number of pixels (mode, x, y), in the order of places: see `fourier.cuh`."""
    propagator: Tensor
    """Divided by the number of pixels (x, y), in the order of places."""
    kernels: Tensor | None
    """Of the adjoint propagation, where it is on tensor cores: see `separable.py`."""
    order: tuple[Tensor, Tensor]
    """Frequencies of the places along y and x."""
    corners: Tensor
    """Within the image."""
    shifts: Tensor
    pattern_shifts: Tensor | None
    measured: Tensor
    mask: Tensor
    numbers: tuple[int, int]
    """The bits of the floor of the intensities, and of the electrons per count."""
    waves: Tensor
    """Of every block: in front of every slice, and the far field (block, slice + 1, mode, x, y)."""
    intensity: Tensor
    """Of every block (block, y, x), and as much again if the detector spreads it."""
    spread: Tensor | None
    """Weights of the detector's point spread (tap,)."""

    def chunks(self, windows_bytes: int) -> Iterator[slice]:
        """Cut the positions so that a window for each of them, of every slice, fits."""
        per_position = self.propagator.numel() * (8 * len(self.transmission) + 4)
        length = max(1, windows_bytes // per_position)
        for start in range(0, len(self.corners), length):
            yield slice(start, min(start + length, len(self.corners)))

    def run(self, some: slice, losses: Tensor, gradients: tuple[Tensor, ...] | None, alone: bool = False) -> None:
        """Write losses and shift gradients of some positions; add gradients of slices and spectra, and illumination.

        Slice gradients and illumination are images, or windows of each position `alone`.
        """
        corners = self.corners[some]
        if not len(corners):
            return
        *sums, shifts = gradients or [None] * 4
        flags = int(gradients is not None), int(alone)
        with _on(corners):
            self.kernel(
                (min(len(self.waves), len(corners)),),
                *(len(corners), *self.transmission.shape, *flags, *self.numbers),
                *(self.transmission, self.spectrum, self.propagator, corners, self.shifts[some]),
                *(self.measured[some], self.mask, self.waves, self.intensity, losses[some]),
                *(*sums, None if shifts is None else shifts[some], self.kernels),
                None if self.pattern_shifts is None else self.pattern_shifts[some],
                *(self.spread, 0 if self.spread is None else len(self.spread)),
            )


def _work(batch: Batch, waves_bytes: int) -> _Work:
    window, pixels = batch.window, batch.propagator.numel()
    loss, device, chosen = batch.loss, batch.transmission.device, plan_of(batch)
    assert chosen is not None and isinstance(loss, PixelLoss)  # `kernels.dispatch` passes no other
    counts = batch.measured if batch.measured.dtype in _COUNT_TYPES else batch.measured.float()
    definitions = kernel_definitions(chosen, loss, counts.dtype, displaced=batch.pattern_shifts is not None)
    per_block = (len(batch.transmission) + 1) * batch.probe.numel()
    most = multiprocessor(device).number * chosen.resident
    blocks = max(1, min(most, len(batch.corners), waves_bytes // (8 * per_block)))
    order = torch.tensor(chosen.order(0), device=device), torch.tensor(chosen.order(1), device=device)
    waves = batch.probe.new_empty((blocks, len(batch.transmission) + 1, len(batch.probe), window[1], window[0]))
    return _Work(
        kernel=compiler.compiled(
            "multislice.cu", "multislice", definitions, chosen.threads, chosen.shared_bytes, device
        ),
        transmission=batch.transmission.resolve_conj().contiguous(),
        spectrum=_in_order(torch.fft.fft2(batch.probe) / pixels, order),
        propagator=_in_order(batch.propagator / pixels, order),
        kernels=adjoint_kernels(batch.propagator) if chosen.tensor else None,
        order=order,
        corners=batch.corners_within.to(torch.int32).contiguous(),
        shifts=batch.shifts.contiguous(),
        pattern_shifts=None if batch.pattern_shifts is None else batch.pattern_shifts.contiguous(),
        measured=counts.to(device, non_blocking=True).contiguous(),
        mask=valid_pixels(loss, window).to(device, torch.uint8).contiguous(),
        numbers=(_bits(loss.epsilon), _bits(batch.measured_scale)),
        waves=waves,
        intensity=waves.real.new_empty((blocks, 1 + is_spread(loss), *window)),
        spread=loss.spread.to(device, torch.float32) if is_spread(loss) else None,
    )


def kernel_definitions(chosen: Plan, loss: PixelLoss, counts: torch.dtype, *, displaced: bool) -> tuple[str, ...]:
    """Return everything that the source of the kernel needs to be compiled: for a plan, a loss, a type of counts.

    `displaced` says whether descan moves patterns over the detector; without it no instruction is spent on that, nor
    on a point spread that the loss does not have.
    """
    constants = f"LARGEST_RATIO={LARGEST_RATIO}", f"FAR_SLOPE={FAR_SLOPE}", f"FAR_VALUE={FAR_VALUE}"
    losses = f"LOSS={loss_code(loss)}", f"POISSON_CODE={POISSON.code}", *constants
    return (
        *chosen.definitions,
        f"COUNT={_COUNT_TYPES[counts]}",
        *losses,
        f"DISPLACED={int(displaced)}",
        f"SPREAD={int(is_spread(loss))}",
    )


def _in_order(spectra: Tensor, order: tuple[Tensor, Tensor]) -> Tensor:
    """Return spectra (.., y, x) as (.., x, y) in the order of places."""
    return spectra[..., order[0][:, None], order[1][None, :]].transpose(-1, -2).resolve_conj().contiguous()


def _sum(losses: Tensor) -> Tensor:
    return losses.sum(dtype=torch.float64).float()


def _bits(number: float) -> int:
    """Return the bits of a number in single precision, as a signed integer: kernels take integers."""
    return struct.unpack("<i", struct.pack("<f", number))[0]


def _on(tensor: Tensor) -> AbstractContextManager[Any]:
    """Make the device of `tensor` the current one; tests without a GPU give tensors of a CPU."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()

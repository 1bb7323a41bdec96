"""`multislice_gradient` and `multislice_loss` on the cores of a CPU.

Every thread takes a range of the positions and adds to its own gradients, which are summed in the order of the
threads. The result is bit-identical in every run on the same number of threads; on another number only the order of
the sum differs.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.batch import Batch, Finished, MultisliceGradient, finished_together
from dptt.kernels.cpu import positions, transforms
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.losses import PixelLoss, loss_code, valid_pixels
from dptt.kernels.periodic import PeriodicImage

_BYTES_AT_ONCE = 1 << 20
"""Patterns converted to electrons at once [bytes]: few calls of compiled code, and they stay in a core's cache."""


def multislice_gradient(
    batch: Batch, chunk_bytes: int | None = None, finished: Finished | None = None
) -> MultisliceGradient:
    """Return the loss of a batch and its gradients.

    `chunk_bytes` has no effect: every thread holds the waves of one position.
    """
    image = PeriodicImage(batch.transmission, batch.window)
    model = _model(batch, image)
    scan = _scan(batch)
    shift_gradient = torch.empty_like(scan.shifts)

    def part(some: slice) -> MultisliceGradient:
        result = MultisliceGradient(
            scan.shifts.new_zeros((), dtype=torch.float64),
            torch.zeros_like(image.extended),
            torch.zeros_like(batch.probe),
            shift_gradient[some],
            scan.shifts.new_zeros(image.extended.shape[1:]),
        )
        gradients = positions.Gradients(
            result.transmission.numpy(),
            result.illumination.numpy(),
            result.probe.numpy(),
            *(np.fft.fftfreq(n).astype(model.epsilon.dtype) for n in model.mask.shape),
        )
        with _workplace(model) as (plan, scratch):
            for here, electrons in scan.electrons(some):
                result.loss.add_(
                    positions.gradient_of_positions(
                        plan,
                        model,
                        scratch,
                        scan.corners[here],
                        scan.shifts.numpy()[here],
                        scan.pattern_shifts[here],
                        electrons,
                        gradients,
                        shift_gradient.numpy()[here],
                    )
                )
        return result

    total, *others = in_threads(part, stretches(len(scan.corners)))
    for other in others:
        for mine, theirs in (
            (total.loss, other.loss),
            (total.transmission, other.transmission),
            (total.probe, other.probe),
            (total.illumination, other.illumination),
        ):
            mine.add_(theirs)
    gradient = MultisliceGradient(
        total.loss.to(scan.shifts.dtype),
        image.fold(total.transmission),
        torch.fft.ifft2(total.probe),
        shift_gradient,
        image.fold(total.illumination[None])[0],
    )
    return finished_together(gradient, finished)


def multislice_loss(batch: Batch, chunk_bytes: int | None = None) -> Tensor:
    """Return the summed loss alone."""
    image = PeriodicImage(batch.transmission, batch.window)
    model = _model(batch, image)
    scan = _scan(batch)

    def part(some: slice) -> float:
        with _workplace(model) as (plan, scratch):
            return math.fsum(
                positions.loss_of_positions(
                    plan,
                    model,
                    scratch,
                    scan.corners[here],
                    scan.shifts.numpy()[here],
                    scan.pattern_shifts[here],
                    electrons,
                )
                for here, electrons in scan.electrons(some)
            )

    return torch.tensor(sum(in_threads(part, stretches(len(scan.corners)))), dtype=scan.shifts.dtype)


def _model(batch: Batch, image: PeriodicImage) -> positions.Model:
    """Return what all positions share, scaled because the transforms are not."""
    loss, pixels = batch.loss, batch.propagator.numel()
    assert isinstance(loss, PixelLoss)  # `kernels.dispatch` passes no other
    real = batch.probe.real.numpy().dtype.type
    return positions.Model(
        transmission=_array(image.extended),
        spectrum=_array(torch.fft.fft2(batch.probe).div_(pixels)),
        propagator=_array(batch.propagator / pixels),
        mask=_array(valid_pixels(loss, batch.window)),
        loss_code=loss_code(loss),
        epsilon=real(loss.epsilon),
        scale=real(1 / pixels),
        spread=loss.spread.numpy().astype(real),
    )


@dataclass(frozen=True)
class _Scan:
    """The positions of a batch, and their patterns as the detector counted them."""

    corners: np.ndarray
    shifts: Tensor
    pattern_shifts: np.ndarray
    """Empty if no pattern is displaced."""
    counts: np.ndarray
    scale: float

    def electrons(self, some: slice) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield a few positions at a time: their range, and their patterns [electrons]."""
        real = self.shifts.numpy().dtype
        step = max(1, _BYTES_AT_ONCE // (self.counts[:1].size * real.itemsize or 1))
        for start in range(some.start, some.stop, step):
            here = slice(start, min(start + step, some.stop))
            yield here, np.multiply(self.counts[here], real.type(self.scale), dtype=real, casting="unsafe")


def _scan(batch: Batch) -> _Scan:
    pattern_shifts = batch.shifts[:0] if batch.pattern_shifts is None else batch.pattern_shifts
    return _Scan(
        _array(batch.corners_within),
        batch.shifts.contiguous(),
        _array(pattern_shifts),
        batch.measured.numpy(),
        batch.measured_scale,
    )


@contextmanager
def _workplace(model: positions.Model) -> Iterator[tuple[int, positions.Scratch]]:
    """Yield the plan of one thread's transforms, and its memory for one position."""
    num_slices, num_modes = len(model.transmission), len(model.spectrum)
    height, width = model.mask.shape
    dtype = torch.from_numpy(model.spectrum).dtype
    scratch = positions.Scratch(
        torch.empty((num_slices + 1, num_modes, height, width), dtype=dtype).numpy(),
        *(torch.empty((height, width), dtype=dtype.to_real()).numpy() for _ in range(2)),
        *(np.empty(length, model.spectrum.dtype) for length in (height, width, height, width)),
    )
    with transforms.plan((height, width), dtype) as plan:
        yield plan, scratch


def _array(tensor: Tensor) -> np.ndarray:
    """Return a tensor's memory as one contiguous array."""
    return tensor.resolve_conj().contiguous().numpy()

"""The choice of an implementation: on a GPU the fused kernel or Triton's, on a CPU compiled kernels for large
problems, plain torch otherwise.

Compiled kernels are in single precision; double precision, the reference, is plain torch. The choice depends on the
problem alone (type, device, size, loss), so that runs are reproducible. Small problems do not wait for a compiler.
"""

import logging
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.kernels import cpu, cuda, diffraction, multislice, pose, rotation, triton, volume_step
from dptt.kernels.batch import Batch, Finished, MultisliceGradient
from dptt.kernels.diffraction import Exposures
from dptt.kernels.implementation import Kernels
from dptt.kernels.losses import is_pixel_loss
from dptt.kernels.rotation import SlabRows
from dptt.physics import turned_planes

_WORTH_PATTERNS = 1 << 31
"""Pixels·modes·slices·positions of a tilt from which its patterns are simulated by compiled code: a minute of plain
torch. Compiled code rounds otherwise, and the shot noise of a whole tilt may follow from the last digit of a pixel:
small series, as in the tests and examples, keep their numbers."""
_WORTH_WAVES, _WORTH_VOXELS = 1 << 19, 1 << 16
"""Pixel·mode·slices and voxels from which compiled kernels are used: about 5 ms of plain torch in every minibatch."""


def multislice_gradient(
    batch: Batch, chunk_bytes: int | None = None, finished: Finished | None = None
) -> MultisliceGradient:
    """Return the loss of a batch and its gradients with respect to slices, probe and positions.

    Parameters
    ----------
    chunk_bytes
        Bound on the memory of the waves held at once [bytes]; None for the kernels' own default. The compiled kernels
        of a CPU ignore it: they hold one position per thread.
    finished
        Called once for every slice: by Triton's kernels one by one, from the last to the first, while the GPU
        computes the next; by the others for all slices at the end.
    """
    return _for_waves(batch).multislice_gradient(batch, chunk_bytes, finished)


def multislice_loss(batch: Batch, chunk_bytes: int | None = None) -> Float[Tensor, ""]:
    """Return the summed loss alone, for held-out patterns; `chunk_bytes` as in `multislice_gradient`."""
    return _for_waves(batch).multislice_loss(batch, chunk_bytes)


def diffraction_patterns(exposures: Exposures) -> Iterator[Float[Tensor, "pos ky kx"]]:
    """Yield the expected electrons per pixel, zero angle at n//2, one chunk of positions after another."""
    pixels = len(exposures.transmission) * exposures.probe.numel() * len(exposures.corners)
    single = exposures.transmission.dtype == exposures.probe.dtype == torch.complex64
    on_cpu = exposures.transmission.device.type == exposures.probe.device.type == "cpu"
    kernels = _compiled() if single and on_cpu and pixels >= _WORTH_PATTERNS else None
    module = kernels.diffraction if kernels and kernels.diffraction else diffraction
    patterns: Iterator[Tensor] = module.diffraction_patterns(exposures)
    return patterns


def project_slices(
    volume: Inexact[Tensor, "z source x"],
    map_: Float[Tensor, "3 4"],
    num_slices: int,
    voxel_thickness: float,
    rows: SlabRows | None = None,
) -> Inexact[Tensor, "slice target x"]:
    """Return the projected potential [V Å] of every slice; arguments as in `kernels.rotation.project_slices`."""
    rows = rows or rotation.all_rows(volume.shape[1])
    kernels = _for_voxels(volume, _rotated_voxels((len(volume), rows.height, volume.shape[2]), rows))
    return rotation.project_slices(volume, map_, num_slices, voxel_thickness, rows, _turning_by(kernels))


def backproject_slices(
    slices: Inexact[Tensor, "slice target x"],
    map_: Float[Tensor, "3 4"],
    volume_shape: tuple[int, int, int],
    voxel_thickness: float,
    rows: SlabRows | None = None,
) -> Inexact[Tensor, "z source x"]:
    """Return the exact adjoint of `project_slices`; arguments as in `kernels.rotation.backproject_slices`."""
    rows = rows or rotation.all_rows(volume_shape[1])
    kernels = _for_voxels(slices, _rotated_voxels(volume_shape, rows))
    return rotation.backproject_slices(slices, map_, volume_shape, voxel_thickness, rows, by=_turning_by(kernels))


def pose_derivatives(
    volume: Inexact[Tensor, "z source x"],
    map_: Float[Tensor, "3 4"],
    slice_gradient: Inexact[Tensor, "slice target x"],
    voxel_thickness: float,
    rows: SlabRows | None = None,
) -> tuple[Float[Tensor, "3 4"], Inexact[Tensor, "3 2 target x"]]:
    """Return dL/d(map) and the moments; arguments and results as in `kernels.pose.pose_derivatives`."""
    by = _turning_by(_for_voxels(volume, volume.numel()))
    return pose.pose_derivatives(volume, map_, slice_gradient, voxel_thickness, rows, by)


def advance_(
    volume: Inexact[Tensor, "z y x"],
    velocity: Inexact[Tensor, "z y x"],
    update: Inexact[Tensor, "z y x"],
    momentum: float,
    step: float,
) -> Float[Tensor, "2"]:
    """Move the volume with momentum; arguments and result as in `kernels.volume_step.advance_`."""
    kernels = _for_voxels(volume, volume.numel())
    module = kernels.volume_step if kernels else volume_step
    return module.advance_(volume, velocity, update, momentum, step)


def advance_by_slices_(
    volume: Inexact[Tensor, "z source x"],
    velocity: Inexact[Tensor, "z source x"],
    slices: Inexact[Tensor, "slice target x"],
    map_: Float[Tensor, "3 4"],
    *,
    voxel_thickness: float,
    momentum: float,
    step: float,
    rows: SlabRows | None = None,
) -> Float[Tensor, "2"]:
    """Do `advance_` with the back-projection of `slices` as the update, which is never stored as a volume.

    `slices`, `map_`, `voxel_thickness` and `rows` are those of `rotation.backproject_slices`.
    """
    kernels = _for_voxels(volume, volume.numel())
    rows = rows or rotation.all_rows(volume.shape[1])
    shape = len(volume), rows.height, volume.shape[2]
    velocity.mul_(momentum)
    rotation.backproject_slices(slices, map_, shape, voxel_thickness, rows, velocity, _turning_by(kernels))
    return (kernels.volume_step if kernels else volume_step).move_(volume, velocity, step)


def threshold_(volume: Inexact[Tensor, "z y x"], thresholds: volume_step.Thresholds) -> None:
    """Constrain a volume by `thresholds`, in place."""
    kernels = _for_voxels(volume, volume.numel())
    module = kernels.volume_step if kernels else volume_step
    module.threshold_(volume, thresholds)


def _turning_by(kernels: Kernels | None) -> ModuleType:
    """Return the module with the steps of a turning."""
    return kernels.rotation if kernels else turned_planes


def _for_waves(batch: Batch) -> ModuleType:
    """Return the module that computes these waves."""
    single = batch.transmission.dtype == batch.probe.dtype == torch.complex64
    known = batch.measured.dtype != torch.bfloat16 and is_pixel_loss(batch.loss)
    if not (single and known):
        return multislice
    if batch.transmission.is_cuda and batch.probe.is_cuda:
        return _on_gpu(batch)
    if batch.fast:
        _say("precision fast: half precision needs a GPU; single precision is used")
    worth = len(batch.transmission) * len(batch.probe) * batch.measured.numel() >= _WORTH_WAVES
    on_cpu = all(tensor.device.type == "cpu" for tensor in (batch.transmission, batch.probe, batch.measured))
    compiled = _compiled() if worth and on_cpu else None
    return compiled.multislice if compiled else multislice


def _on_gpu(batch: Batch) -> ModuleType:
    """Return the fused kernel where the window fits into a multiprocessor, else Triton's, and log which."""
    fused, portable = cuda.loaded(), triton.loaded()
    plan = fused.multislice.plan_of(batch) if fused else None
    if fused and plan:
        _say(
            f"multislice of {plan.window} pixels, {plan.modes} modes: fused kernel, radices {plan.radices}, "
            f"{plan.group} modes at once, {plan.resident} blocks of {plan.threads} threads a multiprocessor, "
            f"adjoint steps {'on tensor cores' if plan.tensor else 'by transforms'}"
        )
        if batch.fast and not plan.tensor:
            _say("precision fast: this GPU, window or propagator cannot use tensor cores; single precision is used")
        return fused.multislice
    why = "it does not fit the fused kernel" if fused else "NVRTC is missing"
    name = "Triton" if portable else "plain torch (Triton, or a C compiler for it, is missing)"
    _say(f"multislice of {batch.window} pixels, {len(batch.probe)} modes: {name}, because {why}")
    if batch.fast:
        _say("precision fast: half precision needs the fused kernel; single precision is used")
    return portable.multislice if portable else multislice


@cache
def _say(choice: str) -> None:
    """Log a choice once."""
    logging.getLogger(__name__).info(choice)


def _rotated_voxels(volume_shape: tuple[int, int, int], rows: SlabRows) -> int:
    """Return the number of voxels that plain torch would visit, in source or target rows, whichever are more."""
    return volume_shape[0] * max(len(rows.source), len(rows.target)) * volume_shape[2]


def _for_voxels(tensor: Tensor, voxels: int) -> Kernels | None:
    """Return the compiled kernels if they are worth it for so many voxels, or None."""
    if tensor.dtype not in (torch.float32, torch.complex64):
        return None
    if tensor.is_cuda:
        return triton.loaded()
    return _compiled() if tensor.device.type == "cpu" and voxels >= _WORTH_VOXELS else None


def _compiled() -> Kernels | None:
    """Return the kernels compiled for this CPU, if there are any, and log whether."""
    kernels = cpu.loaded()
    if kernels:
        _say(f"kernels: compiled for this CPU; Fourier transforms: {cpu.transforms_in_use()}")
    else:
        _say(f"kernels: plain torch, several times slower, because {cpu.missing()}; see `dptt doctor`")
    return kernels

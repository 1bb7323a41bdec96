"""One tilt-iteration end to end: the solver's own pass over the minibatches of one tilt, patterns in memory."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.workloads import TiltIteration, Workload
from dptt.assembly.settings import reconstruction_settings
from dptt.config.reconstruction import ProbeConfig, ReconstructionConfig
from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_plan import plan_tilt
from dptt.solvers.tomography.tilt_update import update_tilt

_VOXEL = 0.4


class PatternsInMemory:
    """A tilt whose patterns are random counts, on the device that computes."""

    name, scale, mask, seconds_reading = "benchmark", 1.0, None, 0.0

    def __init__(self, work: Workload, device: str) -> None:
        generator = torch.Generator().manual_seed(1)
        shape = (work.positions, work.window, work.window)
        counts = torch.randint(0, 10, shape, generator=generator, dtype=torch.int16)
        self.mean_electrons = counts.sum(dtype=torch.float64).item() / work.positions
        self._patterns = counts.to(torch.uint16).to(device)

    def read(self, indices: Tensor) -> Tensor:
        """Return patterns in corner order."""
        return self._patterns[int(indices[0]) : int(indices[-1]) + 1] if len(indices) else self._patterns[:0]

    def prefetch(self, indices: Tensor) -> None:
        """Do nothing: all patterns are in memory."""

    def usable(self, indices: Tensor) -> Tensor:
        """Return that all patterns are usable."""
        return torch.ones(len(indices), dtype=torch.bool)


def tilt_iteration(
    tilt: TiltIteration, device: str, fast: bool = False, chunk_bytes: int | None = None
) -> Callable[[], None]:
    """Return one pass: updates of volume and probe from a tilt of 30° with angles off the axis."""
    work, size = tilt.work, (tilt.volume,) * 3
    generator = torch.Generator().manual_seed(2)
    geometry = Geometry(200e3, size, (_VOXEL,) * 3, (work.window, work.window), work.slices)
    options = ReconstructionConfig(batches=tilt.minibatches, validation_fraction=0.0, probe=ProbeConfig(from_epoch=1))
    settings = replace(reconstruction_settings(options), fast=fast, chunk_bytes=chunk_bytes)
    patterns = PatternsInMemory(work, device)
    probe = torch.randn(work.modes, work.window, work.window, dtype=torch.complex64, generator=generator)
    probe *= (patterns.mean_electrons / probe.abs().square().sum()) ** 0.5
    side = (tilt.volume - work.window - 4) * _VOXEL
    state = TomographyState.initial(
        size,
        torch.complex64,
        [probe],
        [(torch.rand(work.positions, 2, generator=generator).double() - 0.5) * side],
        torch.tensor([[1.0, 30.0, 0.5]]).double(),
        torch.tensor([[0.3, 0.2]]).double(),
    )
    state.move_to(torch.device(device))
    mesh = Mesh.serial()
    run = Run(geometry, settings, mesh, TiltGroups(mesh.tilt, settings.tilt_groups, state, 1))

    def iterate() -> None:
        update_tilt(state, plan_tilt(state, patterns, 0, run), run)

    return iterate

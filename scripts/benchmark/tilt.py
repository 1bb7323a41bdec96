"""One tilt-iteration end to end: the solver's own pass over the minibatches of one tilt, patterns in memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.workloads import TILT
from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.solvers.settings import Refinement, TomographySettings
from dptt.solvers.stopwatch import Stopwatch
from dptt.solvers.tilt_groups import TiltGroups
from dptt.solvers.tilt_update import TiltUpdate

_SIZE, _VOXEL = 128, 0.4
_SETTINGS = TomographySettings(batches=4, validation_fraction=0.0, probe=Refinement(start=0))


class PatternsInMemory:
    """A tilt whose patterns are random counts."""

    name, scale, mask, shot_noise_loss = "benchmark", 1.0, None, 0.0

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        shape = (TILT.positions, TILT.window, TILT.window)
        self._patterns = torch.randint(0, 10, shape, generator=generator).to(torch.uint16)
        self.mean_electrons = self._patterns.float().sum().item() / TILT.positions

    def read(self, indices: Tensor) -> Tensor:
        """Return patterns in corner order."""
        return self._patterns[int(indices[0]) : int(indices[-1]) + 1] if len(indices) else self._patterns[:0]

    def prefetch(self, indices: Tensor) -> None:
        """Do nothing: they are there."""

    def usable(self, indices: Tensor) -> Tensor:
        """Return that all are."""
        return torch.ones(len(indices), dtype=torch.bool)


def tilt_iteration() -> Callable[[], None]:
    """Return one pass: 4 updates of volume and probe from a tilt of 30° with angles off the axis."""
    generator = torch.Generator().manual_seed(2)
    geometry = Geometry(200e3, (_SIZE,) * 3, (_VOXEL,) * 3, (TILT.window, TILT.window), TILT.slices)
    patterns = PatternsInMemory()
    probe = torch.randn(TILT.modes, TILT.window, TILT.window, dtype=torch.complex64, generator=generator)
    probe *= (patterns.mean_electrons / probe.abs().square().sum()) ** 0.5
    side = (_SIZE - TILT.window - 4) * _VOXEL
    state = TomographyState.initial(
        (_SIZE,) * 3,
        torch.complex64,
        [probe],
        [(torch.rand(TILT.positions, 2, generator=generator).double() - 0.5) * side],
        torch.tensor([[1.0, 30.0, 0.5]]).double(),
        torch.tensor([[0.3, 0.2]]).double(),
    )
    mesh = Mesh.serial()
    groups = TiltGroups(mesh.tilt, _SETTINGS.tilt_groups, state, 1)

    def run() -> None:
        TiltUpdate(state, patterns, 0, geometry, _SETTINGS, mesh, groups, Stopwatch()).run()

    return run

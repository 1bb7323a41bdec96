"""The workloads: random data of realistic size; speed does not depend on the values."""

from dataclasses import dataclass

import torch

from dptt.kernels import Batch
from dptt.model.losses import Misfit

EPSILON = 1e-6


@dataclass(frozen=True)
class Workload:
    """One batch of positions, and the figure of merit to reach: time over that of the bare transforms."""

    positions: int
    window: int
    modes: int
    slices: int
    to_reach: float | None = None
    """Times the bare transforms."""
    seconds_to_reach: float | None = None
    """On an H100."""

    @property
    def name(self) -> str:
        """Workload in words."""
        return f"{self.positions} positions, {self.window}², {self.modes} modes, {self.slices} slices"

    @property
    def transforms(self) -> int:
        """Transforms that model and adjoint need at least: 2·slices - 1 each."""
        return 2 * (2 * self.slices - 1) * self.positions * self.modes

    @property
    def work(self) -> int:
        """pixel·mode·slice."""
        return self.positions * self.window**2 * self.modes * self.slices


KERNELS = (
    Workload(1024, 64, 3, 8, 1.8),
    Workload(256, 128, 3, 8, 1.8),
    Workload(1024, 66, 3, 8, 1.8),
    Workload(1024, 64, 1, 1, 6.0),
)
GPU_KERNELS = (Workload(16384, 128, 6, 6, seconds_to_reach=0.4),)


@dataclass(frozen=True)
class TiltIteration:
    """One pass over the patterns of a tilt: `volume`³ complex voxels, updated by `minibatches`."""

    work: Workload
    volume: int
    minibatches: int

    @property
    def name(self) -> str:
        """Workload in words."""
        return f"{self.volume}³ volume, {self.minibatches} minibatches, {self.work.name}"


TILTS = (TiltIteration(Workload(1024, 64, 3, 8, 3.0), 128, 4),)
GPU_TILTS = (TiltIteration(Workload(220**2, 66, 3, 8, seconds_to_reach=0.1), 296, 5),)
"""The experiment of [P] fig. 3."""


def make_batch(workload: Workload, device: str) -> Batch:
    """Return random data in single precision: weak phases, 10 electrons a pixel at most."""
    generator = torch.Generator().manual_seed(0)
    n, image = workload.window, workload.window + 64
    phase = 0.1 * torch.randn(workload.slices, image, image, generator=generator)
    along_y, along_x = torch.randn(2, n, generator=generator)  # a propagator is the product of two
    tensors = (
        torch.polar(torch.ones_like(phase), phase),
        torch.randn(workload.modes, n, n, dtype=torch.complex64, generator=generator),
        torch.randint(0, image, (workload.positions, 2), generator=generator),
        torch.rand(workload.positions, 2, generator=generator) - 0.5,
        torch.randint(0, 10, (workload.positions, n, n), generator=generator).float(),
        torch.polar(torch.ones(n, n), along_y[:, None] + along_x),
    )
    return Batch(*(tensor.to(device) for tensor in tensors), Misfit("amplitude", EPSILON))

"""dptt: what `dptt ptycho` runs for one tilt, with its defaults; the probe is refined from the first pass."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from compare_peers.problem import Problem
from compare_peers.protocol import serve
from dptt import __version__
from dptt.assembly.settings import ptychography_settings
from dptt.config.reconstruction import ProbeConfig, PtychographyConfig
from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.solvers.tomography import EpochRecord, reconstruct


class Patterns:
    """The patterns in memory, as the solver asks for them."""

    name, scale, mask, seconds_reading = "tilt", 1.0, None, 0.0

    def __init__(self, patterns: NDArray[np.float32], electrons: float) -> None:
        self._patterns, self.mean_electrons = torch.from_numpy(patterns), electrons

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        """Return some of them."""
        return self._patterns[indices]

    def prefetch(self, indices: torch.Tensor) -> None:
        """Everything is in memory."""

    def usable(self, indices: torch.Tensor) -> torch.Tensor:
        """None is faulty."""
        return torch.ones(len(indices), dtype=torch.bool)


class Dptt:
    """One tilt whose slices are the volume; `batch` is not used: dptt takes its own number of minibatches."""

    version = __version__

    def __init__(self, problem: Problem, slices: NDArray[np.complex128], batch: int, still: bool) -> None:
        count, *image = slices.shape
        n, pixel = problem.probe.shape[-1], problem.pixel
        self._geometry = Geometry(
            200e3, (count, *image), (problem.slice_thickness, pixel, pixel), (n, n), count, periodic=True
        )
        middle = (problem.positions + n // 2 - np.array(image) // 2) * pixel
        self._state = TomographyState.initial(
            (count, *image),
            torch.complex64,
            [torch.from_numpy(problem.probe).to(torch.complex64)],
            [torch.from_numpy(middle)],
            torch.zeros((1, 3), dtype=torch.float64),
            torch.zeros((1, 2), dtype=torch.float64),
        )
        self._phase = self._geometry.sigma * problem.slice_thickness
        self._state.volume.copy_(torch.from_numpy(np.angle(slices) / self._phase))
        settings = ptychography_settings(PtychographyConfig(probe=ProbeConfig(from_epoch=1)))
        self._settings = replace(settings, step=1e-9) if still else settings
        self._patterns = Patterns(problem.patterns, problem.electrons)

    def run_pass(self) -> float:
        """Run one epoch."""
        records: list[EpochRecord] = []
        settings = replace(self._settings, epochs=self._state.epoch + 1)
        reconstruct(self._state, [self._patterns], self._geometry, settings, Mesh.serial(), records.append)
        return records[-1].loss

    def slices(self) -> NDArray[np.complexfloating]:
        """Return the transmission functions of its volume."""
        return np.exp(1j * self._phase * self._state.volume.numpy())


if __name__ == "__main__":
    serve(Dptt)

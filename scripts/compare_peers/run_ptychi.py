"""pty-chi: LSQML, the solver that its authors advise, with its defaults."""

import compare_peers.torchvision_for_cpus  # noqa: F401  before what imports torchvision

# isort: split
import logging
from importlib.metadata import version

import numpy as np
import ptychi.api as api
from numpy.typing import NDArray
from ptychi.api.task import PtychographyTask

from compare_peers.problem import WAVELENGTH, Problem
from compare_peers.protocol import serve

METRE = 1e-10
"""Of an ångström."""


class PtyChi:
    """A task that is run for one epoch at a time."""

    version = version("ptychi")

    def __init__(self, problem: Problem, slices: NDArray[np.complex128], batch: int, still: bool) -> None:
        logging.getLogger("ptychi").setLevel(logging.WARNING)
        options = api.LSQMLOptions()
        options.data_options.wavelength_m = WAVELENGTH * METRE
        options.data_options.fft_shift = False
        options.object_options.pixel_size_m = problem.pixel * METRE
        options.object_options.slice_spacings_m = np.full(len(slices) - 1, problem.slice_thickness * METRE)
        origin = api.ObjectPosOriginCoordsMethods.SPECIFIED
        options.object_options.determine_position_origin_coords_by = origin
        options.object_options.position_origin_coords = np.full(2, problem.probe.shape[-1] / 2 - 0.5)
        options.reconstructor_options.default_device = api.Devices.CPU
        options.reconstructor_options.batch_size = batch
        options.reconstructor_options.random_seed = 0
        if still:
            options.object_options.optimizable = options.probe_options.optimizable = False
        self._task = PtychographyTask(
            options,
            diffraction_data=problem.patterns,
            object_data=slices.astype(np.complex64),
            probe_data=(problem.probe[None] / problem.probe.shape[-1]).astype(np.complex64),
            probe_position_y_px=problem.positions[:, 0],
            probe_position_x_px=problem.positions[:, 1],
        )

    def run_pass(self) -> float:
        """Run one epoch."""
        self._task.run(1)
        return float(self._task.reconstructor.loss_tracker.table["loss"].iloc[-1])

    def slices(self) -> NDArray[np.complexfloating]:
        """Return its object."""
        return self._task.get_data_to_cpu("object", as_numpy=True)


if __name__ == "__main__":
    serve(PtyChi)

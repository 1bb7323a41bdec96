"""phaser: its gradient engine on JAX, amplitude noise model, its ADAM; an observer halts it after every iteration."""

import threading
from importlib.metadata import version
from queue import Queue
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from phaser.engines.gradient.run import run_engine
from phaser.observer import Observer
from phaser.plan import GradientEnginePlan
from phaser.state import IterState, Patterns, PixelatedObjectState, PixelatedProbeState, ReconsState, ScanState
from phaser.utils.num import Sampling, get_backend_module
from phaser.utils.object import ObjectSampling

from compare_peers.problem import WAVELENGTH, Problem
from compare_peers.protocol import serve

RATE = 5e-3
"""Of the object, as in phaser's examples of the gradient engine."""


class Phaser(Observer):
    """A reconstruction in a thread of its own, which goes on for one iteration whenever it is asked to."""

    version = version("phaserEM")

    def __init__(self, problem: Problem, slices: NDArray[np.complex128], batch: int, still: bool) -> None:
        n, image = problem.probe.shape[-1], slices.shape[-1]
        sampling = Sampling((n, n), sampling=(problem.pixel, problem.pixel))
        grid = ObjectSampling((image, image), (problem.pixel, problem.pixel), corner=(0.0, 0.0))
        middle = (problem.positions + n / 2 - 0.5).astype(np.float32) * np.float32(problem.pixel)
        thicknesses = np.full(len(slices) if len(slices) > 1 else 0, problem.slice_thickness, dtype=np.float32)
        xp: Any = get_backend_module("jax")
        state = ReconsState(
            iter=IterState.empty(),
            wavelength=WAVELENGTH,
            probe=PixelatedProbeState(sampling, problem.probe.astype(np.complex64)),
            object=PixelatedObjectState(grid, slices.astype(np.complex64), thicknesses),
            scan=ScanState(middle, middle),
        )
        moving = 0.0 if still else 1.0
        probe_rate = 1e-2 * float(np.abs(problem.probe).max())
        plan = GradientEnginePlan.from_data(
            {
                "niter": 1_000_000,
                "grouping": batch,
                "bwlim_frac": None,
                "buffer_n_groups": None,
                "probe_modes": len(problem.probe),
                "noise_model": {"type": "amplitude", "eps": 0.0, "offset": 1e-6},
                "solvers": {"object": {"type": "adam", "learning_rate": moving * RATE},
                            "probe": {"type": "adam", "learning_rate": moving * probe_rate}},
                "regularizers": [], "group_constraints": [], "iter_constraints": [],
            }
        )  # fmt: skip
        patterns = Patterns(problem.patterns, np.ones((n, n), np.float32))
        self._told: Queue[bool] = Queue()
        self._ended: Queue[float] = Queue()
        self._state = state
        arguments: Any = {
            "data": patterns, "state": state.to_xp(xp), "dtype": np.float32, "xp": xp,
            "recons_name": "comparison", "observer": self, "seed": 0,
        }  # fmt: skip
        threading.Thread(target=run_engine, args=(arguments, plan), daemon=True).start()
        self._ended.get()

    def start_engine(self, init_state: ReconsState) -> None:
        """Wait for the first pass; everything is prepared."""
        self._ended.put(0.0)
        self._told.get()

    def update_iteration(self, state: ReconsState, i: int, n: int, errors: dict[str, float]) -> None:
        """Tell the loss, and wait for the next pass."""
        jax.block_until_ready(state.object.data)
        self._state = state
        self._ended.put(float(errors["detector_loss"]))
        self._told.get()

    def run_pass(self) -> float:
        """Let the engine do one iteration."""
        self._told.put(True)
        return self._ended.get()

    def slices(self) -> NDArray[np.complexfloating]:
        """Return its object."""
        return np.asarray(self._state.object.data)


if __name__ == "__main__":
    serve(Phaser)

"""Time to resolution: a simulated particle reconstructed with the defaults, evaluated after every epoch.

Judging is not counted. The particle is simulated once into the output folder and kept.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dptt.analysis.correlation import fourier_shell_correlation
from dptt.analysis.resampling import resample_volume
from dptt.assembly.problem import build_problem
from dptt.assembly.workload import series_workload
from dptt.commands.simulate import simulate
from dptt.config import load_config
from dptt.distributed.mesh import Mesh
from dptt.io.dataset import TiltSeries
from dptt.runtime.device import use_of
from dptt.solvers.tomography import EpochRecord, reconstruct

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
WITHIN = 0.05
"""Of the final resolution, and of the final mean correlation."""


def time_to_resolution(name: str, epochs: int, folder: Path, device: str, changes: Sequence[str] = ()) -> dict:
    """Return what each of `epochs` epochs of a shipped configuration, with `changes` to it, took and reached.

    The resolution is that at which the Fourier shell correlation with the truth falls to 0.5; where the voxels limit
    it, the mean of the correlation over all shells still tells epochs apart.
    """
    series = (folder / f"{name}.h5").resolve()
    overrides = [f"series={series}", f"run={series.with_suffix('')}", f"reconstruction.epochs={epochs}", *changes]
    config = load_config(CONFIGS / f"{name}.yaml", overrides)
    if not series.exists():
        folder.mkdir(parents=True, exist_ok=True)
        simulate(config)
    curve: list[dict] = []
    with TiltSeries.open(series) as tilts:
        alone, workload = Mesh.serial(), partial(series_workload, config, tilts)
        use = use_of(torch.device(device), workload, alone, config.distribution.memory, alone.world)
        problem = build_problem(config, tilts, use=use)
        problem.state.move_to(torch.device(device))
        geometry, truth = problem.geometry, tilts.truth()
        assert truth is not None and truth.volume is not None and truth.voxel_size is not None
        expected = truth.volume.astype(np.float64)
        if (truth.voxel_size, expected.shape) != (geometry.voxel_size, geometry.volume_shape):
            expected = resample_volume(expected, truth.voxel_size, geometry.voxel_size, geometry.volume_shape)

        def judge(record: EpochRecord) -> None:
            volume = problem.state.volume
            potential = (volume.real if volume.is_complex() else volume).double().cpu().numpy()
            shells = fourier_shell_correlation(potential, expected, geometry.voxel_size)
            curve.append(
                {
                    "epoch": record.epoch,
                    "seconds": record.seconds["total"],
                    "resolution_A": shells.resolution(0.5).full_period,
                    "mean_correlation": float(np.mean(shells.correlation)),
                    "correlation": float(np.corrcoef(potential.ravel(), expected.ravel())[0, 1]),
                    "held_out_loss": record.held_out_loss,
                }
            )

        reconstruct(problem.state, problem.tilts, geometry, problem.settings, alone, judge)
    return {"name": name, "curve": curve} | _reached(curve)


def _reached(curve: list[dict]) -> dict:
    """Return after which epoch, and after how many seconds, resolution and mean correlation are near their ends."""
    finest, best = curve[-1]["resolution_A"], curve[-1]["mean_correlation"]
    found = {}
    for what, is_near in (
        ("resolution", lambda e: e["resolution_A"] is not None and e["resolution_A"] <= (1 + WITHIN) * finest),
        ("mean_correlation", lambda e: e["mean_correlation"] >= (1 - WITHIN) * best),
    ):
        epoch = next(i for i, entry in enumerate(curve, 1) if is_near(entry))
        seconds = sum(entry["seconds"] for entry in curve[:epoch])
        found[what] = {"epochs": epoch, "seconds": seconds}
    return {"reached": found}

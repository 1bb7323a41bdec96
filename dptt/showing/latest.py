"""What a run folder holds at the moment, finished or not: for showing it, never for continuing it.

Nothing is locked and nothing is written: files of a run appear complete, so a running job is not disturbed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.start import centre_plane_probe
from dptt.config import Config, ConfigError, config_from_yaml
from dptt.io.checkpoint import checkpoint_exists, load_latest_checkpoint, read_checkpoint, read_checkpoint_rows
from dptt.io.dataset import TiltSeries
from dptt.io.errors import CheckpointError, ProblemsError
from dptt.io.hdf5_file import reading, text
from dptt.io.volumes import ReconstructedTilt, ReconstructedVolume
from dptt.model.calibration import readable
from dptt.model.forward import Geometry
from dptt.runtime.checkpoints import CALIBRATION
from dptt.runtime.earlier_results import start_of_reconstruction

RESULTS = ("volume.h5", "alignment.h5", "ptychography.h5", "brightfield.h5")
"""Results that carry the configuration with which they were made, the latest step first."""


def run_config(run: Path) -> Config:
    """Return the configuration of the latest result in a run folder.

    Raises
    ------
    ProblemsError
        The folder holds no result.
    """
    for name in RESULTS:
        if (run / name).exists():
            with reading(run / name, ProblemsError) as file:
                if "config" in file.attrs:
                    return config_from_yaml(text(file.attrs["config"]))
    path = run / "config.yaml"
    if path.exists():
        try:
            return config_from_yaml(path.read_text(encoding="utf-8"))
        except ConfigError as error:
            raise ProblemsError(path, [str(error)]) from None
    problem = "the folder holds no result. Run `dptt reconstruct` or an earlier step first, or name another folder."
    raise ProblemsError(run, [problem])


def latest_epoch(run: Path) -> int:
    """Return the epoch of the latest checkpoint; 0 if there is none."""
    try:
        return int(_attributes(run / "checkpoint.h5")["epoch"])
    except CheckpointError:
        return 0


def unfinished_volume(run: Path, config: Config, series: TiltSeries) -> ReconstructedVolume | None:
    """Return the latest checkpoint of a run as a volume; None if there is no complete one."""
    path = run / "checkpoint.h5"
    if not checkpoint_exists(path):
        return None
    try:
        arrays, attributes, _ = load_latest_checkpoint(path, _whole)
    except CheckpointError:
        return None
    geometry = plan_series_geometry(config, series, start_of_reconstruction(config, series, said=False))
    if arrays["volume"].shape != geometry.volume_shape:
        return None  # of other settings than the configuration
    names = [name.removeprefix("probes/") for name in arrays if name.startswith("probes/")]
    return ReconstructedVolume(
        volume=arrays["volume"],
        voxel_size=geometry.voxel_size,
        origin=(0.0, 0.0, 0.0),
        attributes={
            name: attributes[name] for name in ("config", "command", "created", "epoch") if name in attributes
        },
        tilts={name: _tilt(i, name, arrays, geometry) for i, name in enumerate(sorted(names))},
    )


def _tilt(index: int, name: str, arrays: dict[str, np.ndarray], geometry: Geometry) -> ReconstructedTilt:
    probe = torch.from_numpy(arrays[f"probes/{name}"])
    return ReconstructedTilt(
        euler_angles=tuple(arrays["euler_angles"][index].tolist()),
        translation=tuple(arrays["translations"][index].tolist()),
        scan_positions=arrays[f"positions/{name}"],
        probe=centre_plane_probe(probe, geometry).to(torch.complex64).numpy(),
        attributes={"weight": float(arrays["tilt_weights"][index])} | _calibration(index, arrays),
    )


def _calibration(index: int, arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Return what was found of the experiment of a tilt, by the names of a finished volume; empty if nothing was."""
    if CALIBRATION[0] not in arrays:
        return {}
    found = readable(*(torch.from_numpy(arrays[name][index]) for name in CALIBRATION))
    return {name: value for name, (value, _) in found.items()}


def _attributes(path: Path) -> dict[str, Any]:
    return load_latest_checkpoint(path, lambda file: ({}, dict(read_checkpoint(file).attributes)))[1]


def _whole(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the content of a checkpoint with all rows of the volume."""
    content = read_checkpoint(path)
    height = content.cut["volume"][0][1]
    rows = read_checkpoint_rows(path, ["volume"], range(height))
    return {**content.arrays, **rows}, dict(content.attributes)

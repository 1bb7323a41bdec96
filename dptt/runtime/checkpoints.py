"""Save and restore the state of a reconstruction; every rank writes and reads its own rows of the volume."""

import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dptt.config import Config
from dptt.distributed.mesh import Mesh
from dptt.io.checkpoint import (
    Arrays,
    Attributes,
    checked_rows,
    create_checkpoint,
    keep_previous,
    load_latest_checkpoint,
    read_checkpoint,
    read_checkpoint_rows,
)
from dptt.io.checksums import CheckpointContent
from dptt.io.errors import ChangedSettingsError, CheckpointError
from dptt.logs import log
from dptt.model.state import Descent, TomographyState
from dptt.runtime.agreement import failing_together
from dptt.runtime.provenance import provenance
from dptt.runtime.row_output import mpi_for_files, write_together

CALIBRATION = ("calibration", "calibration_errors")
"""Fields of the state that are stored once something is known."""


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of a run: its file, and the settings and tilts that it belongs to."""

    path: Path
    config: Config
    identity: str
    """Settings that shape the result, as JSON."""
    names: list[str]
    """Names of the tilts, in order."""
    height: int
    """Rows of the volume over all ranks."""
    mesh: Mesh


def save_state(checkpoint: Checkpoint, state: TomographyState) -> None:
    """Write `state`; all ranks call this together.

    Raises
    ------
    WriteError
        On every rank, if any rank could not write; the previous checkpoint is intact.
    """
    path, height, mesh = checkpoint.path, checkpoint.height, checkpoint.mesh
    arrays: dict[str, np.ndarray] = {
        "euler_angles": state.euler_angles.numpy(),
        "translations": state.translations.numpy(),
        "tilt_weights": state.tilt_weights.numpy(),
    }
    if state.calibration.any() or state.calibration_errors.any():  # otherwise nothing is known, and all are zero
        arrays |= {name: getattr(state, name).numpy() for name in CALIBRATION}
    for name, probe, positions in zip(checkpoint.names, state.probes, state.positions, strict=True):
        arrays[f"probes/{name}"], arrays[f"positions/{name}"] = probe.cpu().numpy(), positions.numpy()
    attributes: Attributes = {
        "epoch": state.epoch,
        **asdict(state.descent),
        "identity": checkpoint.identity,
        **provenance(checkpoint.config),
    }
    cut = {"volume": state.volume.cpu().numpy(), "velocity": state.velocity.cpu().numpy()}
    shapes = {name: ((block.shape[0], height, block.shape[2]), block.dtype) for name, block in cut.items()}
    write_together(
        path,
        mesh,
        height,
        lambda file: create_checkpoint(file, CheckpointContent(arrays, attributes, shapes), target=path),
        checked_rows(cut, mesh.rows(height).start),
        before_replacing=lambda file: keep_previous(file, path),
    )


def restore_state(checkpoint: Checkpoint, state: TomographyState, epochs: int) -> None:
    """Load the checkpoint into `state`, which may have another mesh than before; all ranks call this together.

    Raises
    ------
    CheckpointError
        On every rank: there is no intact checkpoint.
    ChangedSettingsError
        On every rank: the checkpoint belongs to a run with other settings, or has more than `epochs`.
    """
    try:
        arrays, attributes, used = load_latest_checkpoint(checkpoint.path, partial(_load_own_rows, checkpoint.mesh))
    except CheckpointError as error:
        cure = "Or discard it and restart with --restart."
        raise CheckpointError(checkpoint.path, [*error.problems, cure]) from None
    changed = _differences(json.loads(str(attributes["identity"])), json.loads(checkpoint.identity))
    if int(attributes["epoch"]) > epochs:
        changed.append(f"reconstruction.epochs is {epochs}, but {attributes['epoch']} epochs are complete.")
    if changed:
        cure = "The checkpoint belongs to a run with other settings. Set another `run` folder, or give --restart."
        raise ChangedSettingsError(used, [*changed, cure])
    if used != checkpoint.path:
        log.warning(f"warning: {checkpoint.path} is missing or damaged; {used.name}, the one before it, is sound")
        _set_aside(checkpoint)
    state.volume = torch.from_numpy(arrays["volume"])
    state.velocity = torch.from_numpy(arrays["velocity"])
    state.euler_angles = torch.from_numpy(arrays["euler_angles"])
    state.translations = torch.from_numpy(arrays["translations"])
    state.tilt_weights = torch.from_numpy(arrays["tilt_weights"])
    for name in CALIBRATION:
        if name in arrays:
            setattr(state, name, torch.from_numpy(arrays[name]))
    state.probes = [torch.from_numpy(arrays[f"probes/{name}"]) for name in checkpoint.names]
    state.positions = [torch.from_numpy(arrays[f"positions/{name}"]) for name in checkpoint.names]
    state.epoch = int(attributes["epoch"])
    known = [entry.name for entry in fields(Descent) if entry.name in attributes]  # older checkpoints have none
    state.descent = Descent(**{name: float(attributes[name]) for name in known})
    log.info(f"resumed from {used} after epoch {state.epoch}")


def _set_aside(checkpoint: Checkpoint) -> None:
    """Rename a damaged checkpoint: the next one must not move it to the place of the sound one before it."""
    with failing_together(checkpoint.mesh.world, checkpoint.path):
        if checkpoint.mesh.world.rank == 0 and checkpoint.path.exists():
            checkpoint.path.replace(checkpoint.path.with_name(f"{checkpoint.path.name}.damaged"))


def reload_volume(checkpoint: Checkpoint, epoch: int) -> tuple[Tensor, Tensor]:
    """Return this rank's rows of volume and velocity after `epoch`; all ranks call this together.

    Raises
    ------
    CheckpointError
        On every rank: there is no intact checkpoint of that epoch.
    """
    arrays, attributes, used = load_latest_checkpoint(checkpoint.path, partial(_load_own_rows, checkpoint.mesh))
    if int(attributes["epoch"]) != epoch:
        problem = f"is of epoch {attributes['epoch']}; expected {epoch}, to undo the next one"
        raise CheckpointError(used, [f"{problem}. Run the same command again to resume from it."])
    return torch.from_numpy(arrays["volume"]), torch.from_numpy(arrays["velocity"])


def _load_own_rows(mesh: Mesh, path: Path) -> tuple[Arrays, Attributes]:
    """Return the content of a checkpoint with the rows of this rank; raise on all ranks if it is damaged for one."""
    with failing_together(mesh.world, path, CheckpointError):
        content = read_checkpoint(path)
    with failing_together(mesh.world, path, CheckpointError):
        heights = {shape[1] for shape, _ in content.cut.values()}
        assert len(heights) == 1, heights
        own = mesh.rows(heights.pop())
        rows = read_checkpoint_rows(path, sorted(content.cut), own, mpi_for_files(mesh.world))
    return {**content.arrays, **rows}, dict(content.attributes)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the settings that differ between a checkpoint and the present run, as sentences."""
    differences = []
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            differences += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            differences.append(f"{prefix}{key} was {before!r} and is now {after!r}.")
    return differences

"""The state of a reconstruction to and from its checkpoint, of which every rank writes and reads its own rows."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
from dptt.io.errors import CheckpointError, ProblemsError
from dptt.logs import log
from dptt.model.state import TomographyState
from dptt.runtime.provenance import provenance
from dptt.runtime.row_output import mpi_for_files, write_together
from dptt.runtime.together import together


def save_state(
    path: Path, state: TomographyState, height: int, names: list[str], identity: str, config: Config, mesh: Mesh
) -> None:
    """Write a checkpoint of `state`, whose volume has `height` rows over all ranks; all ranks call this together.

    Raises
    ------
    WriteError
        On every rank, if one could not write; the checkpoint before is intact.
    """
    arrays: dict[str, np.ndarray] = {
        "euler_angles": state.euler_angles.numpy(),
        "translations": state.translations.numpy(),
        "tilt_weights": state.tilt_weights.numpy(),
    }
    for name, probe, positions in zip(names, state.probes, state.positions, strict=True):
        arrays[f"probes/{name}"], arrays[f"positions/{name}"] = probe.cpu().numpy(), positions.numpy()
    attributes: Attributes = {"epoch": state.epoch, "identity": identity, **provenance(config)}
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


def restore_state(
    path: Path, state: TomographyState, names: list[str], identity: str, epochs: int, mesh: Mesh
) -> None:
    """Continue `state` from a checkpoint of the same run, on any mesh; all ranks call this together.

    Raises
    ------
    CheckpointError
        On every rank: there is no sound checkpoint.
    ProblemsError
        On every rank: it belongs to a run with other choices.
    """
    try:
        arrays, attributes, used = load_latest_checkpoint(path, partial(_load_own_rows, mesh))
    except CheckpointError as error:
        raise CheckpointError(path, [*error.problems, "Or forget it and begin anew with --restart."]) from None
    changed = _differences(json.loads(str(attributes["identity"])), json.loads(identity))
    if int(attributes["epoch"]) > epochs:
        changed.append(f"reconstruction.epochs is {epochs}; {attributes['epoch']} are done already.")
    if changed:
        cure = "The checkpoint belongs to a run with other choices. Choose another `run` folder, or give --restart."
        raise ProblemsError(used, [*changed, cure])
    state.volume = torch.from_numpy(arrays["volume"])
    state.velocity = torch.from_numpy(arrays["velocity"])
    state.euler_angles = torch.from_numpy(arrays["euler_angles"])
    state.translations = torch.from_numpy(arrays["translations"])
    state.tilt_weights = torch.from_numpy(arrays["tilt_weights"])
    state.probes = [torch.from_numpy(arrays[f"probes/{name}"]) for name in names]
    state.positions = [torch.from_numpy(arrays[f"positions/{name}"]) for name in names]
    state.epoch = int(attributes["epoch"])
    log.info(f"resumed from {used} after epoch {state.epoch}")


def _load_own_rows(mesh: Mesh, path: Path) -> tuple[Arrays, Attributes]:
    """Return the content of a checkpoint with the rows of this rank; unsound for one rank is unsound for all."""
    with together(mesh.world, path, CheckpointError):
        content = read_checkpoint(path)
    with together(mesh.world, path, CheckpointError):
        heights = {shape[1] for shape, _ in content.cut.values()}
        assert len(heights) == 1, heights
        own = mesh.rows(heights.pop())
        rows = read_checkpoint_rows(path, sorted(content.cut), own, mpi_for_files(mesh.world))
    return {**content.arrays, **rows}, dict(content.attributes)


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Say which choices differ between a checkpoint and the present run."""
    found = []
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} was {before!r} and is now {after!r}.")
    return found

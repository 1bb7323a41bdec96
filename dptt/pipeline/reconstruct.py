"""`dptt reconstruct`: tilt series -> volume, with a checkpoint after every epoch."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dptt.build.problem import Problem, build_problem
from dptt.build.start import centre_plane_probe
from dptt.config import Config, config_yaml
from dptt.distributed.comm import Communicator
from dptt.io.checkpoint import checkpoint_exists, load_latest_checkpoint, save_checkpoint
from dptt.io.dataset import TiltSeries
from dptt.io.errors import CheckpointError, ProblemsError
from dptt.io.volumes import ReconstructedTilt, write_volume
from dptt.logs import MetricsFile, log, progress_bar, read_metrics
from dptt.model.state import TomographyState
from dptt.pipeline.folders import prepare_folder
from dptt.pipeline.health import log_health, tilt_health
from dptt.pipeline.provenance import provenance
from dptt.pipeline.start import start_of_reconstruction
from dptt.pipeline.steps import step_choices, step_identity
from dptt.solvers.tomography import EpochRecord
from dptt.solvers.tomography import reconstruct as solve


def reconstruct(
    config: Config, communicator: Communicator, restart: bool = False, restart_if_changed: bool = False
) -> Path:
    """Reconstruct `config.series` into `config.run` and return the volume file; resume a run that was interrupted.

    Parameters
    ----------
    restart
        Forget an earlier run.
    restart_if_changed
        Forget an earlier run that other choices shaped, instead of refusing to continue it.

    Raises
    ------
    ProblemsError
        The series, its calibration, or an existing checkpoint does not fit; all problems are listed.
    """
    run = config.run
    prepare_folder(run)
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        problem = build_problem(config, series, communicator.size, start_of_reconstruction(config, series))
        for sentence in problem.left_out:
            log.warning(sentence)
        checksum = series.checksum()
        identity = json.dumps(step_choices("reconstruction", config, checksum))
        state = problem.state
        resumed = not restart and checkpoint_exists(run / "checkpoint.h5")
        if resumed:
            try:
                _restore(state, run / "checkpoint.h5", identity, problem)
            except ProblemsError as error:
                if not restart_if_changed:
                    raise
                resumed = False
                for change in error.problems[:-1]:
                    log.info(f"begins anew: {change}")
        communicator.any(False)  # every rank has read the checkpoint before it may be removed
        if not resumed and communicator.rank == 0:
            _forget_earlier_run(run)
        _log_plan(problem, communicator)
        if communicator.rank == 0:
            (run / "config.yaml").write_text(config_yaml(config))
            metrics = MetricsFile(run / "metrics.jsonl", state.epoch)
        epochs = problem.settings.epochs

        with progress_bar("reconstruct", "tilt", communicator.rank) as progress:

            def on_epoch(record: EpochRecord) -> None:
                progress.say(epoch_line(record, epochs))
                if communicator.rank == 0:
                    # metrics first: a resumed run drops lines beyond its checkpoint, but cannot make up missing ones
                    metrics.append({"epochs": epochs, **asdict(record)})
                    _save(state, run / "checkpoint.h5", identity, problem.names, config)

            solve(
                state,
                problem.tilts,
                problem.geometry,
                problem.settings,
                communicator,
                on_epoch,
                on_tilt=lambda done, total: progress.update(state.epoch * total + done, epochs * total),
            )
        if communicator.rank == 0:
            _write_result(run, problem, config, series)
            log.info(f"wrote {run / 'volume.h5'}")
    return run / "volume.h5"


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """Return the log line of an epoch."""
    seconds = record.seconds
    held_out = f"  held-out {record.held_out_loss:.4e}" if record.held_out_loss is not None else ""
    sent = record.bytes_sent / max(record.updates, 1)
    moved = "".join(f"  {name.replace('_', ' ')} {value:.1e}" for name, value in record.changes.items() if value > 0)
    return (
        f"epoch {record.epoch:03d}/{epochs:03d}  loss {record.loss:.4e}{held_out}{moved}  {seconds['total']:.1f} s "
        f"(read {seconds['read']:.1f} compute {seconds['compute']:.1f} comm {seconds['communicate']:.1f})"
        + (f"  summed {sent / 1e6:.2f} MB an update" if sent else "")
    )


def _log_plan(problem: Problem, communicator: Communicator) -> None:
    geometry = problem.geometry
    size = " x ".join(str(n) for n in geometry.volume_shape)
    slices = geometry.num_slices * geometry.volume_shape[1] * geometry.volume_shape[2]
    volume_bytes = problem.state.volume.element_size() * problem.state.volume.numel()
    log.info(
        f"volume {size} voxels (z, y, x) of {geometry.voxel_size[2]:.4g} Å, {geometry.num_slices} slices of "
        f"{geometry.slice_thickness:.3g} Å, window {geometry.window_shape[0]} x {geometry.window_shape[1]}"
    )
    log.info(
        f"{len(problem.tilts)} tilts, {sum(len(p) for p in problem.state.positions)} patterns, "
        f"{len(problem.state.probes[0])} probe mode(s), {communicator.size} rank(s)"
    )
    if communicator.size > 1:
        log.info(
            f"scan mode: slice gradients of {slices * problem.state.volume.element_size() / 1e6:.2f} MB are summed "
            f"an update (the volume has {volume_bytes / 1e6:.2f} MB)"
        )


def _save(state: TomographyState, path: Path, identity: str, names: list[str], config: Config) -> None:
    arrays: dict[str, np.ndarray] = {
        "volume": state.volume.numpy(),
        "velocity": state.velocity.numpy(),
        "euler_angles": state.euler_angles.numpy(),
        "translations": state.translations.numpy(),
        "tilt_weights": state.tilt_weights.numpy(),
    }
    for name, probe, positions in zip(names, state.probes, state.positions, strict=True):
        arrays[f"probes/{name}"], arrays[f"positions/{name}"] = probe.numpy(), positions.numpy()
    save_checkpoint(path, arrays, {"epoch": state.epoch, "identity": identity, **provenance(config)})


def _restore(state: TomographyState, path: Path, identity: str, problem: Problem) -> None:
    """Continue from a checkpoint of the same run; the state is the same on every rank."""
    names = problem.names
    try:
        arrays, attributes, used = load_latest_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(path, [*error.problems, "Or forget it and begin anew with --restart."]) from None
    changed = _differences(json.loads(str(attributes["identity"])), json.loads(identity))
    if int(attributes["epoch"]) > problem.settings.epochs:
        changed.append(f"reconstruction.epochs is {problem.settings.epochs}; {attributes['epoch']} are done already.")
    if changed:
        raise ProblemsError(
            used,
            [f"{change}" for change in changed]
            + ["The checkpoint belongs to a run with other choices. Choose another `run` folder, or give --restart."],
        )
    state.volume = torch.from_numpy(arrays["volume"])
    state.velocity = torch.from_numpy(arrays["velocity"])
    state.euler_angles = torch.from_numpy(arrays["euler_angles"])
    state.translations = torch.from_numpy(arrays["translations"])
    state.tilt_weights = torch.from_numpy(arrays["tilt_weights"])
    state.probes = [torch.from_numpy(arrays[f"probes/{name}"]) for name in names]
    state.positions = [torch.from_numpy(arrays[f"positions/{name}"]) for name in names]
    state.epoch = int(attributes["epoch"])
    log.info(f"resumed from {used} after epoch {state.epoch}")


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


def _forget_earlier_run(run: Path) -> None:
    """Remove results that an earlier run with other choices left, so that old and new are never mixed."""
    for name in ("checkpoint.h5", "checkpoint.h5.previous", "metrics.jsonl", "volume.h5", "analysis.json"):
        (run / name).unlink(missing_ok=True)


def _write_result(run: Path, problem: Problem, config: Config, series: TiltSeries) -> None:
    state, geometry = problem.state, problem.geometry
    volume = state.volume.to(torch.complex64 if state.volume.is_complex() else torch.float32).numpy()
    health = tilt_health(config, problem, series, read_metrics(run / "metrics.jsonl"))
    log_health(health)
    tilts = {
        name: ReconstructedTilt(
            euler_angles=tuple(state.euler_angles[i].tolist()),  # type: ignore[arg-type]
            translation=tuple(state.translations[i].tolist()),  # type: ignore[arg-type]
            scan_positions=state.positions[i].numpy(),
            probe=centre_plane_probe(state.probes[i], geometry).to(torch.complex64).numpy(),
            attributes=health[name],
        )
        for i, name in enumerate(problem.names)
    }
    checksum = series.checksum()
    attributes: dict[str, str | int | float] = {
        **provenance(config, checksum),
        "identity": step_identity("reconstruction", config, checksum),
        "epochs": state.epoch,
        "left_out": "\n".join(problem.left_out),
    }
    write_volume(run / "volume.h5", volume, geometry.voxel_size, attributes, tilts, overwrite=True)

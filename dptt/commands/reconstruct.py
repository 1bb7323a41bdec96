"""`dptt reconstruct`: tilt series -> volume, with checkpoints."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dptt.assembly.descan import starts_with_descan
from dptt.assembly.problem import Problem, build_problem
from dptt.assembly.workload import series_workload
from dptt.config import Config, config_yaml
from dptt.config.schedules import without_effect
from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.io.checkpoint import checkpoint_exists
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.logs import MetricsFile, log, progress_bar
from dptt.model.patterns import Loaded
from dptt.model.read_ahead import ReadAhead
from dptt.runtime.agreement import failing_together, on_first_rank
from dptt.runtime.checkpoints import Checkpoint, reload_volume, restore_state, save_state
from dptt.runtime.device import compute_device, on_device, use_of
from dptt.runtime.earlier_results import start_of_reconstruction
from dptt.runtime.folders import prepare_folder
from dptt.runtime.pace import Pace
from dptt.runtime.row_output import mpi_for_reading
from dptt.runtime.same_input import check_same_series
from dptt.runtime.steps import step_settings
from dptt.runtime.stopping import Stop, first_reason
from dptt.runtime.volume_result import write_result
from dptt.solvers.tomography import EpochRecord, check_result
from dptt.solvers.tomography import reconstruct as solve
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.vacuum import Vacuum, set_constant_
from dptt.solvers.tomography.verdict import EPOCHS_BEFORE


def reconstruct(
    config: Config,
    communicator: Communicator,
    *,
    restart: bool = False,
    restart_if_changed: bool = False,
    stop: Stop | None = None,
) -> Path:
    """Reconstruct `config.series` into `config.run` and return the volume file; resume an interrupted run.

    Parameters
    ----------
    restart
        Discard an earlier run.
    restart_if_changed
        Discard an earlier run that had other settings, instead of refusing to continue it.
    stop
        Says after every epoch whether to end.

    Raises
    ------
    LaunchError
        The ranks cannot be laid out as `config.distribution` asks.
    ProblemsError
        The series, its calibration, or an existing checkpoint does not fit; all problems are listed.
    DivergedError
        On every rank: the volume explains the patterns no better than vacuum; the checkpoint stays.
    WriteError
        On every rank: a checkpoint or the result cannot be written.
    StoppedCleanly
        On every rank: `stop` ended the run, perhaps after everything was complete.
    """
    run, stop = config.run, stop or Stop()
    mesh = Mesh.of(communicator, config.distribution.tilt_groups.count, config.distribution.slabs)
    on_first_rank(communicator, lambda: prepare_folder(run))
    mpi = mpi_for_reading(communicator)
    opened = TiltSeries.open(config.series, leave_out_bad_tilts=True, mpi=mpi)
    with opened as series, ReadAhead[Loaded]() as ahead:
        checksum = series.checksum()
        check_same_series(config, checksum, communicator)
        problem, device = _assemble(config, series, mesh, ahead)
        checkpoint = Checkpoint(
            path=run / "checkpoint.h5",
            config=config,
            identity=json.dumps(step_settings("reconstruction", config, checksum)),
            names=problem.names,
            height=problem.geometry.volume_shape[1],
            mesh=mesh,
        )
        resumed = not restart and _resume(checkpoint, problem, restart_if_changed)
        problem.state.move_to(device)
        _log_plan(problem, mesh)
        metrics = _prepare_files(config, problem.state.epoch, resumed, communicator)
        before = f"epoch {problem.state.epoch}" if problem.state.epoch else "the start, before the first epoch"
        stop.agree(communicator, stop.signal, before)
        _solve(problem, checkpoint, metrics, stop)
        check_result(problem.state)
        vacuum = _set_constant(problem, mesh)
        write_result(run, problem, config, series, mesh, vacuum=vacuum)
        log.info(f"wrote {run / 'volume.h5'}")
        stop.agree(communicator, stop.signal, "volume.h5")
    return run / "volume.h5"


def _assemble(
    config: Config, series: TiltSeries, mesh: Mesh, ahead: ReadAhead[Loaded]
) -> tuple[Problem, torch.device]:
    """Return the problem at its start, and the device of this rank."""
    starts = start_of_reconstruction(config, series)
    calibration = config.reconstruction.calibration
    if calibration.descan:
        starts = starts_with_descan(starts, series, refined=isinstance(calibration.from_epoch, int))
    device = compute_device(config.distribution.device)
    workload = partial(series_workload, config, series, starts)
    use = use_of(device, workload, mesh, config.distribution.memory, mesh.world)
    problem = build_problem(
        config, series, num_ranks=mesh.world.size, starts=starts, rows=mesh.rows, use=use, ahead=ahead
    )
    mesh.check(problem.geometry.volume_shape[1], len(problem.tilts))
    for sentence in problem.left_out:
        log.warning(sentence)
    if mesh.world.rank == 0:
        for sentence in without_effect(config.reconstruction, "reconstruction"):
            log.warning(f"warning: {sentence}")
    return problem, device


def _resume(checkpoint: Checkpoint, problem: Problem, restart_if_changed: bool) -> bool:
    """Continue from the checkpoint if there is one that fits; return whether that was so."""
    if not on_first_rank(checkpoint.mesh.world, partial(checkpoint_exists, checkpoint.path)):
        return False
    try:
        restore_state(checkpoint, problem.state, problem.settings.epochs)
    except ProblemsError as error:
        if not restart_if_changed:
            raise
        for change in error.problems[:-1]:
            log.info(f"restarting: {change}")
        return False
    return True


def _prepare_files(
    config: Config, completed_epochs: int, resumed: bool, communicator: Communicator
) -> MetricsFile | None:
    """Write config.yaml and drop what does not belong to this run; return the metrics file on rank 0.

    Every rank has read the checkpoint before it may be removed here.
    """
    with failing_together(communicator, config.run):
        if communicator.rank > 0:
            return None
        if not resumed:
            _discard_earlier_run(config.run)
        (config.run / "config.yaml").write_text(config_yaml(config), encoding="utf-8")
        return MetricsFile(config.run / "metrics.jsonl", completed_epochs)


def _solve(problem: Problem, checkpoint: Checkpoint, metrics: MetricsFile | None, stop: Stop) -> None:
    """Run the remaining epochs; after each, write its metrics and, when due, a checkpoint; end if `stop` says so."""
    state, mesh, epochs = problem.state, checkpoint.mesh, problem.settings.epochs
    interval = checkpoint.config.distribution.checkpoint_interval
    pace = Pace(interval)
    with progress_bar("reconstruct", "tilt", mesh.world.rank) as progress:

        def on_epoch(record: EpochRecord) -> None:
            progress.say(epoch_line(record, epochs))
            for verdict in record.verdicts:
                progress.say(verdict.sentence())
            # metrics first: a resumed run drops lines beyond its checkpoint, but cannot make up missing ones
            with failing_together(mesh.world, checkpoint.path.with_name("metrics.jsonl")):
                if metrics is not None:
                    metrics.append({"epochs": epochs, **asdict(record)} | _verdicts(record))
            stop.end_piece()
            last = state.epoch == epochs  # little is left to do after it
            reason = "" if last else first_reason(mesh.world, stop.reason())
            if last or reason or pace.is_due(state.epoch, mesh.world):
                stop.begin_piece()
                with pace.writing():
                    save_state(checkpoint, state)
                stop.end_closing_piece()
            stop.end(reason, f"epoch {state.epoch} of {epochs}")
            stop.begin_piece()

        stop.begin_piece()
        solve(
            state,
            problem.tilts,
            problem.geometry,
            problem.settings,
            mesh,
            on_epoch,
            on_tilt=lambda done, total: progress.update(state.epoch * total + done, epochs * total),
            reload=partial(reload_volume, checkpoint) if interval.epochs == 1 else None,
        )


def _set_constant(problem: Problem, mesh: Mesh) -> Vacuum | None:
    """Set the constant of the finished volume by its vacuum, if the settings ask for it; the checkpoint stays."""
    if not problem.settings.regularisation.vacuum:
        return None
    vacuum = set_constant_(problem.state, problem.tilts, problem.geometry, problem.settings, mesh)
    if mesh.world.rank == 0:
        (log.info if vacuum.told else log.warning)(vacuum.sentence())
    return vacuum


def _verdicts(record: EpochRecord) -> dict[str, Any]:
    """Return the verdicts of an epoch as they are stored, each with its sentence."""
    return {"verdicts": [asdict(verdict) | {"sentence": verdict.sentence()} for verdict in record.verdicts]}


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """Return the log line of an epoch."""
    seconds = record.seconds
    held_out = f"  held-out {record.held_out_loss:.4e}" if record.held_out_loss is not None else ""
    sent = record.bytes_sent / max(record.updates, 1)
    moved = "".join(f"  {name.replace('_', ' ')} {value:.1e}" for name, value in record.changes.items() if value > 0)
    if record.fast_error > 0:
        moved += f"  error of half precision {record.fast_error:.1e}"
    return (
        f"epoch {record.epoch:03d}/{epochs:03d}  loss {record.loss:.4e}{held_out}{moved}  {seconds['total']:.1f} s "
        f"(read {seconds['read']:.1f} compute {seconds['compute']:.1f} comm {seconds['communicate']:.1f})"
        + (f"  summed {sent / 1e6:.2f} MB per update" if sent else "")
    )


def _log_plan(problem: Problem, mesh: Mesh) -> None:
    _warn_of_poses_not_judged(problem.settings)
    geometry = problem.geometry
    depth, height, width = geometry.volume_shape
    log.info(
        f"volume {depth} x {height} x {width} voxels (z, y, x) of {geometry.voxel_size[2]:.4g} Å, "
        f"{geometry.num_slices} slices of {geometry.slice_thickness:.3g} Å, "
        f"window {geometry.window_shape[0]} x {geometry.window_shape[1]}"
        + (f" pixels of {geometry.sampling[1]:.4g} Å" if geometry.pixels else "")
    )
    log.info(
        f"{len(problem.tilts)} tilts, {sum(len(p) for p in problem.state.positions)} patterns, "
        f"{len(problem.state.probes[0])} probe mode(s), {problem.settings.loss} loss, {mesh.world.size} rank(s)"
        + on_device(problem.state.volume.device)
    )
    _log_layout(problem, mesh)


def _warn_of_poses_not_judged(settings: TomographySettings) -> None:
    """Warn if a refinement of poses begins too late to be compared with the nominal values."""
    for name, refinement in (("angles", settings.angles), ("translations", settings.translations)):
        if refinement.start is not None and refinement.start < settings.epochs < refinement.start + EPOCHS_BEFORE:
            log.warning(
                f"{name} are refined from epoch {refinement.start + 1} of {settings.epochs}, too late to find out "
                f"whether that helps: it takes {EPOCHS_BEFORE} epochs. Begin earlier, or raise reconstruction.epochs"
            )


def _log_layout(problem: Problem, mesh: Mesh) -> None:
    """Log how the work and the volume are divided over the ranks."""
    volume = problem.state.volume
    depth, height, width = problem.geometry.volume_shape
    megabytes = volume.element_size() * height * width / 1e6
    if mesh.tilt.size > 1:
        log.info(
            f"tilt mode, approximate: {mesh.tilt.size} groups of {mesh.group.size} rank(s), each with its own tilts"
        )
    if mesh.slab.size > 1:
        log.info(
            f"slab mode: {mesh.slab.size} slabs; rank 0 holds {volume.shape[1]} of {height} rows, "
            f"{megabytes * depth * volume.shape[1] / height:.2f} MB of {megabytes * depth:.2f} MB"
        )
    elif mesh.scan.size > 1:
        log.info(
            f"scan mode: each update sums {megabytes * problem.geometry.num_slices:.2f} MB of slice gradients "
            f"(the volume has {megabytes * depth:.2f} MB)"
        )


def _discard_earlier_run(run: Path) -> None:
    """Remove the results of an earlier run with other settings, so that old and new are never mixed."""
    for name in (
        "checkpoint.h5",
        "checkpoint.h5.previous",
        "metrics.jsonl",
        "volume.h5",
        "analysis.json",
        "atoms.h5",
        "atoms.xyz",
    ):
        (run / name).unlink(missing_ok=True)

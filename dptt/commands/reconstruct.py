"""`dptt reconstruct`: tilt series -> volume, with a checkpoint after every epoch."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from dptt.assembly.problem import Problem, build_problem
from dptt.assembly.start import centre_plane_probe
from dptt.assembly.workload import series_workload
from dptt.config import Config, config_yaml
from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.io.checkpoint import checkpoint_exists
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedTilt, create_volume
from dptt.logs import MetricsFile, log, progress_bar, read_metrics
from dptt.model.patterns import reading_ends
from dptt.runtime.alike import check_same_series
from dptt.runtime.checkpoints import restore_state, save_state
from dptt.runtime.device import compute_device, on_device, use_of
from dptt.runtime.earlier_results import start_of_reconstruction
from dptt.runtime.folders import prepare_folder
from dptt.runtime.health import log_health, tilt_health
from dptt.runtime.provenance import provenance
from dptt.runtime.row_output import mpi_for_reading, write_together
from dptt.runtime.steps import step_choices, step_identity
from dptt.runtime.stopping import Stop
from dptt.runtime.together import together
from dptt.solvers.tomography import EpochRecord
from dptt.solvers.tomography import reconstruct as solve


def reconstruct(
    config: Config,
    communicator: Communicator,
    restart: bool = False,
    restart_if_changed: bool = False,
    stop: Stop | None = None,
) -> Path:
    """Reconstruct `config.series` into `config.run` and return the volume file; resume a run that was interrupted.

    Parameters
    ----------
    restart
        Forget an earlier run.
    restart_if_changed
        Forget an earlier run that other choices shaped, instead of refusing to continue it.
    stop
        Asked after every epoch whether to end there.

    Raises
    ------
    LaunchError
        The ranks cannot be laid out as `config.distribution` asks.
    ProblemsError
        The series, its calibration, or an existing checkpoint does not fit; all problems are listed.
    WriteError
        On every rank: a checkpoint or the result cannot be written.
    StoppedCleanly
        On every rank: it ended before the last epoch, as `stop` asked for.
    """
    run, stop = config.run, stop or Stop()
    mesh = Mesh.of(communicator, config.distribution.tilt_groups.count, config.distribution.slabs)
    prepare_folder(run)
    mpi = mpi_for_reading(communicator)
    with TiltSeries.open(config.series, leave_out_bad_tilts=True, mpi=mpi) as series, reading_ends():
        checksum = series.checksum()
        check_same_series(config, checksum, communicator)
        start = start_of_reconstruction(config, series)
        device = compute_device(config.distribution.device)
        workload = partial(series_workload, config, series, start)
        use = use_of(device, workload, mesh, config.distribution.memory, communicator)
        problem = build_problem(config, series, communicator.size, start, mesh.rows, use)
        mesh.check(problem.geometry.volume_shape[1], len(problem.tilts))
        for sentence in problem.left_out:
            log.warning(sentence)
        identity = json.dumps(step_choices("reconstruction", config, checksum))
        state, epochs = problem.state, problem.settings.epochs
        height = problem.geometry.volume_shape[1]
        resumed = not restart and checkpoint_exists(run / "checkpoint.h5")
        if resumed:
            try:
                restore_state(run / "checkpoint.h5", state, problem.names, identity, epochs, mesh)
            except ProblemsError as error:
                if not restart_if_changed:
                    raise
                resumed = False
                for change in error.problems[:-1]:
                    log.info(f"begins anew: {change}")
        state.move_to(device)
        _log_plan(problem, mesh)
        with together(communicator, run):  # after every rank has read the checkpoint, which may be removed now
            if communicator.rank == 0:
                if not resumed:
                    _forget_earlier_run(run)
                (run / "config.yaml").write_text(config_yaml(config))
                metrics = MetricsFile(run / "metrics.jsonl", state.epoch)

        with progress_bar("reconstruct", "tilt", communicator.rank) as progress:

            def on_epoch(record: EpochRecord) -> None:
                progress.say(epoch_line(record, epochs))
                # metrics first: a resumed run drops lines beyond its checkpoint, but cannot make up missing ones
                with together(communicator, run / "metrics.jsonl"):
                    if communicator.rank == 0:
                        metrics.append({"epochs": epochs, **asdict(record)})
                save_state(run / "checkpoint.h5", state, height, problem.names, identity, config, mesh)
                stop.end_piece()
                if state.epoch < epochs:  # what remains after the last one is short
                    stop.agree(communicator, stop.reason(), f"epoch {state.epoch} of {epochs}")
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
            )
        _write_result(run, problem, config, series, mesh)
        log.info(f"wrote {run / 'volume.h5'}")
    return run / "volume.h5"


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
        + (f"  summed {sent / 1e6:.2f} MB an update" if sent else "")
    )


def _log_plan(problem: Problem, mesh: Mesh) -> None:
    geometry, volume = problem.geometry, problem.state.volume
    depth, height, width = geometry.volume_shape
    megabytes = volume.element_size() * height * width / 1e6
    log.info(
        f"volume {depth} x {height} x {width} voxels (z, y, x) of {geometry.voxel_size[2]:.4g} Å, "
        f"{geometry.num_slices} slices of {geometry.slice_thickness:.3g} Å, "
        f"window {geometry.window_shape[0]} x {geometry.window_shape[1]}"
    )
    log.info(
        f"{len(problem.tilts)} tilts, {sum(len(p) for p in problem.state.positions)} patterns, "
        f"{len(problem.state.probes[0])} probe mode(s), {mesh.world.size} rank(s)" + on_device(volume.device)
    )
    if mesh.tilt.size > 1:
        log.info(
            f"tilt mode, approximate: {mesh.tilt.size} groups of {mesh.group.size} rank(s) have tilts of their own"
        )
    if mesh.slab.size > 1:
        log.info(
            f"slab mode: {mesh.slab.size} slabs, of which rank 0 holds {volume.shape[1]} of {height} rows, "
            f"{megabytes * depth * volume.shape[1] / height:.2f} MB of {megabytes * depth:.2f} MB"
        )
    elif mesh.scan.size > 1:
        log.info(
            f"scan mode: slice gradients of {megabytes * geometry.num_slices:.2f} MB are summed an update "
            f"(the volume has {megabytes * depth:.2f} MB)"
        )


def _forget_earlier_run(run: Path) -> None:
    """Remove results that an earlier run with other choices left, so that old and new are never mixed."""
    for name in ("checkpoint.h5", "checkpoint.h5.previous", "metrics.jsonl", "volume.h5", "analysis.json"):
        (run / name).unlink(missing_ok=True)


def _write_result(run: Path, problem: Problem, config: Config, series: TiltSeries, mesh: Mesh) -> None:
    state, geometry = problem.state, problem.geometry
    volume = state.volume.to(torch.complex64 if state.volume.is_complex() else torch.float32).cpu().numpy()

    def create(file: Path) -> None:
        checksum = series.checksum()
        attributes: dict[str, str | int | float] = {
            **provenance(config, checksum),
            "identity": step_identity("reconstruction", config, checksum),
            "epochs": state.epoch,
            "left_out": "\n".join(problem.left_out),
        }
        tilts = _tilts_found(run, problem, config, series)
        create_volume(
            file,
            (geometry.volume_shape, volume.dtype),
            geometry.voxel_size,
            target=run / "volume.h5",
            attributes=attributes,
            tilts=tilts,
        )

    write_together(run / "volume.h5", mesh, geometry.volume_shape[1], create, {"volume": volume})


def _tilts_found(run: Path, problem: Problem, config: Config, series: TiltSeries) -> dict[str, ReconstructedTilt]:
    state = problem.state
    health = tilt_health(config, problem, series, read_metrics(run / "metrics.jsonl"))
    log_health(health)
    return {
        name: ReconstructedTilt(
            euler_angles=tuple(state.euler_angles[i].tolist()),  # type: ignore[arg-type]
            translation=tuple(state.translations[i].tolist()),  # type: ignore[arg-type]
            scan_positions=state.positions[i].numpy(),
            probe=centre_plane_probe(state.probes[i].cpu(), problem.geometry).to(torch.complex64).numpy(),
            attributes=health[name],
        )
        for i, name in enumerate(problem.names)
    }

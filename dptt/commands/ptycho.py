"""`dptt ptycho`: ptychography of every tilt alone ([P] Algorithm 1); ranks share the tilts."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dptt.assembly.descan import starts_with_descan
from dptt.assembly.device_use import DeviceUse
from dptt.assembly.earlier_phases import compare_with_earlier
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.ptychography import (
    TiltProblem,
    all_positions,
    build_tilt_problem,
    cropped_positions,
    relative_illumination,
    slice_geometry,
)
from dptt.assembly.selection import chosen_positions
from dptt.assembly.start import TiltStart, centre_plane_probe, usable_tilts
from dptt.assembly.workload import ptychography_workload
from dptt.config import Config
from dptt.config.reconstruction import PtychographyConfig
from dptt.config.schedules import without_effect
from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.distributed.share import WHOLE, Share
from dptt.io.atomic_write import replace_bytes
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError, WriteError
from dptt.io.ptychography import TiltImage, link_tilt_images, read_tilt_image, tilt_is_done, write_tilt_image
from dptt.logs import log, progress_bar
from dptt.model.calibration import readable
from dptt.model.forward import Geometry
from dptt.model.patterns import Loaded
from dptt.model.read_ahead import ReadAhead
from dptt.report.drawing import to_png
from dptt.report.figures.ptychography import earlier_phases_figure, projections_figure
from dptt.runtime.agreement import failing_together, on_first_rank
from dptt.runtime.device import compute_device, on_device, use_of
from dptt.runtime.earlier_results import start_of_ptychography
from dptt.runtime.folders import prepare_folder
from dptt.runtime.provenance import provenance
from dptt.runtime.same_input import check_same_series
from dptt.runtime.steps import step_identity
from dptt.runtime.stopping import Stop
from dptt.solvers.tomography import DivergedError, EpochRecord, NonFiniteLossError, check_result, reconstruct


@dataclass(frozen=True)
class _Job:
    """What the reconstructions of all tilts have in common."""

    path: Path
    """Of ptychography.h5."""
    config: Config
    settings: PtychographyConfig
    series: TiltSeries
    starts: dict[str, TiltStart]
    selections: dict[str, np.ndarray]
    """Indices of the patterns of each tilt that take part."""
    geometry: Geometry
    device: torch.device
    use: DeviceUse
    ahead: ReadAhead[Loaded]
    attributes: dict[str, str]
    """Provenance and identity of the results."""

    def is_done(self, tilt: Tilt) -> bool:
        """Return whether the result of `tilt` is up to date."""
        return tilt_is_done(self.path, tilt.name, self.attributes["identity"])


def ptycho(config: Config, communicator: Communicator, share: Share = WHOLE, stop: Stop | None = None) -> Path:
    """Reconstruct every tilt of `config.series` by itself into `config.run`/ptychography.h5 and return that file.

    Tilts that are up to date, made from the same series with the same settings, are kept. A tilt whose loss is not
    finite is named and left out; the others are reconstructed. A `share` that is not the whole reconstructs its own
    tilts and links nothing; a later call for the whole links all tilts.

    Raises
    ------
    ProblemsError
        The series, its calibration or the configuration does not fit, or no tilt could be reconstructed.
    WriteError
        On every rank: a result cannot be written; complete tilts are kept.
    StoppedCleanly
        On every rank: `stop` ended the run after a tilt; complete tilts are kept.
    """
    stop = stop or Stop()
    on_first_rank(communicator, lambda: prepare_folder(config.run))
    path = config.run / "ptychography.h5"
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series, ReadAhead[Loaded]() as ahead:
        job, tilts = _prepare(path, config, series, communicator, ahead)
        own = share.of(tilts)[communicator.rank :: communicator.size]
        reason, failure = "", None
        try:
            reason = _reconstruct_tilts(job, own, communicator, stop)
        except WriteError as error:
            failure = error  # the other ranks complete their tilts before all of them raise it
        with failing_together(communicator, path):
            if failure:
                raise failure
        stop.agree(communicator, reason, "a tilt")  # also a barrier: all files are complete
        if not share.whole:
            log.info(
                f"share {share.number} of {share.count} is complete; run `dptt ptycho` without --share to link all "
                "tilts"
            )
            return path
        names = _done_by_all(job, own, communicator)
        on_first_rank(communicator, lambda: _finish(path, names, job, series))
    return path


def _prepare(
    path: Path, config: Config, series: TiltSeries, communicator: Communicator, ahead: ReadAhead[Loaded]
) -> tuple[_Job, list[Tilt]]:
    """Return what all tilts have in common, and the tilts that take part."""
    settings = config.ptychography or PtychographyConfig()
    checksum = series.checksum()
    check_same_series(config, checksum, communicator)
    starts = start_of_ptychography(config, series)
    if settings.calibration.descan:
        starts = starts_with_descan(starts, series, refined=isinstance(settings.calibration.from_epoch, int))
    volume = plan_series_geometry(config, series, starts)
    geometry = slice_geometry(settings, volume, series.semiangle_cutoff)
    exclude = config.reconstruction.exclude
    selections = {
        tilt.name: cropped_positions(
            starts[tilt.name].scan_positions,
            settings.edge_crop,
            tilt.name,
            among=chosen_positions(tilt.name, tilt.num_positions, config.half),
        )
        for tilt in series.tilts
        if tilt.name not in exclude
    }
    tilts, _, left_out = usable_tilts(series, selections, exclude, leave_out_faulty=True, starts=starts)
    for sentence in left_out:
        log.warning(sentence)
    if communicator.rank == 0:
        for sentence in without_effect(settings, "ptychography"):
            log.warning(f"warning: {sentence}")
    device = compute_device(config.distribution.device)
    workload = partial(ptychography_workload, settings, config.volume.kind, geometry, tilts, starts)
    use = use_of(device, workload, Mesh.serial(), config.distribution.memory, communicator)
    log.info(
        f"{len(tilts)} tilts, {geometry.num_slices} slice(s) of {geometry.slice_thickness:.3g} Å, image "
        f"{geometry.volume_shape[1]} x {geometry.volume_shape[2]} pixels of {geometry.voxel_size[2]:.4g} Å, "
        f"{communicator.size} rank(s), each with its own tilts" + on_device(device)
    )
    job = _Job(
        path=path,
        config=config,
        settings=settings,
        series=series,
        starts=starts,
        selections=selections,
        geometry=geometry,
        device=device,
        use=use,
        ahead=ahead,
        attributes={**provenance(config), "identity": step_identity("ptychography", config, checksum)},
    )
    return job, tilts


def _reconstruct_tilts(job: _Job, tilts: list[Tilt], communicator: Communicator, stop: Stop) -> str:
    """Reconstruct the tilts that are not up to date; return why it ended early, nothing if it did not."""
    worked = False  # a time limit that is over lets one tilt be made, or restarts would never end
    with progress_bar("ptycho", "tilt", communicator.rank) as progress:
        for done, tilt in enumerate(tilts):
            if not job.is_done(tilt):
                if reason := stop.reason() if worked else stop.signal:
                    return reason
                worked = True
                stop.begin_piece()
                problem = _tilt_problem(job, tilt)
                with communicator.working(f"reconstructing tilt {tilt.name}", alone=True):
                    _reconstruct_tilt(job, tilt, problem, progress.say)
                stop.end_piece()
            progress.update(done + 1, len(tilts))
    return ""


def _tilt_problem(job: _Job, tilt: Tilt) -> TiltProblem:
    start = job.starts[tilt.name]
    return build_tilt_problem(
        job.settings,
        job.series,
        tilt,
        kind=job.config.volume.kind,
        start=start,
        geometry=job.geometry,
        selection=job.selections[tilt.name],
        use=job.use,
        ahead=job.ahead,
    )


def _reconstruct_tilt(job: _Job, tilt: Tilt, problem: TiltProblem, say: Callable[[str], None]) -> None:
    """Solve one tilt and write its file; a tilt that diverges is named and has none."""
    began = time.perf_counter()
    records: list[EpochRecord] = []
    try:
        problem.state.move_to(job.device)
        reconstruct(
            problem.state,
            [problem.patterns],
            problem.geometry,
            problem.settings,
            Mesh.serial(),
            records.append,
        )
        check_result(problem.state)
    except (NonFiniteLossError, DivergedError) as error:
        log.warning(f"tilt {tilt.name} is left out: {error}")
        return
    problem.state.move_to(torch.device("cpu"))
    start = job.starts[tilt.name]
    write_tilt_image(job.path, tilt.name, _image(start, problem, records), job.attributes)
    say(_tilt_line(tilt, start, problem, records[-1]) + f"  {time.perf_counter() - began:.1f} s")


def _tilt_line(tilt: Tilt, start: TiltStart, problem: TiltProblem, record: EpochRecord) -> str:
    """Return the log line of a tilt."""
    moved = torch.from_numpy(start.scan_positions[problem.selection]) - problem.state.positions[0]
    return (
        f"tilt {tilt.name} ({start.euler_angles[1]:+.1f}°)  loss {record.loss:.4e}"
        + (f"  held-out {record.held_out_loss:.4e}" if record.held_out_loss is not None else "")
        + (f"  positions moved {moved.square().sum(1).mean().sqrt():.2f} Å rms" if moved.any() else "")
    )


def _image(start: TiltStart, problem: TiltProblem, records: list[EpochRecord]) -> TiltImage:
    state, geometry = problem.state, problem.geometry
    found = readable(state.calibration[0], state.calibration_errors[0])
    losses = {"loss": records[-1].loss, "first_loss": records[0].loss}
    if records[-1].held_out_loss is not None:
        losses["held_out_loss"] = records[-1].held_out_loss
    slices = state.volume.to(torch.complex64) * geometry.slice_thickness
    return TiltImage(
        slices=slices.numpy(),
        illumination=relative_illumination(state, geometry),
        probe=centre_plane_probe(state.probes[0], geometry).to(torch.complex64).numpy(),
        scan_positions=all_positions(start, problem),
        euler_angles=start.euler_angles,
        translation=start.translation,
        pixel_size=geometry.voxel_size[1:],
        slice_thickness=geometry.slice_thickness,
        attributes={
            **losses,
            "mean_electrons": problem.patterns.mean_electrons,
            "patterns_left_out": problem.patterns.num_left_out,
            **{name: value for name, (value, _) in found.items()},
        },
    )


def _done_by_all(job: _Job, own: list[Tilt], communicator: Communicator) -> list[str]:
    """Return the names of all tilts with a result, which each rank knows of its `own`: none may be overlooked."""
    messages = communicator.gather_messages(json.dumps([tilt.name for tilt in own if job.is_done(tilt)]))
    return sorted(name for message in messages for name in json.loads(message))


def _finish(path: Path, names: list[str], job: _Job, series: TiltSeries) -> None:
    """Draw the tilts that were reconstructed, and link them: the file of links means that the step is complete."""
    if not names:
        raise ProblemsError(path, ["no tilt could be reconstructed. Check the series with `dptt validate`."])
    images = {}
    for name in names:
        image = read_tilt_image(path, name)
        images[f"{image.euler_angles[1]:+.1f}°"] = (image.projection, image.illumination)
    picture = path.with_name("ptychography.png")
    replace_bytes(picture, to_png(lambda: projections_figure(images, job.geometry.voxel_size[1:])))
    _compare_with_earlier(path, names, job.geometry.voxel_size[1:], series)
    link_tilt_images(path, names, job.geometry.voxel_size[1:], job.attributes)
    log.info(f"wrote {path} and {picture}")


def _compare_with_earlier(path: Path, names: list[str], pixel_size: tuple[float, float], series: TiltSeries) -> None:
    """Say and draw how like the phases are that another program found in the tilts, where the series has any."""
    picture = path.with_name("ptychography_earlier.png")
    picture.unlink(missing_ok=True)
    if compared := compare_with_earlier(path, names, series):
        program = " and ".join(sorted({phases.program for phases in compared.values()}))
        phases = {title: (both.earlier, both.own) for title, both in compared.items()}
        replace_bytes(picture, to_png(lambda: earlier_phases_figure(phases, pixel_size, program)))
        correlations = sorted(both.correlation for both in compared.values())
        log.info(
            f"correlation with the phases of {program}: median {np.median(correlations):.3f}, "
            f"least {correlations[0]:.3f}; see {picture}"
        )

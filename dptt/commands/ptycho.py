"""`dptt ptycho`: every tilt alone ([P] Algorithm 1), tilts shared out over ranks; done tilts are not done again."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.ptychography import (
    TiltProblem,
    all_positions,
    build_tilt_problem,
    cropped_positions,
    relative_illumination,
    slice_geometry,
)
from dptt.assembly.start import TiltStart, centre_plane_probe, usable_tilts
from dptt.assembly.workload import ptychography_workload
from dptt.config import Config
from dptt.config.reconstruction import PtychographyConfig
from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.distributed.share import WHOLE, Share
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.ptychography import TiltImage, link_tilt_images, read_tilt_image, tilt_is_done, write_tilt_image
from dptt.logs import log, progress_bar
from dptt.model.forward import Geometry
from dptt.model.patterns import Loaded
from dptt.model.read_ahead import ReadAhead
from dptt.report.drawing import to_png
from dptt.report.figures.ptychography import projections_figure
from dptt.runtime.alike import check_same_series
from dptt.runtime.device import compute_device, on_device, use_of
from dptt.runtime.earlier_results import start_of_ptychography
from dptt.runtime.first_rank import first_rank_alone
from dptt.runtime.folders import prepare_folder
from dptt.runtime.provenance import provenance
from dptt.runtime.steps import step_identity
from dptt.runtime.stopping import Stop
from dptt.solvers.tomography import EpochRecord, NonFiniteLossError, reconstruct


def ptycho(config: Config, communicator: Communicator, share: Share = WHOLE, stop: Stop | None = None) -> Path:
    """Reconstruct every tilt of `config.series` by itself into `config.run`/ptychography.h5 and return that file.

    Tilts whose result is there, made from the same series with the same choices, are kept. A tilt whose loss is not
    finite is named and left out; the others are done. A `share` that is not the whole does its tilts and links
    nothing: the call for the whole does, which finds them done.

    Raises
    ------
    ProblemsError
        The series, its calibration or the configuration does not fit, or no tilt could be reconstructed.
    StoppedCleanly
        On every rank: it ended after a tilt, as `stop` asked for; tilts that are done stay.
    """
    choice, stop = config.ptychography or PtychographyConfig(), stop or Stop()
    prepare_folder(config.run)
    path = config.run / "ptychography.h5"
    opened = TiltSeries.open(config.series, leave_out_bad_tilts=True)
    with opened as series, ReadAhead[Loaded]() as ahead:
        checksum = series.checksum()
        check_same_series(config, checksum, communicator)
        identity = step_identity("ptychography", config, checksum)
        starts = start_of_ptychography(config, series)
        volume = plan_series_geometry(config, series, starts)
        geometry = slice_geometry(choice, volume, series.semiangle_cutoff)
        selections = {tilt.name: np.arange(tilt.num_positions) for tilt in series.tilts}
        tilts, _, left_out = usable_tilts(series, selections, config.reconstruction.exclude)
        for sentence in left_out:
            log.warning(sentence)
        device = compute_device(config.distribution.device)
        workload = partial(ptychography_workload, choice, config.volume.kind, geometry, tilts, starts)
        use = use_of(device, workload, Mesh.serial(), config.distribution.memory, communicator)
        log.info(
            f"{len(tilts)} tilts, {geometry.num_slices} slice(s) of {geometry.slice_thickness:.3g} Å, image "
            f"{geometry.volume_shape[1]} x {geometry.volume_shape[2]} pixels of {geometry.sampling[1]:.4g} Å, "
            f"{communicator.size} rank(s), each with its own tilts" + on_device(device)
        )
        attributes = {**provenance(config), "identity": identity}
        own = share.of(tilts)[communicator.rank :: communicator.size]
        with progress_bar("ptycho", "tilt", communicator.rank) as progress:
            reason = ""
            for done, tilt in enumerate(own):
                if not tilt_is_done(path, tilt.name, identity):
                    if reason := stop.reason():
                        break
                    stop.begin_piece()
                    start = starts[tilt.name]
                    kept = cropped_positions(start.scan_positions, choice.edge_crop, tilt.name)
                    problem = build_tilt_problem(
                        choice,
                        series,
                        tilt,
                        kind=config.volume.kind,
                        start=start,
                        geometry=geometry,
                        selection=kept,
                        use=use,
                        ahead=ahead,
                    )
                    with communicator.working(f"reconstructing tilt {tilt.name}", alone=True):
                        _reconstruct_tilt(path, tilt, start, problem, attributes, device, progress.say)
                    stop.end_piece()
                progress.update(done + 1, len(own))
        stop.agree(communicator, reason, "a tilt")  # also a barrier: all files are complete
        if not share.whole:
            log.info(f"share {share.number} of {share.count} is done; without --share, `dptt ptycho` links all tilts")
            return path
        names = [tilt.name for tilt in tilts if tilt_is_done(path, tilt.name, identity)]
        first_rank_alone(communicator, lambda: _finish(path, names, geometry, attributes))
    return path


def _reconstruct_tilt(
    path: Path,
    tilt: Tilt,
    start: TiltStart,
    problem: TiltProblem,
    attributes: dict[str, str],
    device: torch.device,
    say: Callable[[str], None],
) -> None:
    """Solve one tilt and write its file; a tilt that diverges is named and has none."""
    began = time.perf_counter()
    records: list[EpochRecord] = []
    try:
        problem.state.move_to(device)
        reconstruct(
            problem.state,
            [problem.patterns],
            problem.geometry,
            problem.settings,
            Mesh.serial(),
            records.append,
        )
    except NonFiniteLossError as error:
        log.warning(f"tilt {tilt.name} is left out: {error}")
        return
    problem.state.move_to(torch.device("cpu"))
    write_tilt_image(path, tilt.name, _image(start, problem, records), attributes)
    moved = torch.from_numpy(start.scan_positions[problem.selection]) - problem.state.positions[0]
    say(
        f"tilt {tilt.name} ({start.euler_angles[1]:+.1f}°)  loss {records[-1].loss:.4e}"
        + (f"  held-out {records[-1].held_out_loss:.4e}" if records[-1].held_out_loss is not None else "")
        + (f"  positions moved {moved.square().sum(1).mean().sqrt():.2f} Å rms" if moved.any() else "")
        + f"  {time.perf_counter() - began:.1f} s"
    )


def _image(start: TiltStart, problem: TiltProblem, records: list[EpochRecord]) -> TiltImage:
    state, geometry = problem.state, problem.geometry
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
        pixel_size=geometry.sampling,
        slice_thickness=geometry.slice_thickness,
        attributes={
            **losses,
            "mean_electrons": problem.patterns.mean_electrons,
            "patterns_left_out": problem.patterns.num_left_out,
        },
    )


def _finish(path: Path, names: list[str], geometry: Geometry, attributes: dict[str, str]) -> None:
    """Link the tilts that were reconstructed, and draw them."""
    if not names:
        raise ProblemsError(path, ["no tilt could be reconstructed. Check the series with `dptt validate`."])
    link_tilt_images(path, names, geometry.sampling, attributes)
    images = {}
    for name in names:
        image = read_tilt_image(path, name)
        images[f"{image.euler_angles[1]:+.1f}°"] = (image.projection, image.illumination)
    picture = path.with_name("ptychography.png")
    picture.write_bytes(to_png(lambda: projections_figure(images, geometry.sampling)))
    log.info(f"wrote {path} and {picture}")

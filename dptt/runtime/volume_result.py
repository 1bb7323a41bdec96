"""The result of a reconstruction: how well it explains the patterns, and the file `volume.h5`."""

from pathlib import Path

import torch

from dptt.assembly.problem import Problem
from dptt.assembly.start import centre_plane_probe
from dptt.config import Config
from dptt.distributed.mesh import Mesh
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import ReconstructedTilt, create_volume, volume_rows
from dptt.logs import log, read_metrics
from dptt.runtime.agreement import on_first_rank
from dptt.runtime.health import log_health, reach_of_scans, tilt_health
from dptt.runtime.provenance import provenance
from dptt.runtime.row_output import write_together
from dptt.runtime.steps import step_identity
from dptt.solvers.tomography import FinalFits, final_fits
from dptt.solvers.tomography.detuning import optics_preferences, preference_sentences, unsettled
from dptt.solvers.tomography.prediction import contradicted_tilt
from dptt.solvers.tomography.vacuum import Vacuum

NOTEWORTHY = 5.0
"""Standard deviations of the figure of fit above 1 from which on the optics are checked."""


def write_result(
    run: Path, problem: Problem, config: Config, series: TiltSeries, mesh: Mesh, *, vacuum: Vacuum | None = None
) -> None:
    """Judge the final state, and write `run`/volume.h5; all ranks call this together.

    `vacuum` is what the vacuum told of the constant of the volume, if it was asked.

    Raises
    ------
    WriteError
        On every rank: the file cannot be written.
    """
    log.info("judging the finished volume")
    fits = final_fits(problem.state, problem.tilts, problem.geometry, problem.settings, mesh)
    preferred = _preferred_optics(run, problem, mesh, fits) + _contradictions(problem, mesh)
    state, geometry = problem.state, problem.geometry
    height = geometry.volume_shape[1]
    volume = state.volume.to(torch.complex64 if state.volume.is_complex() else torch.float32).cpu().numpy()

    def create(file: Path) -> None:
        checksum = series.checksum()
        attributes: dict[str, str | int | float] = {
            **provenance(config, checksum),
            "identity": step_identity("reconstruction", config, checksum),
            "epochs": state.epoch,
            "loss_function": problem.settings.loss,
            "left_out": "\n".join(problem.left_out),
            "figure_of_fit": fits.together.figure,
            "figure_uncertainty": fits.together.uncertainty,
            "unexplained": fits.together.unexplained,
            "fitted_noise": fits.fitted_noise,
            "fit_of_held_out": int(fits.held_out),
            "preferences": "\n".join(preferred),
        }
        if vacuum is not None and vacuum.told:
            attributes |= {"total_potential_V_A3": vacuum.total, "total_potential_error": vacuum.error}
        tilts = _reconstructed_tilts(run, problem, config, series, fits)
        create_volume(
            file,
            (geometry.volume_shape, volume.dtype),
            geometry.voxel_size,
            target=run / "volume.h5",
            attributes=attributes,
            tilts=tilts,
        )

    write_together(run / "volume.h5", mesh, height, create, volume_rows(volume, mesh.rows(height).start))


def _preferred_optics(run: Path, problem: Problem, mesh: Mesh, fits: FinalFits) -> list[str]:
    """Return what the patterns would have otherwise, where more than shot noise is unexplained; log it."""
    if not fits.together.figure > 1 + NOTEWORTHY * fits.together.uncertainty:
        return []
    found = optics_preferences(problem.state, problem.tilts, problem.geometry, problem.settings, mesh)
    metrics, tilts = run / "metrics.jsonl", len(problem.names)
    changing = on_first_rank(mesh.world, lambda: unsettled(read_metrics(metrics), tilts))
    sentences = preference_sentences(found, problem.names, changing)
    for sentence in sentences:
        _warn(mesh, sentence)
    if left_out := len(preference_sentences(found, problem.names)) - len(sentences):
        log.info(
            f"other optics or poses ({left_out}) would gain less than the loss still changed by in the "
            f"last epochs ({100 * changing[0]:.2g} % of all tilts together), and are no evidence; more epochs tell"
        )
    elif not sentences:
        log.info(
            "no other defocus, scan step or scan rotation would lower the figure of fit: what is left is in the "
            "poses, or beyond the model, such as scattering past the edge of the detector"
        )
    return sentences


def _contradictions(problem: Problem, mesh: Mesh) -> list[str]:
    """Return what the tilts predict otherwise of one of them, whatever the figure of fit; log it."""
    found = contradicted_tilt(problem.state, problem.tilts, problem.geometry, problem.settings, mesh)
    if found is None:
        return []
    sentence = found.sentence(problem.names)
    _warn(mesh, f"{sentence}. Correct it, or leave it out with reconstruction.exclude, and run again")
    return [sentence]


def _warn(mesh: Mesh, sentence: str) -> None:
    """Log a warning once, for all ranks."""
    if mesh.world.rank == 0:
        log.warning(f"warning: {sentence}")


def _reconstructed_tilts(
    run: Path, problem: Problem, config: Config, series: TiltSeries, fits: FinalFits
) -> dict[str, ReconstructedTilt]:
    state = problem.state
    health = tilt_health(config, problem, series, read_metrics(run / "metrics.jsonl"), fits)
    log_health(health, fits, reach_of_scans(state.positions))
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

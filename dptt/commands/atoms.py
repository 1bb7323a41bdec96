"""`dptt atoms`: atoms fitted to the patterns, from those traced in the volume: coordinates, elements, error bars."""

from functools import partial
from pathlib import Path

import gemmi
import numpy as np

from dptt.analysis.summary import scan_sentence
from dptt.assembly.atoms import AtomFit, build_atom_fit
from dptt.assembly.fitted_atoms import scan_errors
from dptt.config import Config
from dptt.distributed.comm import Communicator
from dptt.io.atoms import SCAN_DOUBT, AtomsFile, write_atoms, write_xyz
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.model.atoms import PARAMETERS
from dptt.model.patterns import Loaded
from dptt.model.read_ahead import ReadAhead
from dptt.runtime.agreement import on_first_rank
from dptt.runtime.device import compute_device
from dptt.runtime.folders import prepare_folder
from dptt.runtime.provenance import provenance
from dptt.runtime.results import check_made_from, read_result
from dptt.runtime.same_input import check_same_series
from dptt.runtime.stopping import Stop, first_reason
from dptt.runtime.unfinished_atoms import (
    coherence_attributes,
    discard_progress,
    model_tilts,
    read_progress,
    write_progress,
)
from dptt.solvers.atoms import FittedAtoms, Progress, fit_atoms


def atoms(config: Config, identity: str, communicator: Communicator, stop: Stop | None = None) -> Path:
    """Fit atoms to the patterns of `config.series`; write `config.run`/atoms.h5 and .xyz, and return the first.

    Raises
    ------
    ConfigError
        There is no section `atoms`, or it names what is no element.
    ProblemsError
        There is no volume yet, it belongs to another series, or holds no atoms.
    AtomFitError
        On every rank: the loss is not finite, or no atom is left.
    WriteError
        On every rank: a result cannot be written.
    StoppedCleanly
        On every rank: `stop` ended the fit after a step, from which the same command continues.
    """
    stop = stop or Stop()
    on_first_rank(communicator, lambda: prepare_folder(config.run))
    path = config.run / "atoms.h5"
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series, ReadAhead[Loaded]() as ahead:
        checksum = series.checksum()
        check_same_series(config, checksum, communicator)
        result = read_result(config.run)
        check_made_from(series, result, config.run)
        device = compute_device(config.distribution.device)
        fit = build_atom_fit(config, series, result, communicator, device=device, ahead=ahead)
        grid, (height, width) = fit.fine.geometry, fit.fine.geometry.window_shape
        log.info(
            f"{len(fit.start.atoms)} atoms traced; {grid.num_slices} slices of {grid.slice_thickness:.3g} Å, "
            f"pixels of {grid.sampling[1]:.3g} Å, window {height} x {width}"
        )
        begun = read_progress(config.run, fit, identity, device)
        if begun is not None:
            log.info(f"continuing the fit of {len(begun.model.atoms)} atoms after {begun.passes:.0f} passes")

        def after_step(progress: Progress) -> None:
            stop.end_piece()
            if reason := first_reason(communicator, stop.reason()):
                on_first_rank(communicator, partial(write_progress, config.run, fit, progress, identity))
                stop.end(reason, f"{progress.passes:.0f} passes of the fit of atoms")
            stop.begin_piece()

        stop.begin_piece()
        fitted = fit_atoms(fit.coarse, fit.fine, begun or fit.start, fit.settings, log.info, after_step)
        attributes = provenance(config, checksum) | {"identity": identity}
        on_first_rank(communicator, partial(_write, path, fit, fitted, attributes))
        on_first_rank(communicator, partial(discard_progress, config.run))
    for line in fitted_lines(fitted, fit.settings.elements):
        log.info(line)
    tilts = model_tilts(fitted.model, fit.names, fit.fine.geometry).values()
    if scans := scan_errors(tilts, fitted.scan_doubt):
        log.info(scan_sentence(scans))
    return path


def _write(path: Path, fit: AtomFit, fitted: FittedAtoms, attributes: dict[str, str]) -> None:
    model, elements = fitted.model, fitted.elements
    content = AtomsFile(
        positions=model.atoms.positions.numpy(),
        atomic_numbers=model.atoms.atomic_numbers.numpy(),
        occupancies=model.atoms.occupancies.numpy(),
        b_factors=model.atoms.b_factors.numpy(),
        standard_errors=fitted.errors.numpy(),
        probabilities=elements.probabilities.numpy(),
        elements=np.asarray(fit.settings.elements, dtype=np.int64),
        told=elements.told.numpy(),
        attributes=attributes
        | {
            "figure_of_fit": fitted.figure,
            "figure_uncertainty": fitted.figure_uncertainty,
            SCAN_DOUBT: fitted.scan_doubt,
            "occupancy_scale": elements.scale,
            "tempering": elements.tempering,
            **{
                f"misfit_{name}": factor
                for name, factor in zip(PARAMETERS, fitted.misfit_factors.tolist(), strict=True)
            },
            **coherence_attributes(model),
            "thermal": "smeared" if model.vibrations is None else "diffuse",
            "added": fitted.added,
            "removed": fitted.removed,
        },
        tilts=model_tilts(model, fit.names, fit.fine.geometry),
    )
    write_xyz(path.with_suffix(".xyz"), content, {z: gemmi.Element(z).name for z in fit.settings.elements})
    write_atoms(path, content)  # last: it is the mark that the step is complete


def fitted_lines(fitted: FittedAtoms, allowed: tuple[int, ...]) -> list[str]:
    """Return the result in sentences."""
    atoms, choice = fitted.model.atoms, fitted.elements
    counts = [f"{int((atoms.atomic_numbers == z).sum())} {gemmi.Element(z).name}" for z in allowed]
    errors = fitted.errors[:, :3].median(dim=0).values.tolist()
    untold = int((~choice.told).sum())
    found = fitted.model.coherence
    coherence = [] if found is None else [f"the probes are those of {found.words} (standard deviations)"]
    return [
        f"{len(atoms)} atoms fitted to the patterns ({', '.join(counts)}) in {fitted.passes:.0f} passes; "
        f"{fitted.removed} traced atoms removed, {fitted.added} added",
        "standard errors (median): " + ", ".join(f"{a} {e:.4f}" for a, e in zip("zyx", errors, strict=True)) + " Å",
        f"element not told by the patterns: {untold} of {len(atoms)}",
        f"figure of fit of the atoms {fitted.figure:.3f} ± {fitted.figure_uncertainty:.3f} (1: all but the shot "
        "noise is explained)",
        *coherence,
    ]

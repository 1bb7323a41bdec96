"""`dptt analyze`: how good is the volume? Resolution, spectrum, atoms and poses, against the truth or half-sets."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dptt.analysis.atoms import TracedAtoms, trace_atoms
from dptt.analysis.field_of_view import FieldOfView
from dptt.analysis.plain import to_plain
from dptt.analysis.spectrum import power_spectrum
from dptt.analysis.summary import reliability_of_total, summary
from dptt.assembly.comparison import compare_atoms, compare_poses, field_of_view
from dptt.assembly.fitted_atoms import fitted_atoms
from dptt.assembly.half_sets import HalfSets, compare_half_sets, judge_peaks, read_half_sets
from dptt.assembly.resolution import resolution_against, within_view
from dptt.assembly.truth import true_potential
from dptt.config import Config
from dptt.io.atomic_write import replace_text
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.truth import Truth
from dptt.io.volumes import MEASURES, ReconstructedVolume
from dptt.logs import log
from dptt.runtime.half_sets import half_set_files, half_sets_are_outdated
from dptt.runtime.results import analysis_identity, check_made_from, read_result
from dptt.runtime.steps import current_identity, is_up_to_date


def analyze(config: Config) -> dict[str, Any]:
    """Measure the volume in `config.run`, write analysis.json beside it, and return its content.

    Raises
    ------
    ProblemsError
        There is no volume to analyze, it belongs to another series, or the half-sets cannot be read or differ in
        shape.
    """
    result = read_result(config.run, real_part=True)
    view = field_of_view(result, config)
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        check_made_from(series, result, config.run)
        nominal = {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in series.tilts}
        traced = _traced(result, config, view)  # before the truth is read: it takes the most memory
        truth = series.truth()
    analysis = {"identity": analysis_identity(config, result)} | _of_the_volume(result, view)
    analysis["atoms"] = to_plain(traced) | {"num_significant": int(np.sum(traced.is_significant()))}
    failures: list[str] = []
    halves: HalfSets | None = None
    if half_sets_are_outdated(config):
        log.warning(
            "warning: half_1 and half_2 are not of the present settings and are left out; `dptt run` renews them"
        )
    if files := half_set_files(config):
        truth = truth and replace(truth, volume=None)  # not needed, so not kept
        halves = read_half_sets(files, result, config)
        with _reported(failures, "the comparison of the half-sets"):
            halves = halves.registered()
            analysis |= compare_half_sets(halves, config, view)
    elif truth is not None and truth.volume is not None:
        with _reported(failures, "the comparison with the true potential"):
            analysis |= _against_truth(result, truth, config, view)
    if halves is not None:
        with _reported(failures, "the noise of the peaks by the half-sets"):
            analysis["atoms"] |= judge_peaks(traced, halves, config)
    if truth is not None and truth.atom_positions is not None:
        with _reported(failures, "the comparison with the true atoms"):
            analysis["atoms"] |= compare_atoms(traced, truth, config, analysis.get("registration", {}), view)
    if file := _fitted_atoms(config):
        with _reported(failures, "the comparison of the fitted atoms"):
            analysis["fitted_atoms"] = fitted_atoms(file, truth, config)
    if truth is not None and truth.tilts:
        with _reported(failures, "the comparison with the true poses"):
            analysis["poses"] = compare_poses(result, nominal, truth)
    analysis["warnings"] = failures
    replace_text(config.run / "analysis.json", json.dumps(to_plain(analysis)))
    for line in summary(to_plain(analysis)):
        log.info(line)
    return analysis


def _traced(result: ReconstructedVolume, config: Config, view: FieldOfView | None) -> TracedAtoms:
    return trace_atoms(
        result.volume,
        result.voxel_size,
        min_separation=config.analysis.min_separation,
        threshold=config.analysis.atom_threshold,
        within=None if view is None else view.holds,
    )


def _of_the_volume(result: ReconstructedVolume, view: FieldOfView | None) -> dict[str, Any]:
    """Return what the volume alone says, without truth or half-sets."""
    repeated = _repeated(result)
    analysis = {
        **repeated,
        "preferences": [line for line in str(result.attributes.get("preferences", "")).splitlines() if line],
        "power_spectrum": to_plain(power_spectrum(result.volume, result.voxel_size)),
        "volts": reliability_of_total(repeated),
    }
    if view is None:
        return analysis
    seen_by_all = view.counts(result.volume.shape, result.voxel_size) == len(view.rotations)
    return analysis | {"field_of_view": {"fraction": float(seen_by_all.mean())}}


def _repeated(result: ReconstructedVolume) -> dict[str, float]:
    values = {name: float(result.attributes.get(name, np.nan)) for name in MEASURES}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _fitted_atoms(config: Config) -> Path | None:
    """Return the file of fitted atoms, if there is one of the present settings."""
    file = config.run / "atoms.h5"
    if config.atoms is None or not file.exists():
        return None
    if is_up_to_date("atoms", config, current_identity("atoms", config)):
        return file
    log.warning(f"warning: {file} is not of the present settings and is left out; `dptt atoms` renews it")
    return None


@contextmanager
def _reported(failures: list[str], comparison: str) -> Iterator[None]:
    """Turn an exception of a comparison into a warning, in the log and in analysis.json: the volume deserves a page.

    What is wrong with a file that the user named (ProblemsError) is raised.
    """
    try:
        yield
    except ProblemsError:
        raise
    except Exception as error:
        failures.append(f"{comparison} failed: {error} ({type(error).__name__})")
        log.warning(f"warning: {failures[-1]}")


def _against_truth(
    result: ReconstructedVolume, truth: Truth, config: Config, view: FieldOfView | None
) -> dict[str, Any]:
    """Return resolution and correlation with the true potential, registered with the reconstruction."""
    potential = result.volume
    reference, moved = true_potential(truth, potential, result, config)
    correlation = _correlation(*(within_view(each, result.voxel_size, view) for each in (potential, reference)))
    return {
        "reference": "truth",
        "registration": moved,
        **resolution_against(potential, reference, result.voxel_size, config, view),
        "correlation": correlation,
        "total_potential_ratio": _total_ratio(potential, result, truth) if view is None else math.nan,
    }


def _correlation(potential: np.ndarray, reference: np.ndarray) -> float:
    """Return Pearson's, in double precision but plane by plane."""
    if np.ptp(potential) == 0 or np.ptp(reference) == 0:
        return float("nan")
    means = [volume.mean(dtype=np.float64) for volume in (potential, reference)]
    products = np.zeros((2, 2))
    for planes in zip(potential, reference, strict=True):
        deviations = np.stack([plane.ravel() - mean for plane, mean in zip(planes, means, strict=True)])
        products += deviations @ deviations.T
    return float(products[0, 1] / np.sqrt(products[0, 0] * products[1, 1]))


def _total_ratio(potential: np.ndarray, result: ReconstructedVolume, truth: Truth) -> float:
    assert truth.volume is not None and truth.voxel_size is not None
    reconstructed = potential.sum(dtype=np.float64) * np.prod(result.voxel_size)
    return float(reconstructed / (truth.volume.sum(dtype=np.float64) * np.prod(truth.voxel_size)))

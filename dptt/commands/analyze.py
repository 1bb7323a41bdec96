"""`dptt analyze`: how good is the volume? Resolution, spectrum, atoms and poses, against the truth or half-sets."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dptt.analysis.atoms import trace_atoms
from dptt.analysis.correlation import Resolution, fourier_shell_correlation, soft_mask
from dptt.analysis.directional_correlation import axis_directions, directional_fourier_shell_correlation
from dptt.analysis.plain import to_plain
from dptt.analysis.spectrum import power_spectrum
from dptt.analysis.summary import summary
from dptt.assembly.comparison import compare_atoms, compare_poses
from dptt.assembly.truth import true_potential
from dptt.config import Config, expand_path
from dptt.io.atomic_write import replace_text
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedVolume, read_volume
from dptt.logs import log
from dptt.runtime.results import analysis_identity, check_made_from, read_result

FEWEST_VOXELS = 20
"""Shells of a cone with fewer voxels correlate at random and are not drawn."""
CRITERIA: tuple[float | str, ...] = (0.5, 0.143, "one-bit", "half-bit")


def analyze(config: Config) -> dict[str, Any]:
    """Measure the volume in `config.run`, write analysis.json beside it, and return its content.

    Raises
    ------
    ProblemsError
        There is no volume to analyze, it belongs to another series, or the half-sets cannot be read or differ in
        shape.
    """
    result = read_result(config.run)
    potential = np.ascontiguousarray(result.volume.real.astype(np.float64))
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        check_made_from(series, result, config.run)
        truth = series.truth()
        nominal = {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in series.tilts}
    analysis: dict[str, Any] = {
        "identity": analysis_identity(config, result),
        "power_spectrum": to_plain(power_spectrum(potential, result.voxel_size)),
    }
    failures: list[str] = []
    if config.analysis.half_sets is not None:
        with _reported(failures, "the comparison of the half-sets"):
            analysis |= _against_half_sets(result, config)
    elif truth is not None and truth.volume is not None:
        with _reported(failures, "the comparison with the true potential"):
            analysis |= _against_truth(potential, result, truth, config)
    traced = trace_atoms(
        potential,
        result.voxel_size,
        min_separation=config.analysis.min_separation,
        threshold=config.analysis.atom_threshold,
    )
    analysis["atoms"] = to_plain(traced) | {"num_significant": int(np.sum(traced.is_significant()))}
    if truth is not None and truth.atom_positions is not None:
        with _reported(failures, "the comparison with the true atoms"):
            analysis["atoms"] |= compare_atoms(traced, truth, config, analysis.get("registration", {}))
    if truth is not None and truth.tilts:
        with _reported(failures, "the comparison with the true poses"):
            analysis["poses"] = compare_poses(result, nominal, truth)
    analysis["warnings"] = failures
    replace_text(config.run / "analysis.json", json.dumps(to_plain(analysis)))
    for line in summary(to_plain(analysis)):
        log.info(line)
    return analysis


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


def _against_half_sets(result: ReconstructedVolume, config: Config) -> dict[str, Any]:
    """Return the resolution at which two volumes agree that were reconstructed from halves of the data."""
    assert config.analysis.half_sets is not None
    first, second = (
        read_volume(expand_path(half)).volume.real.astype(np.float64) for half in config.analysis.half_sets
    )
    if first.shape != second.shape:
        problem = f"half-sets have shapes {first.shape} and {second.shape}; expected equal"
        raise ProblemsError(config.run / "volume.h5", [problem])
    return {"reference": "half-sets", **_resolution(first, second, result.voxel_size, config)}


def _against_truth(
    potential: np.ndarray, result: ReconstructedVolume, truth: Truth, config: Config
) -> dict[str, Any]:
    """Return resolution and correlation with the true potential, registered with the reconstruction."""
    reference, moved = true_potential(truth, potential, result, config)
    return {
        "reference": "truth",
        "registration": moved,
        **_resolution(potential, reference, result.voxel_size, config),
        "correlation": _correlation(potential, reference),
        "total_potential_ratio": _total_ratio(potential, result, truth),
    }


def _resolution(
    a: np.ndarray, b: np.ndarray, voxel_size: tuple[float, float, float], config: Config
) -> dict[str, Any]:
    if config.analysis.mask_radius is not None:
        shape = (a.shape[0], a.shape[1], a.shape[2])
        mask = soft_mask(shape, voxel_size, config.analysis.mask_radius, edge=2.0)
        a, b = a * mask, b * mask
    curve = fourier_shell_correlation(a, b, voxel_size)
    directional = directional_fourier_shell_correlation(a, b, voxel_size, axis_directions())
    resolutions = directional.resolution(0.5, FEWEST_VOXELS)
    fsc = to_plain(curve) | {
        "one_bit": to_plain(curve.threshold("one-bit")),
        "half_bit": to_plain(curve.threshold("half-bit")),
    }
    return {
        "fsc": fsc,
        "worst_direction": _worst("zyx", resolutions),
        "resolution": {str(criterion): _entry(curve.resolution(criterion)) for criterion in CRITERIA},
        "directional_fsc": [
            {
                "name": name,
                "direction": to_plain(direction),
                "frequency": to_plain(cone.frequency[cone.num_voxels >= FEWEST_VOXELS]),
                "correlation": to_plain(cone.correlation[cone.num_voxels >= FEWEST_VOXELS]),
                **_entry(resolution),
            }
            for name, direction, cone, resolution in zip(
                "zyx", directional.directions, directional.curves, resolutions, strict=True
            )
        ],
    }


def _entry(resolution: Resolution) -> dict[str, Any]:
    return {"resolution_A": to_plain(resolution.full_period), "at_nyquist": resolution.at_nyquist}


def _worst(names: str, resolutions: Sequence[Resolution]) -> dict[str, Any]:
    name, resolution = max(zip(names, resolutions, strict=True), key=lambda pair: pair[1].full_period)
    return {"name": name, **_entry(resolution)}


def _correlation(potential: np.ndarray, reference: np.ndarray) -> float:
    if np.ptp(potential) == 0 or np.ptp(reference) == 0:
        return float("nan")
    return float(np.corrcoef(potential.ravel(), reference.ravel())[0, 1])


def _total_ratio(potential: np.ndarray, result: ReconstructedVolume, truth: Truth) -> float:
    assert truth.volume is not None and truth.voxel_size is not None
    reconstructed = potential.sum() * np.prod(result.voxel_size)
    return float(reconstructed / (truth.volume.sum(dtype=np.float64) * np.prod(truth.voxel_size)))

"""`dptt analyze`: how good is the volume? Resolution, spectrum, atoms and poses, against the truth or half-sets."""

import json
from typing import Any

import numpy as np

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.atoms import trace_atoms
from dptt.analysis.correlation import fourier_shell_correlation, soft_mask
from dptt.analysis.directional_correlation import axis_directions, directional_fourier_shell_correlation
from dptt.analysis.plain import to_plain
from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.analysis.spectrum import power_spectrum
from dptt.assembly.truth import true_potential, undetermined_motion
from dptt.config import Config, expand_path
from dptt.io.atomic_write import write_beside
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
        There is no volume to analyze, it belongs to another series, or the half-sets differ in shape.
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
    if config.analysis.half_sets is not None:
        analysis |= _against_half_sets(result, config)
    elif truth is not None and truth.volume is not None:
        analysis |= _against_truth(potential, result, truth, config)
    analysis["atoms"] = _atoms(potential, result, truth, config, analysis.get("registration", {}))
    if truth is not None and truth.tilts:
        analysis["poses"] = _poses(result, nominal, truth)
    with write_beside(config.run / "analysis.json", overwrite=True) as partial:
        partial.write_text(json.dumps(to_plain(analysis)), encoding="utf-8")
    for line in summary(analysis):
        log.info(line)
    return analysis


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
        "correlation": float(np.corrcoef(potential.ravel(), reference.ravel())[0, 1]),
        "total_potential_ratio": _total_ratio(potential, result, truth),
    }


def summary(analysis: dict[str, Any]) -> list[str]:
    """Return the results as a few sentences for the log."""
    lines = []
    if "resolution" in analysis:
        lines += _resolution_lines(analysis)
    if "correlation" in analysis:
        lines.append(
            f"correlation with the truth {analysis['correlation']:.3f}, total potential "
            f"{analysis['total_potential_ratio']:.3f} of the truth"
        )
    lines += _atom_lines(analysis["atoms"])
    if analysis.get("poses"):
        poses = analysis["poses"]
        lines.append(
            f"poses: median error {poses['median_angle_error_deg']:.3f}° and "
            f"{poses['median_translation_error_A']:.3f} Å "
            f"(at the start {poses['nominal_median_angle_error_deg']:.3f}° and "
            f"{poses['nominal_median_translation_error_A']:.3f} Å)"
        )
    return lines


def _resolution_lines(analysis: dict[str, Any]) -> list[str]:
    values = [
        f"{criterion}: {entry['resolution_A']:.2f} Å" + (" (Nyquist)" if entry["at_nyquist"] else "")
        if entry["resolution_A"] is not None
        else f"{criterion}: not resolved"
        for criterion, entry in analysis["resolution"].items()
    ]
    along_axes = [
        f"{entry['name']} {entry['resolution_A']:.2f} Å"
        if entry["resolution_A"] is not None
        else f"{entry['name']} -"
        for entry in analysis["directional_fsc"]
    ]
    return [
        f"resolution against {analysis['reference']} by FSC criterion: " + ", ".join(values),
        "directional resolution (FSC 0.5): " + ", ".join(along_axes),
    ]


def _atom_lines(atoms: dict[str, Any]) -> list[str]:
    lines = [f"{len(atoms['positions'])} atoms traced above {atoms['threshold']:.1f} V"]
    if match := atoms.get("match"):
        lines.append(
            f"of {match['num_true']} true atoms: recall {match['recall']:.3f}, precision {match['precision']:.3f}, "
            + (
                f"RMSD {match['rmsd_A']:.3f} Å"
                if match["rmsd_A"] is not None
                else "no traced atom is near a true one"
            )
        )
    return lines


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


def _entry(resolution: Any) -> dict[str, Any]:
    return {"resolution_A": to_plain(resolution.full_period), "at_nyquist": resolution.at_nyquist}


def _total_ratio(potential: np.ndarray, result: ReconstructedVolume, truth: Truth) -> float:
    assert truth.volume is not None and truth.voxel_size is not None
    reconstructed = potential.sum() * np.prod(result.voxel_size)
    return float(reconstructed / (truth.volume.sum(dtype=np.float64) * np.prod(truth.voxel_size)))


def _atoms(
    potential: np.ndarray,
    result: ReconstructedVolume,
    truth: Truth | None,
    config: Config,
    registration: dict[str, Any],
) -> dict[str, Any]:
    settings = config.analysis
    traced = trace_atoms(
        potential, result.voxel_size, min_separation=settings.min_separation, threshold=settings.atom_threshold
    )
    atoms = to_plain(traced)
    if truth is None or truth.atom_positions is None:
        return atoms
    match = match_atoms(
        traced.positions,
        truth.atom_positions,
        settings.match_distance,
        align=undetermined_motion(config),
        true_numbers=truth.atomic_numbers,
        start=_inverse(registration),
    )
    atoms["true_positions"] = to_plain((truth.atom_positions - match.translation) @ match.rotation)
    atoms["match"] = to_plain(match) | {
        "rmsd_A": to_plain(match.rmsd),
        "num_true": len(truth.atom_positions),
        "num_found": len(traced.positions),
    }
    return atoms


def _inverse(registration: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the motion that moves the reconstruction onto the truth; `registration` moves the truth onto it."""
    if "rotation" not in registration:
        return None
    inverse = np.asarray(registration["rotation"]).T
    return inverse, -inverse @ np.asarray(registration["translation_A"])


def _poses(result: ReconstructedVolume, nominal: dict[str, Any], truth: Truth) -> dict[str, Any]:
    """Return the errors of the poses of all tilts that took part and whose true pose is known."""
    known = {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in truth.tilts}
    names = [name for name in result.tilts if name in known and name in nominal]
    refined = _as_poses([(result.tilts[name].euler_angles, result.tilts[name].translation) for name in names])
    true = _as_poses([known[name] for name in names])
    after, before = pose_errors(refined, true), pose_errors(_as_poses([nominal[name] for name in names]), true)
    return to_plain(
        {
            "median_angle_error_deg": float(np.median(np.abs(after.euler))),
            "median_translation_error_A": float(np.median(np.abs(after.translation))),
            "max_angle_error_deg": float(np.abs(after.euler).max()),
            "max_translation_error_A": float(np.abs(after.translation).max()),
            "nominal_median_angle_error_deg": float(np.median(np.abs(before.euler))),
            "nominal_median_translation_error_A": float(np.median(np.abs(before.translation))),
            "errors": after,
        }
    )


def _as_poses(pairs: list[Any]) -> TiltPoses:
    return TiltPoses(np.array([angles for angles, _ in pairs]), np.array([translation for _, translation in pairs]))

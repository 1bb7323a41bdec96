"""`dptt analyze`: how good is the volume? Resolution, spectrum, atoms, poses, against the truth or half-sets."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.atoms import trace_atoms
from dptt.analysis.correlation import fourier_shell_correlation, soft_mask
from dptt.analysis.directional_correlation import axis_directions, directional_fourier_shell_correlation
from dptt.analysis.plain import to_plain
from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.analysis.registration import register_rigid, register_translation
from dptt.analysis.resampling import resample_volume, shift_volume, transform_volume
from dptt.analysis.spectrum import power_spectrum
from dptt.config import Config
from dptt.io.atomic_write import write_beside
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedVolume, read_volume
from dptt.logs import log

FEWEST_VOXELS = 20
"""Shells of a cone with fewer voxels correlate at random and are not drawn."""
CRITERIA: tuple[float | str, ...] = (0.5, 0.143, "one-bit", "half-bit")


def analyze(config: Config) -> dict[str, Any]:
    """Measure the volume in `config.run`, write analysis.json beside it, and return what it holds.

    Raises
    ------
    ProblemsError
        There is no volume to analyze, or the half-sets do not fit together.
    """
    path = config.run / "volume.h5"
    if not path.exists():
        raise ProblemsError(path, ["there is no reconstructed volume. Run `dptt reconstruct` first."])
    result = read_volume(path)
    potential = np.ascontiguousarray(result.volume.real.astype(np.float64))
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        if not made_from(result, series):
            raise ProblemsError(
                path,
                [f"the volume was reconstructed from another series than {config.series}. Check `series` and `run`."],
            )
        truth = series.truth()
        nominal = {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in series.tilts}
    analysis: dict[str, Any] = {"identity": analysis_identity(config, result)}
    analysis |= {"power_spectrum": to_plain(power_spectrum(potential, result.voxel_size))}
    if config.analysis.half_sets is not None:
        halves = [read_volume(half).volume.real.astype(np.float64) for half in config.analysis.half_sets]
        if halves[0].shape != halves[1].shape:
            raise ProblemsError(
                path, [f"half-sets have shapes {halves[0].shape} and {halves[1].shape}; expected equal"]
            )
        analysis |= {"reference": "half-sets"} | _resolution(halves[0], halves[1], result.voxel_size, config)
    elif truth is not None and truth.volume is not None:
        reference, moved = true_potential(truth, potential, result, config)
        analysis |= {"reference": "truth", "registration": moved}
        analysis |= _resolution(potential, reference, result.voxel_size, config)
        analysis["correlation"] = float(np.corrcoef(potential.ravel(), reference.ravel())[0, 1])
        analysis["total_potential_ratio"] = _total_ratio(potential, result, truth)
    analysis["atoms"] = _atoms(potential, result, truth, config, analysis.get("registration", {}))
    if truth is not None and truth.tilts:
        analysis["poses"] = _poses(result, nominal, truth)
    with write_beside(config.run / "analysis.json", overwrite=True) as partial:
        partial.write_text(json.dumps(to_plain(analysis)))
    for line in summary(analysis):
        log.info(line)
    return analysis


def analysis_identity(config: Config, result: ReconstructedVolume) -> str:
    """Return what must be equal for an analysis to stand: the volume and what was asked of it."""
    return f"{result.attributes['created']} {config.analysis.model_dump_json()}"


def made_from(result: ReconstructedVolume, series: TiltSeries) -> bool:
    """Return whether a volume was reconstructed from this very series."""
    return result.attributes.get("series_checksum", "") in ("", series.checksum())


def summary(analysis: dict[str, Any]) -> list[str]:
    """Return the findings as a few sentences."""
    lines = []
    if "resolution" in analysis:
        values = [
            f"{criterion}: {entry['resolution_A']:.2f} Å" + (" (Nyquist)" if entry["at_nyquist"] else "")
            if entry["resolution_A"] is not None
            else f"{criterion}: not resolved"
            for criterion, entry in analysis["resolution"].items()
        ]
        lines.append(f"resolution against {analysis['reference']} by FSC criterion: " + ", ".join(values))
        along = [
            f"{entry['name']} {entry['resolution_A']:.2f} Å"
            if entry["resolution_A"] is not None
            else f"{entry['name']} -"
            for entry in analysis["directional_fsc"]
        ]
        lines.append("directional resolution (FSC 0.5): " + ", ".join(along))
    if "correlation" in analysis:
        lines.append(
            f"correlation with the truth {analysis['correlation']:.3f}, total potential "
            f"{analysis['total_potential_ratio']:.3f} of the truth"
        )
    atoms = analysis["atoms"]
    lines.append(f"{len(atoms['positions'])} atoms traced above {atoms['threshold']:.1f} V")
    if atoms.get("match"):
        match = atoms["match"]
        lines.append(
            f"of {match['num_true']} true atoms: recall {match['recall']:.3f}, precision {match['precision']:.3f}, "
            + (f"RMSD {match['rmsd_A']:.3f} Å" if match["rmsd_A"] is not None else "no found atom is near a true one")
        )
    if analysis.get("poses"):
        poses = analysis["poses"]
        lines.append(
            f"poses: median error {poses['median_angle_error_deg']:.3f}° and "
            f"{poses['median_translation_error_A']:.3f} Å "
            f"(at the start {poses['nominal_median_angle_error_deg']:.3f}° and "
            f"{poses['nominal_median_translation_error_A']:.3f} Å)"
        )
    return lines


def true_potential(
    truth: Truth, potential: np.ndarray, result: ReconstructedVolume, config: Config
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the true volume on the grid of the reconstruction, and the motion that was given to it.

    What was refined (poses, positions) leaves a common motion of the specimen undetermined; only then is the truth
    registered, by a rotation if angles were refined, else by a translation.
    """
    assert truth.volume is not None and truth.voxel_size is not None
    reference: np.ndarray = truth.volume.astype(np.float64)
    if any(truth.origin):
        reference = shift_volume(reference, np.asarray(truth.origin), truth.voxel_size)
    if truth.voxel_size != result.voxel_size or reference.shape != potential.shape:
        shape = (potential.shape[0], potential.shape[1], potential.shape[2])
        reference = resample_volume(reference, truth.voxel_size, result.voxel_size, shape)
    motion = undetermined_motion(config)
    moved: dict[str, Any] = {"kind": "none"}
    if motion != "none":
        shift = register_translation(potential, reference, result.voxel_size)
        reference = shift_volume(reference, shift, result.voxel_size)
        moved = {"kind": "translation", "translation_A": shift, "rotation": np.eye(3)}
    if motion == "rigid":
        rigid = register_rigid(potential, reference, result.voxel_size)
        reference = transform_volume(reference, rigid.rotation, rigid.translation, result.voxel_size)
        translation = rigid.rotation @ shift + rigid.translation
        moved = {
            "kind": "rigid",
            "translation_A": translation,
            "rotation": rigid.rotation,
            "angle_deg": rigid.angle,
        }
    return np.asarray(reference, dtype=np.float64), to_plain(moved)


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
                "frequency": to_plain(one.frequency[one.num_voxels >= FEWEST_VOXELS]),
                "correlation": to_plain(one.correlation[one.num_voxels >= FEWEST_VOXELS]),
                **_entry(resolution),
            }
            for name, direction, one, resolution in zip(
                "zyx", directional.directions, directional.curves, resolutions, strict=True
            )
        ],
    }


def _entry(resolution: Any) -> dict[str, Any]:
    return {"resolution_A": to_plain(resolution.full_period), "at_nyquist": resolution.at_nyquist}


def _total_ratio(potential: np.ndarray, result: ReconstructedVolume, truth: Truth) -> float:
    assert truth.volume is not None and truth.voxel_size is not None
    ours = potential.sum() * np.prod(result.voxel_size)
    return float(ours / (truth.volume.sum(dtype=np.float64) * np.prod(truth.voxel_size)))


def _atoms(
    potential: np.ndarray,
    result: ReconstructedVolume,
    truth: Truth | None,
    config: Config,
    registration: dict[str, Any],
) -> dict[str, Any]:
    choices = config.analysis
    traced = trace_atoms(
        potential, result.voxel_size, min_separation=choices.min_separation, threshold=choices.atom_threshold
    )
    atoms = to_plain(traced)
    if truth is None or truth.atom_positions is None:
        return atoms
    match = match_atoms(
        traced.positions,
        truth.atom_positions,
        choices.match_distance,
        align=undetermined_motion(config),
        true_numbers=truth.atomic_numbers,
        start=_undone(registration),
    )
    atoms["true_positions"] = to_plain((truth.atom_positions - match.translation) @ match.rotation)
    atoms["match"] = to_plain(match) | {
        "rmsd_A": to_plain(match.rmsd),
        "num_true": len(truth.atom_positions),
        "num_found": len(traced.positions),
    }
    return atoms


def _undone(registration: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the motion that brings the found volume back onto the truth, which was moved onto it."""
    if "rotation" not in registration:
        return None
    back = np.asarray(registration["rotation"]).T
    return back, -back @ np.asarray(registration["translation_A"])


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


def undetermined_motion(config: Config) -> Literal["none", "translation", "rigid"]:
    """Return which motion of the specimen the data of a run do not determine: poses or positions were fitted."""
    choices = config.reconstruction
    if choices.angles.from_epoch or getattr(config, "alignment", None) is not None:
        return "rigid"
    of_tilts = config.ptychography is not None and config.ptychography.positions.from_epoch
    moved = choices.translations.from_epoch or choices.positions.from_epoch or of_tilts
    return "translation" if moved else "none"


def load_analysis(run: Path) -> dict[str, Any] | None:
    """Return the analysis of a run, None if it was not analyzed."""
    path = run / "analysis.json"
    return json.loads(path.read_text()) if path.exists() else None

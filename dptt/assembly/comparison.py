"""Traced atoms and refined poses beside the true ones of a series."""

from typing import Any

import numpy as np

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.atom_registration import register_atoms
from dptt.analysis.atoms import TracedAtoms
from dptt.analysis.field_of_view import FieldOfView
from dptt.analysis.plain import to_plain
from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.assembly.truth import undetermined_motion
from dptt.config import Config
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedVolume


def compare_atoms(
    traced: TracedAtoms,
    truth: Truth,
    config: Config,
    volume_registration: dict[str, Any],
    view: FieldOfView | None = None,
) -> dict[str, Any]:
    """Return the match of traced and true atoms, the motion removed before, and the true atoms moved accordingly.

    If atoms were traced only within a `view`, the true atoms there must be found. Those at its border may be.
    """
    assert truth.atom_positions is not None
    undetermined, distance = undetermined_motion(config), config.analysis.match_distance
    true, numbers, counted = truth.atom_positions, truth.atomic_numbers, None
    if view is not None:
        near = view.holds(true, margin=-distance)
        true, numbers = true[near], None if numbers is None else numbers[near]
        counted = view.holds(true, margin=distance)
    registered = register_atoms(
        traced.positions,
        true,
        distance,
        undetermined=undetermined,
        true_numbers=numbers,
        start=_inverse(volume_registration),
    )
    match = registered.match
    if counted is not None:
        start = match.rotation, match.translation
        match = match_atoms(traced.positions, true, distance, true_numbers=numbers, start=start, counted=counted)
    return {
        "true_positions": to_plain((true - match.translation) @ match.rotation),
        "match": to_plain(match)
        | {
            "rmsd_A": to_plain(match.rmsd),
            "num_true": len(true) if counted is None else int(counted.sum()),
            "num_found": len(traced.positions),
        },
        "registration": to_plain(
            {
                "motion": registered.motion,
                "undetermined": undetermined,
                "displacement_A": registered.displacement,
                "distance_A": np.linalg.norm(registered.displacement),
                "angle_deg": registered.angle,
                "merit": registered.merit,
            }
        ),
    }


def _inverse(registration: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the motion that moves the reconstruction onto the truth; `registration` moves the truth onto it."""
    if "rotation" not in registration:
        return None
    inverse = np.asarray(registration["rotation"]).T
    return inverse, -inverse @ np.asarray(registration["translation_A"])


def compare_poses(result: ReconstructedVolume, nominal: dict[str, Any], truth: Truth) -> dict[str, Any]:
    """Return the errors of the poses of all tilts that took part and whose true pose is known.

    Raises
    ------
    ValueError
        No tilt of the volume has a true pose.
    """
    known = {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in truth.tilts}
    names = [name for name in result.tilts if name in known and name in nominal]
    if not names:
        raise ValueError(
            f"none of the tilts of the volume ({_some(list(result.tilts))}) has a true pose; the truth has those of "
            f"{_some(list(known))}"
        )
    refined = _as_poses([(result.tilts[name].euler_angles, result.tilts[name].translation) for name in names])
    true = _as_poses([known[name] for name in names])
    after, before = pose_errors(refined, true), pose_errors(_as_poses([nominal[name] for name in names]), true)
    errors: dict[str, Any] = to_plain(
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
    return errors


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _as_poses(pairs: list[Any]) -> TiltPoses:
    return TiltPoses(np.array([angles for angles, _ in pairs]), np.array([translation for _, translation in pairs]))


def field_of_view(result: ReconstructedVolume, config: Config) -> FieldOfView | None:
    """Return what all tilts see of a specimen that continues beyond the scan; None for one that ends within it."""
    tilts = [tilt for tilt in result.tilts.values() if tilt.scan_positions is not None]
    if not config.volume.extended or not tilts:
        return None
    return FieldOfView.of(
        [tilt.euler_angles for tilt in tilts],
        [tilt.translation for tilt in tilts],
        [tilt.scan_positions for tilt in tilts if tilt.scan_positions is not None],
    )

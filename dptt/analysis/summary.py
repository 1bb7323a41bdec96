"""The content of analysis.json as a few sentences for a log."""

from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "the mean potential of the volume is set by the constraints (l1, non-negativity) and is not measured"
BY_VACUUM = "the vacuum around the specimen is at 0 V; totals found so were 5 to 17 % below the truth"
"""Measured on the quickstart and on the gold series at 1e4 to 1e6 e/Å², see docs/results.md."""
REFERENCES = {"truth": "against the truth", "half-sets": "between two half-sets, corrected for mask and constraints,"}
UNCONFIRMED = "without a truth and without independent half-sets, no peak is confirmed to be an atom"


def summary(analysis: dict[str, Any]) -> list[str]:
    """Return the results, the most important first."""
    lines = _resolution_lines(analysis) if "resolution" in analysis else []
    if "field_of_view" in analysis:
        share = 100 * analysis["field_of_view"]["fraction"]
        lines.insert(0, f"judged is what all tilts see of the extended specimen: {share:.0f} % of the volume")
    if "correlation" in analysis:
        lines.append(
            f"correlation with the truth {_number(analysis['correlation'])}, total potential "
            f"{_number(analysis['total_potential_ratio'])} of the truth: {analysis.get('volts', NOT_MEASURED)}"
        )
    if "figure_of_fit" in analysis:
        unexplained = analysis.get("unexplained")
        noise = analysis.get("fitted_noise")
        rest = "" if noise is None else f", {noise:.3f} of it noise that the volume has fitted"
        rest += "" if unexplained is None else f", {100 * unexplained:.1f} % of the scattering unexplained"
        lines.append(
            f"figure of fit {analysis['figure_of_fit']:.3f} ± {analysis['figure_uncertainty']:.3f} (1: all but the "
            f"shot noise is explained){rest}"
        )
    lines += _peak_lines(analysis)
    if "fitted_atoms" in analysis:
        lines += _fitted_lines(analysis["fitted_atoms"])
    if analysis.get("poses"):
        lines.append(_pose_line(analysis["poses"]))
    return lines


def reliability_of_total(analysis: Mapping[str, Any]) -> str:
    """Say how far the total potential can be trusted."""
    error = analysis.get("total_potential_error")
    return NOT_MEASURED if error is None else f"{BY_VACUUM}, shot noise alone makes ± {100 * error:.1g} %"


def _resolution_lines(analysis: dict[str, Any]) -> list[str]:
    worst = analysis["worst_direction"]
    others = [
        f"{entry['name']} {_length(entry)}" for entry in analysis["directional_fsc"] if entry["name"] != worst["name"]
    ]
    overall = [f"{criterion}: {_length(entry)}" for criterion, entry in analysis["resolution"].items()]
    return [
        f"resolution {REFERENCES[analysis['reference']]} in the worst direction (FSC {worst['criterion']}): "
        f"{worst['name']} "
        f"{_length(worst)}; " + ", ".join(others),
        "resolution over all directions by FSC criterion: " + ", ".join(overall),
    ]


def _length(entry: dict[str, Any]) -> str:
    if entry["resolution_A"] is None:
        return "not resolved"
    length = f"{entry['resolution_A']:.2f} Å"
    return f"≤ {length} (voxel limit)" if entry["at_nyquist"] else length


def _peak_lines(analysis: dict[str, Any]) -> list[str]:
    atoms = analysis["atoms"]
    match, noise = atoms.get("match"), atoms["noise"]
    threshold = "" if atoms["threshold"] is None else f" above {atoms['threshold']:.1f} V"
    line = (
        f"{len(atoms['positions'])} peaks traced{threshold}, "
        f"{atoms['num_significant']} of them significant: above {noise['level']:.1f} standard deviations of the "
        f"noise in the vacuum{' and between the half-sets' if 'half_set_sigma' in atoms else ''}, which noise alone "
        f"exceeds in {noise['expected_false']:g} voxels of such a volume"
    )
    if match is None:
        return [line if analysis.get("reference") else f"{line}; {UNCONFIRMED}"]
    return [line, *_match_lines(match, atoms["registration"])]


def _match_lines(match: dict[str, Any], registration: dict[str, Any]) -> list[str]:
    rmsd = "no traced atom is near a true one" if match["rmsd_A"] is None else f"RMSD {match['rmsd_A']:.3f} Å"
    lines = [
        f"of {match['num_true']} true atoms: recall {_number(match['recall'])}, "
        f"precision {_number(match['precision'])}, {rmsd}"
    ]
    if motion := motion_sentence(registration):
        lines.append(motion)
    return lines


def _fitted_lines(fitted: dict[str, Any]) -> list[str]:
    errors = ", ".join(f"{axis} {e:.4f}" for axis, e in zip("zyx", fitted["standard_errors_A"], strict=True))
    lines = [
        f"{fitted['num_atoms']} atoms fitted to the patterns: standard errors {errors} Å (median), element not told "
        f"for {fitted['not_told']}, figure of fit {fitted['figure_of_fit']:.3f}"
    ]
    if scans := fitted.get("scans"):
        lines.append(scan_sentence(scans))
    if truth := fitted.get("against_truth"):
        axes = ", ".join(f"{axis} {_number(d)}" for axis, d in zip("zyx", truth["rmsd_axes_A"], strict=True))
        ratios = ", ".join(f"{axis} {_number(r)}" for axis, r in zip("zyx", truth["error_ratio"], strict=True))
        lines.append(
            f"fitted against true atoms: recall {_number(truth['recall'])}, precision {_number(truth['precision'])}, "
            f"RMSD {_number(truth['rmsd_A'])} Å ({axes}), elements right {_number(truth.get('elements_right'))}; "
            f"(fitted - true) / error has the rms {ratios}"
        )
    return lines


def scan_sentence(scans: dict[str, float]) -> str:
    """Say what the atoms tell of the scans, from `assembly.fitted_atoms.scan_errors`."""
    scale, doubt = scans["scan_scale_percent"], scans["scan_scale_percent_doubt"]
    size, angles = ("larger", "smaller") if scale > 0 else ("smaller", "larger")
    return (
        f"the scans are {abs(scale):.2f} ± {doubt:.1f} % {size} than told (mean of all tilts), or the angles of the "
        f"detector so much {angles}; beyond what the reconstruction found, they are turned by "
        f"{scans['scan_rotation_deg']:.2f}°, sheared by {scans['scan_shear_percent']:.2f} %, and y is "
        f"{scans['scan_y_longer_than_x_percent']:.2f} % longer than x. Tilts differ by "
        f"{scans['scan_scale_percent_spread']:.2f} % and {scans['scan_rotation_deg_spread']:.2f}°"
    )


def motion_sentence(registration: dict[str, Any]) -> str:
    """Say which common motion was removed before atoms were compared, or that none makes them agree."""
    if registration["merit"] < 0.5:
        return (
            f"no common motion joins traced and true atoms: only {100 * registration['merit']:.0f} % of the smaller "
            "set has a partner"
        )
    if registration["motion"] == "none":
        return ""
    shift = ", ".join(f"{axis} {d:+.2f}" for axis, d in zip("zyx", registration["displacement_A"], strict=True))
    turned = f" and rotated by {registration['angle_deg']:.2f}°" if registration["motion"] == "rigid" else ""
    sentence = f"all atoms are displaced together by {registration['distance_A']:.2f} Å ({shift}){turned}; removed"
    if registration["motion"] == registration["undetermined"]:
        return f"{sentence}, because the refined poses leave this motion undetermined"
    return (
        f"{sentence} before they were compared, although this run should have determined it: check the origin or "
        "`atoms_centre` of the truth, the centre of the scan and the angles"
    )


def _pose_line(poses: dict[str, Any]) -> str:
    return (
        f"poses: median error {poses['median_angle_error_deg']:.3f}° and "
        f"{poses['median_translation_error_A']:.3f} Å "
        f"(at the start {poses['nominal_median_angle_error_deg']:.3f}° and "
        f"{poses['nominal_median_translation_error_A']:.3f} Å)"
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"

"""The top of the page: the few numbers and sentences that tell how good a reconstruction is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.report.content import ReportContent, column, find, number, numbers, text, vectors
from dptt.report.drawing import MINUS, compact, signed
from dptt.report.figures.convergence import epoch_numbers
from dptt.report.figures.resolution import resolution_text

CONVERGED_CHANGE = 0.02
"""The loss has converged if it changes by less than this fraction over the last quarter of the epochs."""
OVERFIT_RISE = 0.02
"""The held-out loss shows overfitting if it has risen above its minimum by more than this fraction."""
MIN_MERIT = 0.5
"""Fraction of the smaller set of atoms that must have a partner for a comparison to mean anything."""
MIN_EPOCHS = 4
"""To judge convergence."""
CRITERIA = {"truth": ("0.5", "0.143", "one-bit"), "half-sets": ("one-bit", "0.143", "0.5")}
REFERENCES = {"truth": "against the truth", "half-sets": "between half data sets"}
SCALE = "of what was told, by the fitted atoms; the volume has what was told"
FIT = ("figure_of_fit", "figure_uncertainty", "unexplained", "fitted_noise")
NOT_CONFIRMED = "Not confirmed as atoms: there is no truth, and no independent half-sets were made"
NOT_MEASURED = "the mean of the volume is set by the constraints (l1, non-negativity) and is not measured"


@dataclass(frozen=True)
class Fact:
    """One number of the headline."""

    label: str
    value: str
    detail: str = ""


def headline_facts(content: ReportContent) -> list[Fact]:
    """Return the numbers that are known, the most important first."""
    analysis = content.analysis
    facts = [
        *_resolution(analysis),
        *_atoms(find(analysis, "atoms"), text(analysis, "reference")),
        *_fitted(find(analysis, "fitted_atoms")),
    ]
    correlation, ratio = number(analysis, "correlation"), number(analysis, "total_potential_ratio")
    if correlation is not None:
        facts.append(Fact("Correlation", signed(correlation, 3), "with the truth" if _is_truth(analysis) else ""))
    if ratio is not None:
        facts.append(Fact("Total potential", signed(ratio, 3), f"relative to the truth; {_volts(analysis)}"))
    elif (total := number(analysis, "total_potential_V_A3")) is not None:
        facts.append(Fact("Total potential", f"{total:.4g} V Å³", _volts(analysis)))
    return [*facts, *_poses(find(analysis, "poses")), *_fit(analysis)]


def _volts(analysis: Any) -> str:
    return text(analysis, "volts") or NOT_MEASURED


def _fit(analysis: Any) -> list[Fact]:
    figure, uncertainty, unexplained, noise = (number(analysis, key) for key in FIT)
    if figure is None or uncertainty is None:
        return []
    detail = "loss over that of shot noise: 1 if all else is explained"
    if noise is not None and figure > 1:
        detail += f"; {min(noise, figure - 1):.3f} above 1 is noise that the volume has fitted"
    if unexplained is not None:
        detail += f"; {100 * unexplained:.1f} % of the scattering is not"
    return [Fact("Figure of fit", f"{figure:.3f} ± {uncertainty:.3f}", detail)]


def _is_truth(analysis: Any) -> bool:
    return text(analysis, "reference") == "truth"


def _resolution(analysis: Any) -> list[Fact]:
    reference = text(analysis, "reference") or ""
    lengths = {
        c: resolution_text(find(analysis, "resolution", c)) for c in CRITERIA.get(reference, CRITERIA["half-sets"])
    }
    known = [(criterion, length) for criterion, length in lengths.items() if length is not None]
    compared = REFERENCES.get(reference, reference)
    worst, name = resolution_text(find(analysis, "worst_direction")), text(analysis, "worst_direction", "name")
    if worst is not None and name is not None:
        along = [
            f"{text(entry, 'name')}: {resolution_text(entry)}"
            for entry in find(analysis, "directional_fsc") or []
            if text(entry, "name") != name
        ]
        level = number(analysis, "worst_direction", "criterion") or 0.5
        details = [f"worst direction, FSC {level:g} {compared}".rstrip(), *along]
        overall = ", ".join(f"{criterion}: {length}" for criterion, length in known)
        return [Fact("Resolution", f"{worst} along {name}", "; ".join([*details, f"over all directions {overall}"]))]
    if not known:
        return []
    (criterion, length), others = known[0], known[1:]
    how = f"FSC {criterion} {compared}".rstrip()
    return [Fact("Resolution", length, "; ".join([how, *(f"{c}: {value}" for c, value in others)]))]


def _atoms(atoms: Any, reference: str | None) -> list[Fact]:
    match, positions = find(atoms, "match"), find(atoms, "positions")
    num_found, num_true = number(match, "num_found"), number(match, "num_true")
    if num_found is None and positions is not None:
        num_found = float(len(positions))
    if num_found is None:
        return []
    recall, precision, rmsd = (number(match, key) for key in ("recall", "precision", "rmsd_A"))
    if num_true is None or recall is None:
        return [_peaks(atoms, num_found, reference)]
    paired = round(recall * num_true)
    detail = f"recall {100 * recall:.1f} %"
    if precision is not None:
        num_false = round(num_found - paired)
        verb = "is" if num_false == 1 else "are"
        detail += f", precision {100 * precision:.1f} % ({num_false} of {num_found:.0f} traced atoms {verb} false)"
    facts = [Fact("Atoms found", f"{paired} of {num_true:.0f}", detail)]
    if rmsd is not None:
        facts.append(Fact("Position error of atoms", f"{rmsd:.3f} Å", "RMSD of the matched atoms"))
    return facts


def _fitted(fitted: Any) -> list[Fact]:
    """Return what the fit of atoms to the patterns adds: how precise, and whether the elements are told."""
    count, untold, errors = (
        number(fitted, "num_atoms"),
        number(fitted, "not_told"),
        numbers(fitted, "standard_errors_A"),
    )
    if count is None or untold is None or errors is None or errors.shape != (3,):
        return []
    rmsd = number(fitted, "against_truth", "rmsd_A")
    value = ", ".join(f"{axis} {error:.4f}" for axis, error in zip("zyx", errors, strict=True))
    detail = f"median of {count:.0f} atoms fitted to the patterns; the element of {untold:.0f} is not told"
    scale, doubt = (number(fitted, "scans", f"scan_scale_percent{of}") for of in ("", "_doubt"))
    source, spread = (number(fitted, "coherence", name) for name in ("source_size_A", "focal_spread_A"))
    return [
        Fact("Standard error of fitted atoms", f"{value} Å", detail),
        *([] if scale is None else [Fact("Scale of the scans", f"{scale:+.2f} ± {doubt} %", SCALE)]),
        *([] if source is None else [Fact("Coherence", f"{source:.2f}, {spread:.0f} Å", "source, focal spread")]),
        *([] if rmsd is None else [Fact("Error of fitted atoms", f"{rmsd:.4f} Å", "RMSD to the true atoms")]),
    ]


def _peaks(atoms: Any, num_traced: float, reference: str | None) -> Fact:
    """Peaks that no truth confirms: how many stand out from the noise, and what that does not say."""
    num_significant, level = number(atoms, "num_significant"), number(atoms, "noise", "level")
    false = number(atoms, "noise", "expected_false")
    unconfirmed = "" if reference == "half-sets" else f"{NOT_CONFIRMED}. "
    if num_significant is None or level is None or false is None:
        return Fact("Peaks traced", f"{num_traced:.0f}", f"{unconfirmed}Their significance was not measured.")
    return Fact(
        "Significant peaks",
        f"{num_significant:.0f} of {num_traced:.0f}",
        f"{unconfirmed}Significant: above {level:.1f} standard deviations of the noise in the vacuum"
        + (" and between the half-sets" if find(atoms, "half_set_sigma") is not None else "")
        + f", which Gaussian noise exceeds in {false:g} voxels of such a volume. Streaks of the specimen are no such "
        "noise.",
    )


def _poses(poses: Any) -> list[Fact]:
    angle, translation = number(poses, "median_angle_error_deg"), number(poses, "median_translation_error_A")
    parts = [] if angle is None else [f"{angle:.3g}°"]
    parts += [] if translation is None else [f"{translation:.3g} Å"]
    return (
        [
            Fact(
                "Pose error",
                ", ".join(parts),
                "median over all tilts, without their common motion",
            )
        ]
        if parts
        else []
    )


def convergence_sentence(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Say whether the loss has converged, and whether the held-out loss follows it."""
    if not epochs:
        return ""
    loss, epoch = column(epochs, "loss"), epoch_numbers(epochs)
    if not np.isfinite(loss[-1]):
        first = epoch[np.flatnonzero(np.isfinite(loss))[-1] + 1] if np.isfinite(loss).any() else epoch[0]
        return f"The loss is not finite from epoch {first:.0f} on: the run has failed."
    if len(loss) < MIN_EPOCHS:
        return f"{len(loss)} epoch{'s' * (len(loss) > 1)}: too few to tell whether the loss has converged."
    start = len(loss) - 1 - max(2, len(loss) // 4)
    change = (loss[-1] - loss[start]) / abs(loss[start])
    span = f"it changed by {_percent(change)} over the last {len(loss) - 1 - start} epochs, to {loss[-1]:.4g}"
    if not np.isfinite(change):
        verdict = "It is unknown whether the loss has converged, because values are missing"
    elif abs(change) <= CONVERGED_CHANGE:
        verdict = f"The loss has converged: {span}"
    elif change < 0:
        verdict = f"The loss is still falling: {span}; more epochs would lower it further"
    else:
        verdict = f"The loss is rising: {span}; the step is too large or the data are inconsistent"
    return f"{verdict}. {_held_out_sentence(epochs)}".strip()


def _held_out_sentence(epochs: Sequence[Mapping[str, Any]]) -> str:
    held_out = column(epochs, "held_out_loss")
    if not np.isfinite(held_out[-1]):
        return "No patterns were held out, so overfitting cannot be detected." if np.isnan(held_out).all() else ""
    best = int(np.nanargmin(held_out))
    rise = held_out[-1] / held_out[best] - 1 if held_out[best] > 0 else 0.0
    if rise > OVERFIT_RISE:
        return (
            f"The held-out loss has risen by {_percent(rise).lstrip('+')} since its minimum in epoch "
            f"{epoch_numbers(epochs)[best]:.0f}: later epochs fitted noise."
        )
    loss = number(epochs[-1], "loss")
    gap = "" if not loss else f", {_percent(held_out[-1] / loss - 1)} relative to the loss"
    return f"The held-out loss follows it ({held_out[-1]:.4g}{gap})."


def _percent(ratio: float) -> str:
    sign = MINUS if ratio < 0 else "+"
    return f"{sign}{abs(100 * ratio):.2g} %" if abs(ratio) < 1 else f"{sign}{abs(100 * ratio):.0f} %"


def warnings(content: ReportContent) -> list[str]:
    """Return what a reader must know before trusting any number."""
    lines = [] if content.volume is None else _voxel_warnings(content.volume)
    for tilt in content.tilts:
        weight = number(tilt, "weight")
        if weight is not None and weight < 1:
            lines.append(f"Tilt {tilt.get('name')} does not fit the volume; weight reduced to {100 * weight:.0f} %.")
    found = [*(find(content.analysis, "warnings") or []), *(find(content.analysis, "preferences") or [])]
    sentences = [*content.left_out, *content.out_of_focus, *found, *_motion(content.analysis)]
    return lines + [sentence[:1].upper() + sentence[1:] for sentence in sentences]


def _voxel_warnings(volume: NDArray[np.number]) -> list[str]:
    gaps = int(np.sum(~np.isfinite(volume)))
    if gaps:
        return [f"{gaps} of {volume.size} voxels are not finite; they are shown as zero."]
    return [] if np.any(volume) else ["The volume is zero everywhere."]


def _motion(analysis: Any) -> list[str]:
    """Say which motion of all atoms together was removed although the data determine it, or that none was found."""
    registration = find(analysis, "atoms", "registration")
    merit, motion = number(registration, "merit"), text(registration, "motion")
    if merit is None:
        return []
    if merit < MIN_MERIT:
        return [
            f"Only {100 * merit:.0f} % of the traced or of the true atoms have a partner, after any common motion."
        ]
    distance, angle = number(registration, "distance_A"), number(registration, "angle_deg")
    if motion in (None, "none", text(registration, "undetermined")) or distance is None or angle is None:
        return []
    turned = f" and rotated by {angle:.2f}°" if motion == "rigid" else ""
    return [
        f"All atoms are displaced together by {distance:.2f} Å{turned} from the truth. This was removed before they "
        "were compared, but the data determine it: check the centre of the truth and of the scan."
    ]


def volume_facts(content: ReportContent) -> list[Fact]:
    """Return size and range of values of the volume, and the tilts."""
    facts = [] if content.volume is None else _sizes(content, content.volume.shape)
    if content.tilts:
        theta = _known_thetas(content)
        span = f", theta {signed(min(theta))}° … {signed(max(theta))}°" if theta else ""
        facts.append(Fact("Tilts", f"{len(content.tilts)}{span}"))
    return facts


def _sizes(content: ReportContent, shape: tuple[int, ...]) -> list[Fact]:
    size, potential, absorption = content.voxel_size, content.potential(), content.absorption()
    facts = [
        Fact("Voxels (z, y, x)", " × ".join(str(n) for n in shape)),
        Fact("Voxel size (z, y, x)", " × ".join(f"{d:.4g}" for d in size) + " Å"),
        Fact("Box (z, y, x)", " × ".join(f"{length:.4g}" for length in np.multiply(shape, size)) + " Å"),
        Fact(
            "Potential",
            f"{compact(float(potential.min()))} … {compact(float(potential.max()))} V; {_volts(content.analysis)}",
        ),
    ]
    if absorption is not None:
        low, high = compact(float(absorption.min())), compact(float(absorption.max()))
        facts.append(Fact("Absorption, Im V", f"{low} … {high} V"))
    return facts


def _known_thetas(content: ReportContent) -> list[float]:
    theta = vectors(content.tilts, "euler_angles", 3)[:, 1]
    return [float(angle) for angle in theta if np.isfinite(angle)]


def tilt_range(content: ReportContent) -> tuple[float, float] | None:
    """Smallest and largest theta [degrees]; None if fewer than two are known."""
    theta = _known_thetas(content)
    return (min(theta), max(theta)) if len(theta) > 1 else None

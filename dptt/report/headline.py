"""The top of the page: the few numbers and sentences by which a reconstruction is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dptt.report.content import ReportContent, column, find, number, text
from dptt.report.drawing import MINUS, compact, signed
from dptt.report.figures.convergence import epoch_numbers
from dptt.report.figures.resolution import resolution_text

CONVERGED_CHANGE = (
    0.02  # relative change of the loss over the last quarter of the epochs below which it has converged
)
OVERFIT_RISE = 0.02  # relative rise of the held-out loss above its minimum from which it no longer follows
MIN_EPOCHS = 4  # fewer say nothing about convergence
CRITERIA = {"truth": ("0.5", "0.143", "one-bit"), "half-sets": ("one-bit", "0.143", "0.5")}
REFERENCES = {"truth": "against the truth", "half-sets": "between half data sets"}


@dataclass(frozen=True)
class Fact:
    """One number of the headline."""

    label: str
    value: str
    detail: str = ""


def headline_facts(content: ReportContent) -> list[Fact]:
    """The numbers that are known, the most telling first."""
    analysis = content.analysis
    facts = [*_resolution(analysis), *_atoms(find(analysis, "atoms"))]
    correlation, ratio = number(analysis, "correlation"), number(analysis, "total_potential_ratio")
    if correlation is not None:
        facts.append(Fact("Correlation", signed(correlation, 3), "with the truth" if _is_truth(analysis) else ""))
    if ratio is not None:
        facts.append(Fact("Total potential", signed(ratio, 3), "of the true total"))
    facts += _poses(find(analysis, "poses"))
    return facts


def _is_truth(analysis: Any) -> bool:
    return text(analysis, "reference") == "truth"


def _resolution(analysis: Any) -> list[Fact]:
    reference = text(analysis, "reference") or ""
    found = {
        c: resolution_text(find(analysis, "resolution", c)) for c in CRITERIA.get(reference, CRITERIA["half-sets"])
    }
    known = [(criterion, length) for criterion, length in found.items() if length is not None]
    if not known:
        return []
    (criterion, length), others = known[0], known[1:]
    how = f"FSC {criterion} {REFERENCES.get(reference, reference)}".rstrip()
    return [Fact("Resolution", length, "; ".join([how, *(f"{c}: {value}" for c, value in others)]))]


def _atoms(atoms: Any) -> list[Fact]:
    match, positions = find(atoms, "match"), find(atoms, "positions")
    num_found, num_true = number(match, "num_found"), number(match, "num_true")
    if num_found is None and positions is not None:
        num_found = float(len(positions))
    if num_found is None:
        return []
    recall, precision, rmsd = (number(match, key) for key in ("recall", "precision", "rmsd_A"))
    if num_true is None or recall is None:
        return [Fact("Atoms traced", f"{num_found:.0f}")]
    paired = round(recall * num_true)
    detail = f"recall {100 * recall:.1f} %"
    if precision is not None:
        detail += (
            f", precision {100 * precision:.1f} %: {num_found - paired:.0f} of {num_found:.0f} traced are not true"
        )
    facts = [Fact("Atoms found", f"{paired} of {num_true:.0f}", detail)]
    if rmsd is not None:
        facts.append(Fact("RMSD of atoms", f"{rmsd:.3f} Å", "of the pairs found and true"))
    return facts


def _poses(poses: Any) -> list[Fact]:
    angle, translation = number(poses, "median_angle_error_deg"), number(poses, "median_translation_error_A")
    parts = [] if angle is None else [f"{angle:.3g}°"]
    parts += [] if translation is None else [f"{translation:.3g} Å"]
    return [Fact("Pose error", ", ".join(parts), "median over the tilts, common motion removed")] if parts else []


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
        verdict = "It is not known whether the loss has converged: values are missing"
    elif abs(change) <= CONVERGED_CHANGE:
        verdict = f"The loss has converged: {span}"
    elif change < 0:
        verdict = f"The loss is still falling: {span}; more epochs would lower it further"
    else:
        verdict = f"The loss is rising: {span}; the steps are too long or the data inconsistent"
    return f"{verdict}. {_held_out_sentence(epochs)}".strip()


def _held_out_sentence(epochs: Sequence[Mapping[str, Any]]) -> str:
    held_out = column(epochs, "held_out_loss")
    if not np.isfinite(held_out[-1]):
        return "No patterns were held out, so overfitting cannot be seen." if np.isnan(held_out).all() else ""
    best = int(np.nanargmin(held_out))
    rise = held_out[-1] / held_out[best] - 1 if held_out[best] > 0 else 0.0
    if rise > OVERFIT_RISE:
        return (
            f"The held-out loss has risen by {_percent(rise)} since its minimum in epoch "
            f"{epoch_numbers(epochs)[best]:.0f}: what was fitted since then is noise."
        )
    loss = number(epochs[-1], "loss")
    gap = "" if not loss else f", {_percent(held_out[-1] / loss - 1)} from the loss"
    return f"The held-out loss follows it ({held_out[-1]:.4g}{gap})."


def _percent(ratio: float) -> str:
    sign = MINUS if ratio < 0 else "+"
    return f"{sign}{abs(100 * ratio):.2g} %" if abs(ratio) < 1 else f"{sign}{abs(100 * ratio):.0f} %"


def warnings(content: ReportContent) -> list[str]:
    """What makes the volume suspect before any number is read."""
    gaps = int(np.sum(~np.isfinite(content.volume)))
    found = [f"{gaps} of {content.volume.size} voxels are not finite; they are shown as zero."] if gaps else []
    if not gaps and not np.any(content.volume):
        found.append("The volume is zero everywhere.")
    for tilt in content.tilts:
        weight = number(tilt, "weight")
        if weight is not None and weight < 1:
            found.append(
                f"Tilt {tilt.get('name')} is not explained by the volume and counted {100 * weight:.0f} % only."
            )
    return found + [f"T{sentence[1:]}" for sentence in content.left_out]


def volume_facts(content: ReportContent) -> list[Fact]:
    """Size and values of the volume."""
    shape, size, potential = content.volume.shape, content.voxel_size, content.potential()
    lengths = np.multiply(shape, size)
    absorption = content.absorption()
    facts = [
        Fact("Voxels (z, y, x)", " × ".join(str(n) for n in shape)),
        Fact("Voxel size (z, y, x)", " × ".join(f"{d:.4g}" for d in size) + " Å"),
        Fact("Box (z, y, x)", " × ".join(f"{length:.4g}" for length in lengths) + " Å"),
        Fact("Potential", f"{compact(float(potential.min()))} … {compact(float(potential.max()))} V"),
    ]
    if absorption is not None:
        low, high = compact(float(absorption.min())), compact(float(absorption.max()))
        facts.append(Fact("Absorption, Im V", f"{low} … {high} V"))
    if content.tilts:
        theta = [v for v in (_theta(tilt) for tilt in content.tilts) if v is not None]
        span = f", theta {signed(min(theta))}° … {signed(max(theta))}°" if theta else ""
        facts.append(Fact("Tilts", f"{len(content.tilts)}{span}"))
    return facts


def _theta(tilt: Mapping[str, Any]) -> float | None:
    angles = find(tilt, "euler_angles")
    return number({"theta": angles[1]}, "theta") if angles is not None and len(angles) == 3 else None


def tilt_range(content: ReportContent) -> tuple[float, float] | None:
    """Smallest and largest theta [degrees]; None if fewer than two are known."""
    theta = [v for v in (_theta(tilt) for tilt in content.tilts) if v is not None]
    return (min(theta), max(theta)) if len(theta) > 1 else None

"""The atoms fitted to the patterns as the analysis reports them, beside the true ones where these are known."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dptt.analysis.atom_matching import AtomMatch
from dptt.analysis.atom_registration import register_atoms
from dptt.analysis.plain import to_plain
from dptt.assembly.truth import undetermined_motion
from dptt.config import Config
from dptt.io.atoms import COHERENCE, SCAN_DOUBT, SCANS, AtomsFile, read_atoms
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedTilt
from dptt.model.calibration import SCAN, UNITS
from dptt.solvers.atoms import MORE_DOUBT


def fitted_atoms(path: Path, truth: Truth | None, config: Config) -> dict[str, Any]:
    """Return what the analysis says of an atoms file.

    Raises
    ------
    AtomsError
        The file cannot be read.
    """
    atoms = read_atoms(path)
    summary: dict[str, Any] = {
        "num_atoms": len(atoms.positions),
        "standard_errors_A": to_plain(np.median(atoms.standard_errors[:, :3], axis=0)),
        "not_told": int((~atoms.told).sum()),
        "figure_of_fit": float(atoms.attributes["figure_of_fit"]),
    }
    if scans := scan_errors(atoms.tilts.values(), float(atoms.attributes.get(SCAN_DOUBT, MORE_DOUBT))):
        summary["scans"] = scans
    if COHERENCE[0] in atoms.attributes:
        summary["coherence"] = {name: abs(float(atoms.attributes[name])) for name in COHERENCE[:2]}
    if truth is not None and truth.atom_positions is not None:
        summary["against_truth"] = against_truth(atoms, truth, config)
    return summary


def scan_errors(tilts: Iterable[ReconstructedTilt], doubt: float) -> dict[str, float]:
    """Return scale, rotation and shear that all scans have beyond the reconstruction's; empty if none was fitted.

    `doubt` is the fraction by which the scale may be misjudged.
    Means over the tilts, in the names and units of `model.calibration.UNITS`; with `_spread` standard deviations.
    """
    scans = np.array([[float(tilt.attributes.get(name, 0.0)) for name in SCANS] for tilt in tilts]).reshape(-1, 4)
    if not scans.any():
        return {}
    units = dict(list(UNITS.items())[SCAN])
    scans = scans * np.array(list(units.values()))
    return {
        **dict(zip(units, scans.mean(0).tolist(), strict=True)),
        **{f"{name}_spread": spread for name, spread in zip(units, scans.std(0).tolist(), strict=True)},
        "scan_scale_percent_doubt": UNITS["scan_scale_percent"] * doubt,
    }


def matched_to_truth(atoms: AtomsFile, truth: Truth, config: Config) -> tuple[AtomMatch, Float[np.ndarray, "pair 3"]]:
    """Return the pairs of fitted and true atoms, and how far (z, y, x) the fitted ones are off [Å].

    The motion that poses leave undetermined is taken off, and a common displacement where probes are fitted, as a
    shift of all probes is the same.
    """
    assert truth.atom_positions is not None
    undetermined = undetermined_motion(config)
    if undetermined == "none" and config.atoms is not None and config.atoms.probes:
        undetermined = "translation"
    match = register_atoms(
        atoms.positions,
        truth.atom_positions,
        config.analysis.match_distance,
        undetermined=undetermined,
        true_numbers=truth.atomic_numbers,
    ).match
    fitted, true = match.pairs.T
    return match, atoms.positions[fitted] - (truth.atom_positions[true] - match.translation) @ match.rotation


def against_truth(atoms: AtomsFile, truth: Truth, config: Config) -> dict[str, Any]:
    """Return how far fitted atoms are from true ones, per axis, and whether error bars and elements are right.

    `ratios` are (fitted - true) / standard error along z, y, x, a row an atom; `error_ratio` is their root mean
    square: 1 for right error bars.
    """
    match, off = matched_to_truth(atoms, truth, config)
    fitted, true = match.pairs.T
    ratio = off / atoms.standard_errors[fitted, :3]
    result = {
        "recall": match.recall,
        "precision": match.precision,
        "rmsd_A": match.rmsd,
        "rmsd_axes_A": match.rmsd_axes,
        "ratios": np.round(ratio, 3),
        "error_ratio": np.sqrt(np.mean(ratio**2, axis=0)) if len(ratio) else np.full(3, np.nan),
    }
    if truth.atomic_numbers is not None:
        right = atoms.atomic_numbers[fitted] == truth.atomic_numbers[true]
        result["elements_right"] = float(right.mean()) if len(right) else float("nan")
    plain: dict[str, Any] = to_plain(result)
    return plain

"""What a run of dptt found in a series of this study, beside the truth that it was not told."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.io.brightfield import read_calibration
from dptt.io.volumes import ReconstructedTilt, read_volume
from dptt.runtime.results import load_analysis
from experiment_study.errors import scan_parameters
from experiment_study.series import nominal_positions

SPREAD = 0.1
"""Standard deviation of what is true of the tilts [%, degrees] from which a slope tells anything."""
MATCH_DISTANCE = 0.8
"""[Å]"""


def table(folder: Path, run: Path) -> Iterator[str]:
    """Yield the lines of the table."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    volume = read_volume(run / "volume.h5")
    names = list(volume.tilts)
    found, true = [volume.tilts[name] for name in names], [truth["tilts"][name] for name in names]
    yield "| measure | found less true |\n|---|---|"
    rows = [*_atoms(folder, run), *_scan(found, true), *_descan(found, true)]
    rows += [*_optics(run, names, found, true), *_poses(found, true)]
    background = np.array([tilt.attributes.get("background_percent", 0.0) for tilt in found])
    rows.append(("background; true", f"{background.mean():.2f} %; {100 * truth['sizes']['background']:.2f} %"))
    rows.append(("figure of fit", f"{float(volume.attributes['figure_of_fit']):.3f}"))
    yield from (f"| {name} | {value} |" for name, value in rows)


def _atoms(folder: Path, run: Path) -> Iterator[tuple[str, str]]:
    """Yield atoms found by element, false ones, and RMSD with and without a common linear deformation."""
    analysis = load_analysis(run)
    assert analysis is not None, f"{run} has no analysis.json; run `dptt analyze`"
    true, numbers = np.load(folder / "atoms.npy"), np.load(folder / "atomic_numbers.npy")
    traced, told = np.array(analysis["atoms"]["positions"]), analysis["atoms"]["match"]
    start = np.array(told["rotation"]), np.array(told["translation"])
    match = match_atoms(traced, true, MATCH_DISTANCE, align="rigid", true_numbers=numbers, start=start)
    counts = (
        f"{chemical_symbols[number]} {round(one.recall * one.count)} of {one.count} ({one.rmsd:.3f} Å)"
        for number, one in sorted(match.elements.items(), reverse=True)
    )
    yield "atoms found (their RMSD)", ", ".join(counts)
    yield (
        "false ones; significant ones in all",
        f"{len(match.false_positive)}; {analysis['atoms']['num_significant']}",
    )
    pairs = traced[match.pairs[:, 0]], true[match.pairs[:, 1]]
    deformation, left = linear_deformation(*pairs)
    yield "RMSD; less a common linear deformation", f"{match.rmsd:.3f} Å; {_rms_length(left):.3f} Å"
    stretch = 100 * (np.linalg.svd(deformation)[1] - 1)
    yield "that deformation, its principal stretches", ", ".join(f"{value:.2f}" for value in stretch) + " %"
    yield "that deformation along z, y, x", ", ".join(f"{100 * (v - 1):.2f}" for v in np.diag(deformation)) + " %"


def linear_deformation(found: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix (z, y, x) that brings true positions closest to those found, and what is left (n, 3) [Å].

    What is common to all is no rotation here only if the pairs were registered before.
    """
    design = np.column_stack([true, np.ones(len(true))])
    solution = np.linalg.lstsq(design, found, rcond=None)[0]
    return solution[:3].T, found - design @ solution


def _scan(found: list[ReconstructedTilt], true: list[dict]) -> Iterator[tuple[str, str]]:
    """Yield scale, shear, y longer than x and rotation: mean, and root mean square without it."""
    nominal = nominal_positions()
    for name, unit in (
        ("scan_scale_percent", "%"),
        ("scan_shear_percent", "%"),
        ("scan_y_longer_than_x_percent", "%"),
        ("scan_rotation_deg", "°"),
    ):
        values = np.array([scan_of(tilt, nominal)[name] for tilt in found])
        expected = np.array([tilt[name] for tilt in true])
        off = values - expected
        error = off.std() / np.sqrt(max(len(off) - 1, 1))
        title = name.removeprefix("scan_").rsplit("_", 1)[0].replace("_", " ")
        yield (
            f"{title}: mean, rms less it; slope of found on true; means found, true",
            f"{off.mean():.2f} ± {error:.2f}, {off.std():.2f} {unit}; {_slope(values, expected)}; "
            f"{values.mean():.2f}, {expected.mean():.2f}",
        )


def scan_of(tilt: ReconstructedTilt, nominal: np.ndarray) -> dict[str, float]:
    """Return the linear part of the positions that the run ended with, which free positions have as well."""
    if tilt.scan_positions is None or len(tilt.scan_positions) != len(nominal):
        names = scan_parameters(np.eye(2))
        return {name: float(tilt.attributes.get(name, 0.0)) for name in names}
    centred = tilt.scan_positions - tilt.scan_positions.mean(0)
    return scan_parameters(np.linalg.lstsq(nominal, centred, rcond=None)[0].T)


def _descan(found: list[ReconstructedTilt], true: list[dict]) -> Iterator[tuple[str, str]]:
    """Yield the descan at the edge of the scan."""
    elements = [f"descan_{name}_px_per_A" for name in ("yy", "yx", "xy", "xx")]
    values = np.array([[float(tilt.attributes.get(name, 0.0)) for name in elements] for tilt in found])
    expected, edge = np.array([tilt["descan"] for tilt in true]).reshape(-1, 4), np.abs(nominal_positions()).max()
    yield (
        "descan at the edge: rms; largest true element",
        f"{edge * _rms(values - expected):.3f}; {edge * np.abs(expected).max():.3f} pixels",
    )


def _optics(
    run: Path, names: list[str], found: list[ReconstructedTilt], true: list[dict]
) -> Iterator[tuple[str, str]]:
    """Yield C10 of the bright field and at the end."""
    if not (run / "brightfield.h5").exists():
        return
    start = read_calibration(run / "brightfield.h5").tilts
    first = np.array([start[name].aberrations.get("C10", np.nan) for name in names])
    change = np.array([tilt.attributes.get("C10_change_A", 0.0) for tilt in found])
    expected = np.array([tilt["C10_A"] for tilt in true])
    yield (
        "C10: brightfield rms, at the end rms (mean)",
        f"{_rms(first - expected):.1f}; {_rms(off := first + change - expected):.1f} Å ({off.mean():.1f} Å)",
    )
    paths = [[f(np.radians(2 * tilt["phi12"])) * tilt["C12"] for f in (np.cos, np.sin)] for tilt in true]
    found_c12 = np.array([_c12(start[name].aberrations, tilt) for name, tilt in zip(names, found, strict=True)])
    off = found_c12 - np.array(paths)
    yield "C12 cos, sin at the end: rms (mean)", f"{_pair(np.sqrt((off**2).mean(0)))} ({_pair(off.mean(0))}) Å"


def _c12(start: Mapping[str, float], tilt: ReconstructedTilt) -> tuple[float, float]:
    size, angle = start.get("C12", 0.0), np.radians(2 * start.get("phi12", 0.0))
    changes = [float(tilt.attributes.get(f"C12_{part}_change_A", 0.0)) for part in ("cos", "sin")]
    return size * np.cos(angle) + changes[0], size * np.sin(angle) + changes[1]


def _poses(found: list[ReconstructedTilt], true: list[dict]) -> Iterator[tuple[str, str]]:
    """Yield errors of translations and angles, without the motion that all tilts have in common."""
    estimated = _tilt_poses([(tilt.euler_angles, tilt.translation) for tilt in found])
    expected = _tilt_poses([((t["phi"], t["theta"], t["psi"]), t["translation"]) for t in true])
    errors = pose_errors(estimated, expected)
    yield (
        "translations: rms y, x; largest",
        f"{_pair(np.sqrt((errors.translation**2).mean(0)))}; {np.abs(errors.translation).max():.2f} Å",
    )
    yield "phi, theta, psi: rms", ", ".join(f"{_rms(column):.2f}" for column in errors.euler.T) + "°"


def _tilt_poses(pairs: list) -> TiltPoses:
    return TiltPoses(np.array([angles for angles, _ in pairs]), np.array([translation for _, translation in pairs]))


def _pair(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _slope(found: np.ndarray, true: np.ndarray) -> str:
    return "-" if true.std() < SPREAD else f"{np.polyfit(true, found, 1)[0]:.2f}"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _rms_length(vectors: np.ndarray) -> float:
    return float(np.sqrt((vectors**2).sum(1).mean()))

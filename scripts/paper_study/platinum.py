"""[P] figure 2: Pt in Al2O3 with shifted tilts; alignment, reconstruction, and narrower tilt ranges."""

import numpy as np

from dptt.commands.analyze import analyze
from dptt.commands.run import run
from dptt.config import Config
from dptt.distributed.comm import SerialCommunicator
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume
from paper_study.derived import derive_series, errors_of, nominal_poses, reconstruct_variant, result_poses, truth_of
from paper_study.figures import ATOMS, Picture, alignment_figure, pictures_figure
from paper_study.measures import (
    SEPARATED,
    column_pairs,
    element_scores,
    pairs_by_elements,
    read_analysis,
    valley_to_peak,
)
from paper_study.stages import Outcome, Row, Stage

RANGES = (90.0, 80.0, 60.0, 40.0)
"""Widths of the tilt ranges of [P] fig. 2d [degrees]."""
PAPER_ERRORS = (0.4, 0.8)
"""Median and maximum error of the alignment in [P] [Å]."""
SLICE = 1.0
"""Thickness of the slices of [P] fig. 2b-d [Å]."""
LONGEST = 4.2
"""Largest distance between successive atoms of a column [Å]: lattice constant of Pt, half that of gamma-Al2O3."""
MIN_PAIRS = 10
"""Kinds of pairs with fewer members are not reported."""
VIEW = 10.0
"""Half width of the pictures [Å]."""
PAPER_RANGE = {78: "Pt separate at ±20°", 13: "Al recovered at ±45°", 8: "O recovered at ±45°"}
PAPER_VISIBILITY = {
    78: "visible",
    13: "visible; shadows of neighbouring slices",
    8: "visible; shadows of neighbouring slices",
}
"""What [P] says about each element."""


def chain(config: Config) -> Outcome:
    """Simulate the series, and run all steps from the raw series to the volume."""
    run(config, SerialCommunicator())
    analysis = read_analysis(config.run)
    match = analysis["atoms"]["match"]
    resolution = analysis["resolution"]["0.5"]["resolution_A"]
    along = " / ".join(f"{entry['resolution_A'] or float('nan'):.2f}" for entry in analysis["directional_fsc"])
    return Outcome(
        [
            Row("recall, precision of all atoms", f"{match['recall']:.3f}, {match['precision']:.3f}"),
            Row("RMSD", f"{match['rmsd_A']:.3f} Å"),
            Row("FSC 0.5 against the truth", f"{resolution:.2f} Å", "0.8 Å (Nyquist)"),
            Row("along z / y / x", f"{along} Å"),
        ]
    )


def alignment(config: Config) -> Outcome:
    """Compare the shifts from the alignment and from the end-to-end refinement with the truth ([P] fig. 2a)."""
    with TiltSeries.open(config.series) as series:
        true = np.array([tilt.translation for tilt in truth_of(series).tilts])
    steps = {
        "raw series": nominal_poses(config.series),
        "alignment": result_poses(config.run / "alignment.h5"),
        "end to end": result_poses(config.run / "volume.h5"),
    }
    errors = {name: errors_of(poses, config.series).translation for name, poses in steps.items()}
    rows = []
    for name, error in errors.items():
        lengths = np.linalg.norm(error, axis=1)
        paper = "median 0.4 Å, maximum 0.8 Å" if name == "alignment" else "-"
        rows.append(Row(name, f"median {np.median(lengths):.2f} Å, maximum {lengths.max():.2f} Å", paper))
    translations = {name: true + errors[name] for name in ("alignment", "end to end")}
    return Outcome(rows, lambda: alignment_figure(true, translations, errors, PAPER_ERRORS))


def slices(config: Config) -> Outcome:
    """Score the atoms by element, and show a slice with light and heavy atoms ([P] fig. 2b-c)."""
    atoms = read_analysis(config.run)["atoms"]
    with TiltSeries.open(config.series) as series:
        truth = truth_of(series)
    rows = []
    for number, score in sorted(element_scores(atoms, truth.atomic_numbers).items(), reverse=True):
        total = f"recall {score.recall:.3f}, precision {score.precision:.3f}, RMSD {score.rmsd:.3f} Å"
        axes = ", ".join(f"{value:.3f}" for value in score.rmsd_axes)
        element = f"{score.count} {ATOMS[number][0]}"
        rows.append(Row(element, f"{total} (z, y, x: {axes})", PAPER_VISIBILITY[number]))
    result = read_volume(config.run / "volume.h5")
    positions = np.array(atoms["true_positions"])  # in the frame of the reconstruction
    depth = richest_depth(truth.atom_positions, truth.atomic_numbers, SLICE)
    motion = (positions - truth.atom_positions).mean(0)
    pictures = {
        "truth": section(truth.volume, truth.voxel_size, 0, depth, truth.atom_positions, truth.atomic_numbers),
        "reconstruction": section(
            result.volume.real, result.voxel_size, 0, depth + motion[0], positions, truth.atomic_numbers[:0]
        ),
    }
    return Outcome(rows, lambda: pictures_figure(pictures, f"y; slice of {SLICE:g} Å"))


def ranges(config: Config) -> Outcome:
    """Reconstruct from narrower tilt ranges and count the atoms resolved along the beam ([P] fig. 2d)."""
    with TiltSeries.open(config.series) as series:
        numbers = truth_of(series).atomic_numbers
    poses = result_poses(config.run / "alignment.h5")
    shares: dict[str, list[str]] = {"tilts, range": []}
    pictures = {}
    for width in RANGES:
        name = f"range_{width:g}"
        source = config.run / name / "series.h5"
        limit = nearest(np.abs([pose.euler_angles[1] for pose in poses.values()]), width / 2)
        derive_series(config.series, source, poses, lambda theta, limit=limit: abs(theta) <= limit + 1e-6)
        variant = reconstruct_variant(config, name, source)
        analyze(variant)
        atoms, result = read_analysis(variant.run)["atoms"], read_volume(variant.run / "volume.h5")
        true = np.array(atoms["true_positions"])
        traced = np.isin(np.arange(len(true)), np.array(atoms["match"]["pairs"])[:, 1])
        volume = result.volume.real.astype(float)
        angles = [tilt.euler_angles[1] for tilt in result.tilts.values()]
        shares["tilts, range"].append(f"{len(angles)}, {np.ptp(angles):.0f}°")
        for label, share in range_shares(volume, result.voxel_size, true, numbers, traced).items():
            shares.setdefault(label, []).append(share)
        for number, score in element_scores(atoms, numbers).items():
            shares.setdefault(f"recall of {ATOMS[number][0]}", []).append(f"{score.recall:.2f}")
        pictures[f"{width:g}°"] = section(volume, result.voxel_size, 1, 0.0, true, numbers[:0])
    heading = " / ".join(f"{width:g}°" for width in RANGES)
    rows = [Row("tilt range", heading, "; ".join(PAPER_RANGE.values()))]
    rows += [Row(label, " / ".join(share)) for label, share in shares.items()]
    return Outcome(rows, lambda: pictures_figure(pictures, f"z, beam; slice of {SLICE:g} Å"))


def nearest(values: np.ndarray, target: float) -> float:
    """Return the value nearest to `target`."""
    return float(values[np.argmin(np.abs(values - target))])


def range_shares(
    volume: np.ndarray,
    voxel_size: tuple[float, float, float],
    true: np.ndarray,
    numbers: np.ndarray,
    traced: np.ndarray,
) -> dict[str, str]:
    """Return, by kind of pair, the share of successive atoms of columns that are resolved along the beam.

    Two atoms are resolved if both were `traced` (atom,) and there is a valley between them. A valley alone is not
    enough: with a narrow tilt range there are valleys even where no atom was recovered.
    """
    shares = {}
    for (heavy, light), pairs in pairs_by_elements(column_pairs(true, LONGEST), numbers).items():
        if len(pairs) >= MIN_PAIRS:
            resolved = (valley_to_peak(volume, voxel_size, true, pairs) <= SEPARATED) & traced[pairs].all(1)
            distance = np.median(true[pairs[:, 1], 0] - true[pairs[:, 0], 0])
            kind = f"{ATOMS[heavy][0]}-{ATOMS[light][0]}"
            shares[f"{kind} resolved along z ({len(pairs)} pairs, {distance:.1f} Å)"] = f"{resolved.mean():.2f}"
    return shares


def richest_depth(positions: np.ndarray, numbers: np.ndarray, thickness: float) -> float:
    """Return the depth z [Å] of the slice with the most atoms of its rarest element."""
    elements = np.unique(numbers)
    depths = np.unique(positions[:, 0].round(1))
    near = np.abs(positions[:, 0] - depths[:, None]) <= thickness / 2
    return float(depths[np.argmax(np.min([near[:, numbers == number].sum(1) for number in elements], axis=0))])


def section(
    volume: np.ndarray,
    voxel_size: tuple[float, float, float],
    axis: int,
    position: float,
    positions: np.ndarray,
    numbers: np.ndarray,
) -> Picture:
    """Return the mean of a slice across `axis` at `position` [Å], and the atoms that lie in it."""
    planes = (np.arange(volume.shape[axis]) - volume.shape[axis] // 2) * voxel_size[axis]
    selected = np.abs(planes - position) <= max(SLICE / 2, voxel_size[axis] / 2)
    image = np.compress(selected, volume, axis).mean(axis)
    pixel = tuple(size for d, size in enumerate(voxel_size) if d != axis)
    for d, size in enumerate(pixel):
        half = min(round(VIEW / size), image.shape[d] // 2)
        image = np.take(image, range(image.shape[d] // 2 - half, image.shape[d] // 2 + half), d)
    inside = np.abs(positions[: len(numbers), axis] - position) <= SLICE / 2
    across = np.delete(positions[: len(numbers)][inside], axis, 1)
    return Picture(image, pixel, {int(z): across[numbers[inside] == z] for z in np.unique(numbers[inside])})


STAGES = (
    Stage("chain", "From the raw series to the volume", chain),
    Stage("alignment", "Figure 2a: alignment", alignment),
    Stage("slices", "Figure 2b-c: light and heavy atoms", slices),
    Stage("ranges", "Figure 2d: tilt ranges", ranges),
)

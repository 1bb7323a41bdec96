"""Fills the content of the page from the files of a run: finished, running, or without a volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dptt.assembly.comparison import field_of_view
from dptt.assembly.selection import reconstructed_positions
from dptt.assembly.truth import true_potential
from dptt.config import Config, config_yaml
from dptt.io.atoms import read_atoms
from dptt.io.brightfield import read_calibration
from dptt.io.dataset import TiltSeries
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedVolume
from dptt.logs import log, read_metrics
from dptt.report.content import EarlierFigure, ProbeModes, ReportContent, ScanPositions
from dptt.report.fitted import FittedAtoms
from dptt.report.measured import Diffraction
from dptt.runtime.health import POSE_ERRORS, reach_of_scans, significant_measures
from dptt.runtime.results import check_made_from, load_analysis
from dptt.showing.latest import unfinished_volume
from dptt.showing.next_steps import next_steps
from dptt.showing.patterns import diffraction

HEALTH = (
    *("loss", "weight", "figure_of_fit", "figure_uncertainty", "unexplained", "shot_noise_loss"),
    *("fluence_e_A2", "drift_A", "patterns_left_out", "alignment_residual"),
    *POSE_ERRORS,
)
"""Measures of the health of a tilt that the page shows, beside what was found of the experiment."""
EARLIER = {
    "brightfield_images.png": ("Bright field", "Phase images from the bright disk of every tilt."),
    "brightfield_contrast.png": ("Defocus from the bright field", "Explained energy as a function of trial defocus."),
    "brightfield_curl.png": ("Scan rotation", "Share of curl in the centre of mass as a function of scan rotation."),
    "ptychography.png": (
        "Ptychography of every tilt",
        "Projected potential of each tilt, each on its own colour scale.",
    ),
    "ptychography_earlier.png": (
        "Ptychography beside an earlier reconstruction",
        "The phase that another program found, from which the tilts were started, above the one found here, less "
        "offset and ramp, which the patterns do not determine.",
    ),
    "alignment_misfits.png": ("Alignment", "Relative misfit between each projection and that of the aligned volume."),
    "alignment_poses.png": ("Poses from the alignment", "Change of angles and translations from the nominal ones."),
    "alignment_sinogram.png": ("Sinogram", "The same row of all projections, before and after the alignment."),
    "alignment_slices.png": ("Linear tomography", "Slices through the volume that the alignment reconstructs."),
}
"""File in the run's folder -> heading and caption."""
RECORD = ("command", "created", "series_checksum")
"""Attributes of the volume that the page shows as its provenance."""
TILTS_SHOWN = 3
"""Probes and scan corrections are drawn for the first, the middle and the last tilt."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class _FromSeries:
    """What only the series knows of a run; nothing if it is not on this host."""

    truth: Truth | None = None
    initial_poses: dict[str, Any] = field(default_factory=dict)
    """Tilt -> Euler angles, translation."""
    scan_positions: list[ScanPositions] = field(default_factory=list)
    """Of a few tilts, if they were refined."""
    diffraction: Diffraction | None = None
    aberrations: dict[str, dict[str, float]] = field(default_factory=dict)
    """Tilt -> aberrations that the series states."""


def report_content(run: Path, result: ReconstructedVolume | None, config: Config) -> ReportContent:
    """Return what the page shows: the truth and the poses at the start only where the series is present."""
    finished = result is not None
    series = _FromSeries()
    if config.series.exists():
        with TiltSeries.open(config.series, leave_out_bad_tilts=True) as opened:
            result = result or unfinished_volume(run, config, opened)
            series = _from_series(run, opened, result, config, finished)
    epochs = read_metrics(run / "metrics.jsonl")
    analysis = (load_analysis(run) or {}) if finished else {}
    attributes = {} if result is None else {name: str(value) for name, value in result.attributes.items()}
    content = ReportContent(
        title=f"dptt: {run}",
        volume=None if result is None else result.volume,
        voxel_size=(1.0, 1.0, 1.0) if result is None else result.voxel_size,
        truth=None if result is None else _registered_truth(series.truth, result, config),
        seen_by=None if result is None else _seen_by(result, config),
        epochs=epochs,
        tilts=[] if result is None else _tilt_rows(result, series.initial_poses),
        probes=[] if result is None else _probes(result, series.aberrations),
        scan_positions=series.scan_positions,
        diffraction=series.diffraction,
        analysis=analysis,
        true_atoms=_true_atoms(analysis),
        fitted_atoms=_fitted_atoms(run, analysis, result),
        verdicts=[verdict["sentence"] for epoch in epochs for verdict in epoch.get("verdicts", [])],
        left_out=[line for line in attributes.get("left_out", "").splitlines() if line],
        out_of_focus=_out_of_focus(run),
        earlier=[
            EarlierFigure(title, caption, (run / name).read_bytes())
            for name, (title, caption) in EARLIER.items()
            if (run / name).exists()
        ],
        provenance={"series": str(config.series)} | {name: attributes[name] for name in RECORD if name in attributes},
        versions={n.removeprefix("version_"): v for n, v in attributes.items() if n.startswith("version_")},
        config=attributes.get("config", config_yaml(config)),
        files=result_files(run),
    )
    return replace(content, next_steps=next_steps(content, config, run, finished))


def _out_of_focus(run: Path) -> list[str]:
    """Return what `dptt brightfield` says of tilts that are far from the focus of the others."""
    path = run / "brightfield.h5"
    return read_calibration(path).attributes.get("out_of_focus", "").splitlines() if path.exists() else []


def result_files(run: Path) -> list[str]:
    """Return the names of the files of a run, to which the page links."""
    hidden = ("report.html", "checkpoint.h5.previous")
    return sorted(
        path.name
        for path in run.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name not in hidden and path.suffix != ".png"
    )


def _from_series(
    run: Path, series: TiltSeries, result: ReconstructedVolume | None, config: Config, finished: bool
) -> _FromSeries:
    if result is not None and finished:
        check_made_from(series, result, run)
    return _FromSeries(
        series.truth(),
        {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in series.tilts},
        [] if result is None else _refined_positions(series, result, config),
        diffraction(run, series, result, config),
        {tilt.name: tilt.aberrations for tilt in series.tilts},
    )


def _refined_positions(series: TiltSeries, result: ReconstructedVolume, config: Config) -> list[ScanPositions]:
    if not config.reconstruction.positions.from_epoch:
        return []
    tilts = [tilt for tilt in series.tilts if tilt.name in result.tilts]
    return [
        ScanPositions(tilt.name, tilt.scan_positions()[reconstructed_positions(config, tilt)], refined)
        for tilt in _few(tilts)
        if (refined := result.tilts[tilt.name].scan_positions) is not None
    ]


def _registered_truth(truth: Truth | None, result: ReconstructedVolume, config: Config) -> np.ndarray | None:
    if truth is None or truth.volume is None:
        return None
    try:
        return true_potential(truth, result.volume.real, result, config)[0]
    except Exception as error:  # whatever it is, the volume deserves a page
        log.warning(f"warning: the page lacks the true potential, which cannot be registered: {error}")
        return None


def _seen_by(result: ReconstructedVolume, config: Config) -> np.ndarray | None:
    view = field_of_view(result, config)
    return None if view is None else view.counts(result.volume.shape, result.voxel_size)


def _true_atoms(analysis: dict[str, Any]) -> np.ndarray | None:
    positions = analysis.get("atoms", {}).get("true_positions")
    return None if positions is None else np.asarray(positions)


def _fitted_atoms(run: Path, analysis: dict[str, Any], result: ReconstructedVolume | None) -> FittedAtoms | None:
    """Return the fitted atoms that the analysis knows; those of another volume are left out."""
    if result is None or "fitted_atoms" not in analysis:
        return None
    stored = read_atoms(run / "atoms.h5")
    return FittedAtoms(
        stored.positions - np.array(result.origin),
        stored.standard_errors,
        stored.symbols,
        stored.occupancies,
        stored.probabilities,
        stored.allowed_symbols,
        stored.told,
    )


def _probes(result: ReconstructedVolume, aberrations: Mapping[str, Mapping[str, float]]) -> list[ProbeModes]:
    sampling = (result.voxel_size[1], result.voxel_size[2])
    return [
        ProbeModes(name, tilt.probe, sampling, {k: v for k, v in aberrations.get(name, {}).items() if v})
        for name, tilt in _few(list(result.tilts.items()))
        if tilt.probe is not None
    ]


def _tilt_rows(result: ReconstructedVolume, initial_poses: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    reach = reach_of_scans(tilt.scan_positions for tilt in result.tilts.values())
    found = significant_measures({name: tilt.attributes for name, tilt in result.tilts.items()}, reach)
    shown = {*HEALTH, *found, *(f"{name}_error" for name in found)}
    for name, tilt in result.tilts.items():
        row: dict[str, Any] = {
            "name": name,
            "euler_angles": list(tilt.euler_angles),
            "translation": list(tilt.translation),
            **{key: value for key, value in tilt.attributes.items() if key in shown},
            "num_positions": None if tilt.scan_positions is None else len(tilt.scan_positions),
        }
        if name in initial_poses:
            row["initial_euler_angles"], row["initial_translation"] = map(list, initial_poses[name])
        rows.append(row)
    return rows


def _few(tilts: Sequence[Item]) -> Sequence[Item]:
    """Return the first, the middle and the last of more than `TILTS_SHOWN`."""
    if len(tilts) <= TILTS_SHOWN:
        return tilts
    return [tilts[0], tilts[len(tilts) // 2], tilts[-1]]

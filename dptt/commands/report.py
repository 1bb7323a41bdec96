"""`dptt report`: one self-contained HTML page of a run, and an .mrc file beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dptt.assembly.selection import reconstructed_positions
from dptt.assembly.truth import true_potential
from dptt.config import Config, config_from_yaml
from dptt.io.atomic_write import replace_text
from dptt.io.dataset import TiltSeries
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedVolume, write_mrc
from dptt.logs import log, read_metrics
from dptt.report import render_report
from dptt.report.content import EarlierFigure, ProbeModes, ReportContent, ScanPositions
from dptt.runtime.health import POSE_ERRORS
from dptt.runtime.results import check_made_from, load_analysis, read_result

HEALTH = (
    *("loss", "weight", "figure_of_fit", "figure_uncertainty", "unexplained", "shot_noise_loss"),
    *("fluence_e_A2", "drift_A", "patterns_left_out", "alignment_residual"),
    *POSE_ERRORS,
)
"""Measures of the health of a tilt that the page shows."""
EARLIER = {
    "brightfield_images.png": ("Bright field", "Phase images from the bright disk of every tilt."),
    "brightfield_contrast.png": ("Defocus from the bright field", "Explained energy as a function of trial defocus."),
    "brightfield_curl.png": ("Scan rotation", "Share of curl in the centre of mass as a function of scan rotation."),
    "ptychography.png": (
        "Ptychography of every tilt",
        "Projected potential of each tilt, each on its own colour scale.",
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


def report(run: Path) -> Path:
    """Write report.html and volume.mrc into `run`, and return the page.

    Raises
    ------
    ProblemsError
        The run has no volume yet, or its series is another one now.
    """
    result = read_result(run)
    config = config_from_yaml(str(result.attributes["config"]))
    page = run / "report.html"
    write_mrc(run / "volume.mrc", result.volume.real.astype(np.float32), result.voxel_size, overwrite=True)
    # last: it carries the identity of the analysis, by which `dptt run` knows that the report is complete
    replace_text(page, render_report(report_content(run, result, config)))
    log.info(f"wrote {page} and {run / 'volume.mrc'}")
    return page


def report_content(run: Path, result: ReconstructedVolume, config: Config) -> ReportContent:
    """Return what the page shows: the truth and the poses at the start only where the series is present."""
    series = _from_series(run, result, config)
    analysis = load_analysis(run) or {}
    epochs = read_metrics(run / "metrics.jsonl")
    attributes = {name: str(value) for name, value in result.attributes.items()}
    return ReportContent(
        title=f"dptt: {run}",
        volume=result.volume,
        voxel_size=result.voxel_size,
        truth=_registered_truth(series.truth, result, config),
        epochs=epochs,
        tilts=_tilt_rows(result, series.initial_poses),
        probes=_probes(result),
        scan_positions=series.scan_positions,
        analysis=analysis,
        true_atoms=_true_atoms(analysis),
        verdicts=[verdict["sentence"] for epoch in epochs for verdict in epoch.get("verdicts", [])],
        left_out=[line for line in attributes.get("left_out", "").splitlines() if line],
        earlier=[
            EarlierFigure(title, caption, (run / name).read_bytes())
            for name, (title, caption) in EARLIER.items()
            if (run / name).exists()
        ],
        provenance={"series": str(config.series)} | {name: attributes[name] for name in RECORD if name in attributes},
        versions={n.removeprefix("version_"): v for n, v in attributes.items() if n.startswith("version_")},
        config=attributes.get("config"),
    )


def _from_series(run: Path, result: ReconstructedVolume, config: Config) -> _FromSeries:
    if not config.series.exists():
        return _FromSeries()
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        check_made_from(series, result, run)
        return _FromSeries(
            series.truth(),
            {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in series.tilts},
            _refined_positions(series, result, config),
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
    potential = np.ascontiguousarray(result.volume.real.astype(np.float64))
    try:
        return true_potential(truth, potential, result, config)[0].astype(np.float32)
    except Exception as error:  # whatever it is, the volume deserves a page
        log.warning(f"warning: the page lacks the true potential, which cannot be registered: {error}")
        return None


def _true_atoms(analysis: dict[str, Any]) -> np.ndarray | None:
    positions = analysis.get("atoms", {}).get("true_positions")
    return None if positions is None else np.asarray(positions)


def _probes(result: ReconstructedVolume) -> list[ProbeModes]:
    sampling = (result.voxel_size[1], result.voxel_size[2])
    return [
        ProbeModes(name, tilt.probe, sampling)
        for name, tilt in _few(list(result.tilts.items()))
        if tilt.probe is not None
    ]


def _tilt_rows(result: ReconstructedVolume, initial_poses: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, tilt in result.tilts.items():
        row: dict[str, Any] = {
            "name": name,
            "euler_angles": list(tilt.euler_angles),
            "translation": list(tilt.translation),
            **{key: value for key, value in tilt.attributes.items() if key in HEALTH},
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

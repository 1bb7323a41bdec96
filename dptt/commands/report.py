"""`dptt report`: one self-contained HTML page of a run, and an .mrc file beside it."""

from pathlib import Path
from typing import Any

import numpy as np

from dptt.commands.analyze import load_analysis, made_from, true_potential
from dptt.config import Config, config_from_yaml
from dptt.io.atomic_write import write_beside
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedVolume, read_volume, write_mrc
from dptt.logs import log, read_metrics
from dptt.report import render_report
from dptt.report.content import EarlierFigure, ProbeModes, ReportContent, ScanPositions

HEALTH = (
    *("loss", "weight", "shot_noise_loss", "fluence_e_A2", "drift_A", "patterns_left_out", "alignment_residual"),
)
"""Figures of a tilt that the page shows."""
EARLIER = {
    "brightfield_images.png": ("Bright field", "Phase images from the bright disk of every tilt."),
    "brightfield_contrast.png": ("Defocus from the bright field", "Explained energy against trial defocus."),
    "brightfield_curl.png": ("Scan rotation", "Share of curl in the centre of mass against scan rotation."),
    "ptychography.png": (
        "Ptychography of every tilt",
        "Projected potential of each tilt, each in its own colours.",
    ),
    "alignment_misfits.png": ("Alignment", "What the aligned volume leaves unexplained of each projection."),
    "alignment_poses.png": ("Poses found by the alignment", "Angles and translations against the nominal ones."),
    "alignment_sinogram.png": ("Sinogram", "A row of all projections before and after the alignment."),
    "alignment_slices.png": ("Linear tomography", "Slices of the volume that the alignment leaves behind."),
}
"""File in the run's folder -> heading and caption."""
TILTS_SHOWN = 3
"""Probes and scan corrections are drawn for the first, the middle and the last tilt."""


def report(run: Path) -> Path:
    """Write report.html and volume.mrc into `run`, and return the page.

    Raises
    ------
    ProblemsError
        The run has no volume yet.
    """
    if not (run / "volume.h5").exists():
        raise ProblemsError(run, ["there is no volume.h5 here. Run `dptt reconstruct` first."])
    result = read_volume(run / "volume.h5")
    config = config_from_yaml(str(result.attributes["config"]))
    page = run / "report.html"
    with write_beside(page, overwrite=True) as partial:
        partial.write_text(render_report(report_content(run, result, config)), encoding="utf-8")
    write_mrc(run / "volume.mrc", result.volume.real.astype(np.float32), result.voxel_size, overwrite=True)
    log.info(f"wrote {page} and {run / 'volume.mrc'}")
    return page


def report_content(run: Path, result: ReconstructedVolume, config: Config) -> ReportContent:
    """Return what the page shows; the series adds truth and starting poses where it is at hand."""
    analysis = load_analysis(run) or {}
    truth, true_atoms, tilts, positions = None, None, _tilt_rows(result, {}), []
    if config.series.exists():
        with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
            if not made_from(result, series):
                raise ProblemsError(
                    run, [f"the volume was reconstructed from another series than what {config.series} is now."]
                )
            known = series.truth()
            start = {tilt.name: (tilt.euler_angles, tilt.translation) for tilt in series.tilts}
            tilts = _tilt_rows(result, start)
            if config.reconstruction.positions.from_epoch:
                choice = slice(config.reconstruction.offset, None, config.reconstruction.every)
                positions = [
                    ScanPositions(tilt.name, tilt.scan_positions()[choice], refined)
                    for tilt in _shown(series.tilts)
                    if (refined := result.tilts[tilt.name].scan_positions) is not None
                ]
        if known is not None and known.volume is not None:
            potential = np.ascontiguousarray(result.volume.real.astype(np.float64))
            truth = true_potential(known, potential, result, config)[0].astype(np.float32)
    if "true_positions" in analysis.get("atoms", {}):
        true_atoms = np.asarray(analysis["atoms"]["true_positions"])
    sampling = (result.voxel_size[1], result.voxel_size[2])
    attributes = {name: str(value) for name, value in result.attributes.items()}
    versions = {n.removeprefix("version_"): v for n, v in attributes.items() if n.startswith("version_")}
    record = ("command", "created", "series_checksum")
    return ReportContent(
        title=f"dptt: {run}",
        volume=result.volume,
        voxel_size=result.voxel_size,
        truth=truth,
        epochs=read_metrics(run / "metrics.jsonl"),
        tilts=tilts,
        probes=[
            ProbeModes(name, tilt.probe, sampling)
            for name, tilt in _shown(list(result.tilts.items()))
            if tilt.probe is not None
        ],
        scan_positions=positions,
        analysis=analysis,
        true_atoms=true_atoms,
        left_out=[line for line in str(result.attributes.get("left_out", "")).splitlines() if line],
        earlier=[
            EarlierFigure(title, caption, (run / name).read_bytes())
            for name, (title, caption) in EARLIER.items()
            if (run / name).exists()
        ],
        provenance={"series": str(config.series)} | {n: attributes[n] for n in record if n in attributes},
        versions=versions,
        config=attributes.get("config"),
    )


def _tilt_rows(result: ReconstructedVolume, start: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, tilt in result.tilts.items():
        row: dict[str, Any] = {
            "name": name,
            "euler_angles": list(tilt.euler_angles),
            "translation": list(tilt.translation),
            **{key: value for key, value in tilt.attributes.items() if key in HEALTH},
            "num_positions": None if tilt.scan_positions is None else len(tilt.scan_positions),
        }
        if name in start:
            row["initial_euler_angles"], row["initial_translation"] = map(list, start[name])
        rows.append(row)
    return rows


def _shown(tilts: Any) -> list[Any]:
    """Return the first, the middle and the last of many."""
    if len(tilts) <= TILTS_SHOWN:
        return list(tilts)
    return [tilts[0], tilts[len(tilts) // 2], tilts[-1]]

"""`dptt brightfield`: optics and orientation of every tilt from its bright disk; doubts for `validate`."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dptt.assembly.brightfield import BrightFieldError, bright_field_data, file_orientation, raster_matrix
from dptt.assembly.brightfield_tilts import BrightFieldTilts, numbers
from dptt.assembly.geometry import depth_of_field
from dptt.assembly.orientation_check import held_out_losses, losses_sentence
from dptt.config import Config
from dptt.config.brightfield import BrightFieldConfig
from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.share import WHOLE, Share
from dptt.io.atomic_write import write_beside
from dptt.io.brightfield import SeriesCalibration, TiltCalibration, write_calibration
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.report.drawing import to_png
from dptt.report.figures.brightfield import contrast_figure, curl_figure, image_figure, shift_figure
from dptt.runtime.first_rank import first_rank_alone
from dptt.runtime.folders import prepare_folder
from dptt.runtime.provenance import provenance
from dptt.solvers.brightfield import (
    MeasuredOptics,
    OpticalEstimate,
    Orientation,
    calibrated,
    estimate_optics,
    orientation_table,
)
from dptt.solvers.brightfield.evidence import evidence_sentence, settings_sentence, tilt_sign_sentence
from dptt.solvers.brightfield.optical_estimate import SIGNIFICANT
from dptt.solvers.brightfield.orientation import wrapped

FILE = "brightfield.h5"
FARTHEST_DEFOCUS = 0.5
"""Of a tilt from the median of all, as a fraction of it."""
SMALLEST_SCAN = 8
"""Positions along either side below which `orientation_doubts` does not judge."""
LARGEST_DEVIATION = 2.0
"""[degrees] that the rotation of one tilt may differ from the series', or three standard deviations if more."""

Slopes = dict[str, tuple[float, float]]


def brightfield(
    config: Config, identity: str, communicator: Communicator | None = None, share: Share = WHOLE
) -> Path:
    """Estimate optics and orientation of all tilts; write brightfield.h5 and figures; return the path.

    Every tilt has a file of its own in `config.run`/brightfield; those that are there with this `identity` are kept.
    A `share` that is not the whole does its tilts and no more: the call for the whole goes on from them.

    Raises
    ------
    BrightFieldError
        No tilt at all could be evaluated; every reason is listed.
    """
    communicator = communicator or SerialCommunicator()
    prepare_folder(config.run)
    choice = config.brightfield or BrightFieldConfig()
    path = config.run / FILE
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        tilts = BrightFieldTilts(choice, series, path.with_suffix(""), identity)
        failed = tilts.estimate(communicator, share)
        if share.whole:
            first_rank_alone(communicator, lambda: _judge(config, choice, identity, series, tilts, failed))
        else:
            log.info(f"share {share.number} of {share.count} is done; without --share, `dptt brightfield` goes on")
    return path


def _judge(
    config: Config,
    choice: BrightFieldConfig,
    identity: str,
    series: TiltSeries,
    tilts: BrightFieldTilts,
    failed: dict[str, str],
) -> None:
    """Write what the tilts say together; `failed` says why some say nothing."""
    found = {tilt.name: tilts.result(tilt) for tilt in tilts.ordered if tilt.name not in failed}
    if not found:
        raise BrightFieldError(config.series, [f"tilt {name}: {why}" for name, why in failed.items()])
    slopes = {name: optics.slope for name, optics in found.items() if optics.slope is not None}
    estimates = {name: optics.estimate for name, optics in found.items()}
    estimates, orientation, uncertainty = _common_orientation(choice, series, estimates)
    estimates = _near_the_others(estimates)
    first = next(iter(estimates.values()))  # the least tilted one
    thetas = {tilt.name: tilt.euler_angles[1] for tilt in series.tilts}
    findings = _findings(first, orientation, uncertainty, thetas, slopes)
    tilt = next(tilt for tilt in series.tilts if tilt.name == next(iter(estimates)))
    findings.append(losses_sentence(held_out_losses(config, series, tilt, first)))
    findings += [f"tilt {name} has no bright-field result: {why}" for name, why in failed.items()]
    for line in findings:
        log.info(line)
    table = [row.__dict__ for row in orientation_table(first)]
    result = SeriesCalibration(
        rotation=orientation.rotation,
        transposed=orientation.transposed,
        rotation_uncertainty=uncertainty,
        sign_significance=series_sign(estimates),
        trusted=choice.orientation == "keep" or first.orientation_known,
        findings=tuple(findings),
        evidence={name: np.array([row[name] for row in table]) for name in table[0]},
        tilts={name: _tilt_calibration(estimates[name]) for name in sorted(estimates)},
        attributes=provenance(config, series.checksum()) | {"identity": identity},
    )
    _write_figures(config.run, result, first, thetas)
    write_calibration(config.run / FILE, result)
    log.info(f"wrote {config.run / FILE}")


def series_sign(estimates: dict[str, OpticalEstimate]) -> float:
    """Return the significance of positive potentials of all tilts together [standard deviations]."""
    return sum(e.sign_significance for e in estimates.values()) / math.sqrt(len(estimates))


def _common_orientation(
    choice: BrightFieldConfig, series: TiltSeries, estimates: dict[str, OpticalEstimate]
) -> tuple[dict[str, OpticalEstimate], Orientation, float]:
    """Return estimates that share one orientation and one choice of the twins, that orientation, and its uncertainty.

    The rotation is the median over the tilts; a tilt far from it is estimated again with that rotation.
    """
    if series_sign(estimates) < 0 and choice.orientation == "estimate":
        estimates = {name: estimate.twin() for name, estimate in estimates.items()}
    first = next(iter(estimates.values())).orientation
    away = np.array([wrapped(e.orientation.rotation - first.rotation) for e in estimates.values()])
    common = first.rotated(float(np.median(away)))
    spread = 1.4826 * float(np.median(np.abs(away - np.median(away)))) / math.sqrt(len(away))
    uncertainty = max(
        spread, float(np.median([e.rotation_uncertainty for e in estimates.values()])) / math.sqrt(len(away))
    )
    for name, estimate in estimates.items():
        deviation = abs(wrapped(estimate.orientation.rotation - common.rotation))
        if (
            deviation > max(SIGNIFICANT * estimate.rotation_uncertainty, LARGEST_DEVIATION)
            and choice.orientation != "keep"
        ):
            tilt = next(tilt for tilt in series.tilts if tilt.name == name)
            data = bright_field_data(tilt, series)
            estimates[name] = estimate_optics(data, choice.method, choice.aberration_order, common, False)
            log.info(f"tilt {name}: its rotation missed the series' by {deviation:.1f}°; {numbers(estimates[name])}")
    return estimates, common, uncertainty


def _near_the_others(estimates: dict[str, OpticalEstimate]) -> dict[str, OpticalEstimate]:
    """Return the estimates, those of a defocus far from all others with the optics of the tilt that is the median."""
    far, median = outlying_defocus({name: estimate.defocus for name, estimate in estimates.items()})
    kept, middle = dict(estimates), estimates[median]
    for name in far:
        log.warning(
            f"tilt {name}: a defocus of {estimates[name].defocus:.4g} Å is far from the others'; it begins with "
            f"their median, {middle.defocus:.4g} Å"
        )
        uncertainty = FARTHEST_DEFOCUS * abs(middle.defocus) / SIGNIFICANT
        kept[name] = replace(estimates[name], aberrations=middle.aberrations, defocus_uncertainty=uncertainty)
    return kept


def outlying_defocus(defocus: Mapping[str, float]) -> tuple[list[str], str]:
    """Return the tilts whose defocus [Å] is far from the median, and the tilt that is the median.

    A stage changes the height of the specimen between tilts, but not by half of the defocus; what says so has taken
    a side peak for the defocus.
    """
    names = sorted(defocus, key=lambda name: defocus[name])
    median = names[len(names) // 2]
    limit = FARTHEST_DEFOCUS * abs(defocus[median])
    far = [name for name, value in defocus.items() if abs(value - defocus[median]) > limit]
    return (far if len(names) > 2 else []), median


def _findings(
    first: OpticalEstimate, orientation: Orientation, uncertainty: float, thetas: dict[str, float], slopes: Slopes
) -> list[str]:
    """Return what was found of the orientation, in sentences."""
    known = (
        "" if first.orientation_known else " (not certain: explained energy and centre of mass do not both say so)"
    )
    return [
        f"{settings_sentence(orientation)} ± {uncertainty:.2g} fits the data best{known}",
        evidence_sentence(first),
        tilt_sign_sentence([thetas[name] for name in slopes], list(slopes.values())),
    ]


def _tilt_calibration(estimate: OpticalEstimate) -> TiltCalibration:
    shifts = estimate.shifts
    return TiltCalibration(
        aberrations=estimate.aberrations,
        numbers={
            "rotation_deg": estimate.orientation.rotation,
            "rotation_uncertainty_deg": estimate.rotation_uncertainty,
            "defocus_uncertainty_A": estimate.defocus_uncertainty,
            "explained_energy": estimate.energy,
            "sign_significance": estimate.sign_significance,
        },
        method=estimate.method,
        reason=estimate.reason,
        arrays={
            "image": estimate.image.numpy().astype(np.float32),
            "image_sampling_A": np.array(estimate.image_sampling),
            "defocus_curve": estimate.defocus_curve.numpy(),
            "shift_angles_mrad": shifts.angles.numpy(),
            "shifts_measured_A": shifts.measured.numpy(),
            "shifts_fitted_A": shifts.fitted.numpy(),
        },
    )


def _write_figures(run: Path, result: SeriesCalibration, first: OpticalEstimate, thetas: dict[str, float]) -> None:
    """Write the four figures of the run as PNG."""
    names = {name: f"tilt {name} ({thetas[name]:+.1f}°)" for name in result.tilts}
    tilts = {names[name]: tilt for name, tilt in result.tilts.items()}
    least = min(result.tilts, key=lambda name: abs(thetas[name]))
    shown = result.tilts[least].arrays
    angles = np.linspace(-180, 180, 361)
    shares = {
        "transposed" if curl.transposed else "as stored": np.array([curl.share(angle) for angle in angles])
        for curl in first.curls
    }
    figures = {
        "contrast": lambda: contrast_figure(
            {name: (t.arrays["defocus_curve"], -t.aberrations["C10"]) for name, t in tilts.items()}
        ),
        "shifts": lambda: shift_figure(
            names[least], shown["shift_angles_mrad"], shown["shifts_measured_A"], shown["shifts_fitted_A"]
        ),
        "curl": lambda: curl_figure(angles, shares, result.rotation),
        "images": lambda: image_figure(
            {name: (t.arrays["image"], t.arrays["image_sampling_A"], t.method) for name, t in tilts.items()}
        ),
    }
    for name, draw in figures.items():
        with write_beside(run / f"brightfield_{name}.png", overwrite=True) as partial:
            partial.write_bytes(to_png(draw))


def orientation_doubts(series: TiltSeries) -> list[str]:
    """Return doubts about the scan's orientation; none where the least tilted tilt agrees or cannot tell."""
    tilt = min(series.tilts, key=lambda tilt: abs(tilt.euler_angles[1]))
    if tilt.scan_shape is None or min(tilt.scan_shape) < SMALLEST_SCAN:
        return []
    try:
        raster_matrix(tilt)
        estimate = estimate_optics(bright_field_data(tilt, series))
    except (BrightFieldError, ValueError):
        return []
    if not estimate.orientation_known:
        return []
    there = file_orientation(tilt)
    measured = MeasuredOptics(
        orientation=estimate.orientation,
        rotation_uncertainty=estimate.rotation_uncertainty,
        aberrations=estimate.aberrations,
        defocus_uncertainty=estimate.defocus_uncertainty,
        sign_significance=estimate.sign_significance,
    )
    depth = depth_of_field(series.energy, series.semiangle_cutoff)
    use = calibrated(there, tilt.aberrations, measured, depth_of_field=depth)
    if np.allclose(use.matrix, np.eye(2), atol=1e-6):
        return []
    return [
        f"tilt {tilt.name}: the scan seems to lie otherwise against the detector than the file's "
        f"{there.rotation:.1f}°: {evidence_sentence(estimate)}; set {settings_sentence(estimate.orientation)} "
        f"(± {estimate.rotation_uncertainty:.2g}°)."
    ]

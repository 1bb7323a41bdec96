"""`dptt brightfield`: optics and orientation of every tilt from its bright disk."""

from pathlib import Path

import numpy as np

from dptt.assembly.brightfield import BrightFieldError
from dptt.assembly.brightfield_series import SeriesOptics, combine_tilts, sign_sentence
from dptt.assembly.brightfield_tilts import BrightFieldTilts
from dptt.assembly.orientation_check import held_out_losses, losses_sentence
from dptt.config import Config
from dptt.config.brightfield import BrightFieldConfig
from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.share import WHOLE, Share
from dptt.io.atomic_write import replace_bytes
from dptt.io.brightfield import SeriesCalibration, TiltCalibration, write_calibration
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.report.drawing import to_png
from dptt.report.figures.brightfield import contrast_figure, curl_figure, image_figure, shift_figure
from dptt.runtime.agreement import on_first_rank
from dptt.runtime.folders import prepare_folder
from dptt.runtime.provenance import provenance
from dptt.solvers.brightfield import OpticalEstimate, orientation_table
from dptt.solvers.brightfield.evidence import evidence_sentence, settings_sentence, tilt_sign_sentence

FILE = "brightfield.h5"


def brightfield(
    config: Config, identity: str, communicator: Communicator | None = None, share: Share = WHOLE
) -> Path:
    """Estimate optics and orientation of all tilts; write brightfield.h5 and figures; return the path.

    Every tilt has a file of its own in `config.run`/brightfield. Files with this `identity` are kept. A `share` that
    is not the whole estimates its own tilts and no more; a later call for the whole combines them.

    Raises
    ------
    BrightFieldError
        No tilt at all could be evaluated; every reason is listed.
    """
    communicator = communicator or SerialCommunicator()
    on_first_rank(communicator, lambda: prepare_folder(config.run))
    path = config.run / FILE
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        tilts = BrightFieldTilts(_settings(config), series, path.with_suffix(""), identity)
        failed = tilts.estimate(communicator, share)
        if share.whole:
            on_first_rank(communicator, lambda: _calibrate(config, identity, series, tilts, failed))
        else:
            log.info(
                f"share {share.number} of {share.count} is complete; run `dptt brightfield` without --share to "
                "combine the tilts"
            )
    return path


def _settings(config: Config) -> BrightFieldConfig:
    return config.brightfield or BrightFieldConfig()


def _calibrate(
    config: Config, identity: str, series: TiltSeries, tilts: BrightFieldTilts, failed: dict[str, str]
) -> None:
    """Combine the tilts to the calibration of the series and write it; `failed` gives reasons by tilt."""
    results = {tilt.name: tilts.result(tilt) for tilt in tilts.ordered if tilt.name not in failed}
    if not results:
        raise BrightFieldError(config.series, [f"tilt {name}: {reason}" for name, reason in failed.items()])
    slopes = {name: result.slope for name, result in results.items() if result.slope is not None}
    optics = combine_tilts(_settings(config), series, {name: result.estimate for name, result in results.items()})
    findings = [
        *_findings(config, series, optics, slopes),
        *(f"tilt {name} has no bright-field result: {reason}" for name, reason in failed.items()),
    ]
    for line in findings:
        log.info(line)
    calibration = _series_calibration(config, identity, series, optics, findings)
    thetas = {tilt.name: tilt.euler_angles[1] for tilt in series.tilts}
    _write_figures(config.run, calibration, optics.least_tilted, thetas)
    write_calibration(config.run / FILE, calibration)
    log.info(f"wrote {config.run / FILE}")


def _findings(
    config: Config, series: TiltSeries, optics: SeriesOptics, slopes: dict[str, tuple[float, float]]
) -> list[str]:
    """Return the results for the orientation and their evidence, as sentences."""
    first = optics.least_tilted
    tilts = {tilt.name: tilt for tilt in series.tilts}
    certainty = (
        "" if first.orientation_known else " (not certain: explained energy and centre of mass do not agree on it)"
    )
    return [
        f"{settings_sentence(optics.orientation)} ± {optics.rotation_uncertainty:.2g} fits the data best{certainty}",
        evidence_sentence(first),
        sign_sentence(optics),
        *optics.out_of_focus,
        tilt_sign_sentence([tilts[name].euler_angles[1] for name in slopes], list(slopes.values())),
        losses_sentence(held_out_losses(config, series, tilts[next(iter(optics.estimates))], first)),
    ]


def _series_calibration(
    config: Config, identity: str, series: TiltSeries, optics: SeriesOptics, findings: list[str]
) -> SeriesCalibration:
    table = [row.__dict__ for row in orientation_table(optics.least_tilted)]
    return SeriesCalibration(
        rotation=optics.orientation.rotation,
        transposed=optics.orientation.transposed,
        rotation_uncertainty=optics.rotation_uncertainty,
        sign_significance=optics.sign_significance,
        trusted=_settings(config).orientation == "keep" or optics.least_tilted.orientation_known,
        findings=tuple(findings),
        evidence={name: np.array([row[name] for row in table]) for name in table[0]},
        tilts={name: _tilt_calibration(optics.estimates[name]) for name in sorted(optics.estimates)},
        attributes=provenance(config, series.checksum())
        | {"identity": identity, "out_of_focus": "\n".join(optics.out_of_focus)},
    )


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
    least_tilted = min(result.tilts, key=lambda name: abs(thetas[name]))
    arrays = result.tilts[least_tilted].arrays
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
            names[least_tilted],
            arrays["shift_angles_mrad"],
            arrays["shifts_measured_A"],
            arrays["shifts_fitted_A"],
        ),
        "curl": lambda: curl_figure(angles, shares, result.rotation),
        "images": lambda: image_figure(
            {name: (t.arrays["image"], t.arrays["image_sampling_A"], t.method) for name, t in tilts.items()}
        ),
    }
    for name, draw in figures.items():
        replace_bytes(run / f"brightfield_{name}.png", to_png(draw))

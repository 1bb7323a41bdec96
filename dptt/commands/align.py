"""`dptt align`: projections -> aligned poses, a linear volume, and files for IMOD and RELION."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dptt.assembly.alignment import alignment_settings, build_projections
from dptt.config import Config
from dptt.config.alignment import AlignmentConfig
from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.partition import block_range
from dptt.io.alignment import AlignedTilt, Alignment, AlignmentError, Projections, write_alignment
from dptt.io.atomic_write import replace_bytes
from dptt.io.imod import PoseTable, write_imod
from dptt.io.mrc import write_mrc
from dptt.io.relion import write_relion
from dptt.logs import log
from dptt.report.drawing import to_png
from dptt.report.figures.alignment import Lines, change_figure, misfit_figure, sinogram_figure, slice_figure
from dptt.runtime.agreement import failing_together, on_first_rank
from dptt.runtime.folders import prepare_folder
from dptt.runtime.provenance import provenance
from dptt.solvers.alignment import (
    BORDER_INTENSITY,
    AlignmentResult,
    Images,
    StepRecord,
    TiltPoses,
    aligned_lines,
    border_intensity,
    flatten_background,
    of_all_tilts,
    whole_images,
    within_common_field,
)
from dptt.solvers.alignment import align as solve


def align(config: Config, identity: str, communicator: Communicator | None = None) -> Path:
    """Align the projections; write `alignment.h5` and files for other programs; return its path.

    Parameters
    ----------
    identity
        Of the step; stored in the result, so that a later run knows whether it is up to date.

    Raises
    ------
    ProblemsError
        The projections are missing, or do not fit together.
    WriteError
        On every rank: a result cannot be written.
    """
    communicator = communicator or SerialCommunicator()
    choice = config.alignment or AlignmentConfig()
    on_first_rank(communicator, lambda: prepare_folder(config.run))
    with failing_together(communicator, config.run, AlignmentError):
        projections = build_projections(config, choice, partial(_share, communicator=communicator))
    if choice.background != "none":
        level = None if choice.background == "auto" else float(choice.background)
        values, own_levels = flatten_background(projections.values, projections.weights, level)
        projections = replace(projections, values=values)  # the arrays with background are freed
        levels = _of_all(projections, communicator, own_levels)
        log.info(f"background {levels.min():.4g} to {levels.max():.4g} V Å subtracted")
    _refuse_empty(projections, config.run, communicator)
    images = whole_images(
        projections.values, projections.weights, projections.pixel_size, projections.tilts, len(projections.names)
    )
    nominal = TiltPoses(projections.euler_angles, projections.translations)
    images = _without_border(images, nominal, communicator)
    settings = alignment_settings(choice, (images.values.shape[1], images.values.shape[2]), config.volume.thickness)
    _log_plan(projections, settings.binnings, communicator)
    result = solve(images, nominal, settings, communicator, lambda record: log.info(step_line(record)))
    _log_result(result, projections)
    before, after = (aligned_lines(images, poses, communicator) for poses in (nominal, result.poses))

    def write() -> None:
        _draw(config.run, projections, before, after, nominal, result)
        _write(config, projections, result, identity)

    on_first_rank(communicator, write)
    log.info(f"wrote {config.run / 'alignment.h5'}")
    return config.run / "alignment.h5"


def _share(count: int, communicator: Communicator) -> range:
    """Return the tilts that this rank reads and works on."""
    return block_range(count, communicator.size, communicator.rank)


def _of_all(projections: Projections, communicator: Communicator, own: np.ndarray) -> np.ndarray:
    """Return the numbers of all tilts, on every rank, from those of each rank's own."""
    first = projections.tilts.start
    return of_all_tilts(len(projections.names), communicator, lambda tilt: own[tilt - first])


def _refuse_empty(projections: Projections, subject: Path, communicator: Communicator) -> None:
    """Refuse images that are zero everywhere: a misfit relative to nothing moves all other tilts."""
    filled = _of_all(projections, communicator, np.array([image.any() for image in projections.values], dtype=float))
    if empty := [name for name, has_values in zip(projections.names, filled, strict=True) if not has_values]:
        shown = ", ".join(empty[:10]) + ", ..." * (len(empty) > 10)
        problem = (
            f"{len(empty)} of {len(projections.names)} projections have no value above their background: {shown}. "
            "Lower `alignment.background`, or leave these tilts out (reconstruction.exclude, before `dptt ptycho`)."
        )
        raise AlignmentError(subject, [problem])


def _without_border(images: Images, nominal: TiltPoses, communicator: Communicator) -> Images:
    """Return the images, weighed down outside their common field of view if the specimen reaches their border."""
    intensity = border_intensity(images, communicator)
    if intensity < BORDER_INTENSITY:
        return images
    log.warning(
        f"the specimen reaches the border of the images (intensity there: {100 * intensity:.0f} % of the mean): "
        "what lies outside the field of view that all tilts have in common is left out. Poses of such a specimen are "
        "less certain; if good ones are known, keep them with `alignment: {search: false, translation_iterations: 0, "
        "angles: false}`"
    )
    return within_common_field(images, nominal)


def step_line(record: StepRecord) -> str:
    """Return the log line of one outer step."""
    return (
        f"binning {record.binning}  step {record.step:02d}  misfit {record.misfit:.4f}  "
        f"shift {record.shift:.2e} Å  rotation {record.rotation:.2e}°"
    )


def _log_plan(projections: Projections, binnings: tuple[int, ...], communicator: Communicator) -> None:
    count, (height, width) = len(projections.names), projections.values.shape[1:]
    y, x = projections.pixel_size
    log.info(
        f"{count} projections of {height} x {width} pixels of {y:.4g} x {x:.4g} Å, binned by "
        f"{', '.join(map(str, binnings))}, {communicator.size} rank(s)"
    )


def _log_result(result: AlignmentResult, projections: Projections) -> None:
    log.info(
        f"tilt axis {result.tilt_axis:+.3f}° from the nominal axis, offset {result.axis_offset:+.3f} Å; "
        f"median misfit {np.median(result.misfits):.4f}"
    )
    for verdict in result.verdicts:
        log.info(verdict.sentence())
    for title, errors, unit in zip(("phi", "theta", "psi", "tau y", "tau x"), result.errors.T, "°°°ÅÅ", strict=True):
        if (errors > 0).any():
            log.info(f"{title}: standard deviation {np.median(errors):.3f} {unit} (median over tilts)")
    for name, misfit, weight in zip(projections.names, result.misfits, result.weights, strict=True):
        if weight < 1:
            log.warning(
                f"tilt {name} does not fit the other tilts: misfit {misfit:.3f}, "
                f"weight reduced to {100 * weight:.0f} %"
            )


def _write(config: Config, projections: Projections, result: AlignmentResult, identity: str) -> None:
    poses = PoseTable(result.poses.euler_angles, result.poses.translations)
    tilts = {
        name: AlignedTilt(tuple(angles), tuple(shift), float(misfit), float(weight), tuple(errors))
        for name, angles, shift, misfit, weight, errors in zip(
            projections.names,
            poses.euler_angles.tolist(),
            poses.translations.tolist(),
            result.misfits,
            result.weights,
            result.errors.tolist(),
            strict=True,
        )
    }
    attributes: dict[str, str | int | float] = {
        "tilt_axis_deg": result.tilt_axis,
        "axis_offset_A": result.axis_offset,
        "verdicts": "\n".join(verdict.sentence() for verdict in result.verdicts),
    }
    run, size = config.run, result.voxel_size
    write_mrc(run / "alignment.mrc", result.volume.astype(np.float32), (size, size, size), overwrite=True)
    y, x = projections.pixel_size
    if abs(y - x) <= 1e-4 * x:
        write_imod(run / "alignment", poses, x, projections.values.shape[1:], overwrite=True)
    else:
        log.warning(f"no IMOD files written: IMOD needs square pixels, but these are {y:.4g} x {x:.4g} Å")
    write_relion(run / "alignment.star", poses, projections.names, overwrite=True)
    # last, also after the pictures: its presence means that the step is complete
    attributes |= provenance(config) | {"identity": identity}
    write_alignment(
        run / "alignment.h5",
        Alignment(result.volume, (size, size, size), tilts, attributes),
        overwrite=True,
    )


def _draw(
    run: Path, projections: Projections, before: Lines, after: Lines, nominal: TiltPoses, result: AlignmentResult
) -> None:
    theta = nominal.euler_angles[:, 1]
    figures: dict[str, Callable[[], Figure]] = {
        "misfits": lambda: misfit_figure(theta, result.misfits, result.weights, projections.names),
        "poses": lambda: change_figure(
            nominal.euler_angles, result.poses.euler_angles, nominal.translations, result.poses.translations
        ),
        "sinogram": lambda: sinogram_figure(before, after, theta, min(projections.pixel_size)),
        "slices": lambda: slice_figure(result.volume, result.voxel_size),
    }
    for name, figure in figures.items():
        replace_bytes(run / f"alignment_{name}.png", to_png(figure))

"""From the section `alignment` and files to projections and settings of the solver."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dptt.assembly.pose_files import poses_in_file
from dptt.assembly.settings import angle_widths, shared_fields
from dptt.config import Config, expand_path
from dptt.config.alignment import AlignmentConfig, ProjectionsConfig
from dptt.config.foreign_arrays import ArrayConfig
from dptt.io.alignment import AlignmentError, Projections, Share, read_projections
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.solvers.alignment import AlignmentSettings

LARGEST_SIDE = 128
"""Maximum pixels per side at the finest stage: translations are refined to a small fraction of a pixel."""
SMALLEST_SIDE = 32
"""Minimum pixels per side at the coarsest stage."""
FEWEST_TILTS = 3


def build_projections(config: Config, options: AlignmentConfig, share: Share = range) -> Projections:
    """Return the projections that `options` describes, or those that `dptt ptycho` wrote into the folder of the run.

    Images are read of the `share` of their number.

    Raises
    ------
    AlignmentError
        Projections are missing or contradict each other; all contradictions are listed.
    """
    if options.projections is None:
        projections = read_projections(config.run / "ptychography.h5", share)
    else:
        projections = _listed_projections(options.projections, share)
    if len(projections.names) < FEWEST_TILTS:
        problem = f"there are {len(projections.names)} tilts; expected at least {FEWEST_TILTS}. Add tilts."
        raise AlignmentError(config.run, [problem])
    if options.start is None:
        return projections
    poses = poses_in_file(expand_path(options.start), projections)
    return replace(projections, euler_angles=poses.euler_angles, translations=poses.translations)


def alignment_settings(
    options: AlignmentConfig, image_shape: tuple[int, int], depth: float | None = None
) -> AlignmentSettings:
    """Return the solver's settings, the pyramid of binnings derived from the size of the images.

    `depth` is that of the volume [Å]; None for as deep as wide.
    """
    finest = options.finest_binning or max(1, -(-max(image_shape) // LARGEST_SIDE))
    binnings = [finest]
    while min(image_shape) // (2 * binnings[0]) >= SMALLEST_SIDE and len(binnings) < 3:
        binnings.insert(0, 2 * binnings[0])
    return AlignmentSettings(
        binnings=tuple(binnings),
        final_binning=options.volume_binning,
        depth=depth,
        angles_from=finest if options.angles else 0,
        final_iterations=options.volume_iterations,
        angle_uncertainty=angle_widths(options.angle_uncertainty),
        **shared_fields(options, AlignmentSettings),
    )


def _listed_projections(options: ProjectionsConfig, share: Share) -> Projections:
    """Return the projections in an array, with the poses that `options` lists."""
    path, axis = Path(options.path), options.axes.index("tilt")
    with open_array(_source(options)) as array:
        if len(array.shape) != 3:
            raise AlignmentError(path, [f"the array has shape {array.shape}; expected axes {options.axes}."])
        count = array.shape[axis]
        tilts = share(count)
        values = array.read(
            tuple(slice(tilts.start, tilts.stop) if each == axis else slice(None) for each in range(3))
        )
    values = values.transpose([options.axes.index(axis) for axis in ("tilt", "y", "x")]).astype(np.float32)  # type: ignore[arg-type]
    theta = options.tilt_sign * np.asarray(_angles(options.tilt_angles), dtype=np.float64).ravel()
    translations = np.zeros((len(theta), 2)) if options.translations is None else np.asarray(options.translations)
    problems = [
        f"{name} has {entries} entries; expected one for each of {count} tilts. Correct the list or the axes."
        for name, entries in (("tilt_angles", len(theta)), ("translations", len(translations)))
        if entries != count
    ]
    if not np.isfinite(values).all():
        not_finite = (np.flatnonzero(~np.isfinite(values).all((1, 2))) + tilts.start).tolist()
        problems.append(f"tilts {not_finite} contain values that are not finite. Leave these tilts out.")
    if problems:
        raise AlignmentError(path, problems)
    angles = np.column_stack([np.zeros_like(theta), theta, np.full_like(theta, options.tilt_axis)])
    names = tuple(f"{number:04d}" for number in range(count))
    weights = np.ones_like(values)
    return Projections(names, values, weights, options.pixel_size, angles, translations.astype(float), tilts)


def _angles(options: list[float] | ArrayConfig) -> np.ndarray:
    if isinstance(options, list):
        return np.array(options)
    with open_array(_source(options)) as array:
        return array.read_all()


def _source(options: ArrayConfig) -> ArraySource:
    return ArraySource(str(expand_path(options.path)), options.dataset, options.selection)

"""From the `alignment` section and files to what the solver takes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from dptt.assembly.settings import shared_fields
from dptt.config import Config
from dptt.config.alignment import AlignmentConfig, ProjectionsConfig
from dptt.config.importing import ArrayConfig
from dptt.io.alignment import AlignmentError, Projections, read_projections
from dptt.io.imod import read_imod
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.relion import read_relion
from dptt.solvers.alignment import AlignmentSettings

LARGEST_SIDE = 128
"""Pixels of the finest stage: translations are found to a small fraction of one."""
SMALLEST_SIDE = 32
"""Pixels of the coarsest stage."""
FEWEST_TILTS = 3


def build_projections(config: Config, choice: AlignmentConfig) -> Projections:
    """Return the projections that `choice` describes, or those that `dptt ptycho` left in the run's folder.

    Raises
    ------
    AlignmentError
        With everything that does not fit.
    """
    if choice.projections is None:
        found = read_projections(config.run / "ptychography.h5")
    else:
        found = _foreign(choice.projections)
    if len(found.names) < FEWEST_TILTS:
        problem = f"there are {len(found.names)} tilts; expected {FEWEST_TILTS} at least. Add tilts."
        raise AlignmentError(config.run, [problem])
    return found if choice.start is None else _begun(found, Path(os.path.expandvars(choice.start)))


def alignment_settings(choice: AlignmentConfig, image_shape: tuple[int, int]) -> AlignmentSettings:
    """Return the solver's settings, the pyramid of binnings derived from the size of the images."""
    finest = choice.finest_binning or max(1, -(-max(image_shape) // LARGEST_SIDE))
    binnings = [finest]
    while min(image_shape) // (2 * binnings[0]) >= SMALLEST_SIDE and len(binnings) < 3:
        binnings.insert(0, 2 * binnings[0])
    return AlignmentSettings(
        binnings=tuple(binnings),
        final_binning=choice.volume_binning,
        angles_from=finest if choice.angles else 0,
        final_iterations=choice.volume_iterations,
        **shared_fields(choice, AlignmentSettings),
    )


def _begun(projections: Projections, path: Path) -> Projections:
    """Return the projections with the poses that a file of RELION or IMOD holds."""
    if path.suffix == ".star":
        poses, _ = read_relion(path)
    else:
        xtilt = path.with_suffix(".xtilt")
        shape = (projections.values.shape[1], projections.values.shape[2])
        pixel = projections.pixel_size[1]
        poses = read_imod(path.with_suffix(".tlt"), path, pixel, shape, xtilt if xtilt.exists() else None)
    if len(poses.translations) != len(projections.names):
        problem = f"has {len(poses.translations)} poses; expected {len(projections.names)}, one a projection."
        raise AlignmentError(path, [f"{problem} Name the file of this series."])
    return replace(projections, euler_angles=poses.euler_angles, translations=poses.translations)


def _foreign(choice: ProjectionsConfig) -> Projections:
    with open_array(_source(choice)) as array:
        values = array.read_all()
    path = Path(choice.path)
    if values.ndim != 3:
        raise AlignmentError(path, [f"the array has shape {values.shape}; expected axes {choice.axes}."])
    values = values.transpose([choice.axes.index(axis) for axis in ("tilt", "y", "x")]).astype(np.float32)  # type: ignore[arg-type]
    theta = choice.tilt_sign * np.asarray(_angles(choice.tilt_angles), dtype=np.float64).ravel()
    translations = np.zeros((len(theta), 2)) if choice.translations is None else np.asarray(choice.translations)
    problems = [
        f"{what} has {count} entries; expected one for each of {len(values)} tilts. Correct the list or the axes."
        for what, count in (("tilt_angles", len(theta)), ("translations", len(translations)))
        if count != len(values)
    ]
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values).all((1, 2))).tolist()
        problems.append(f"tilts {bad} hold values that are not finite. Leave them out.")
    if problems:
        raise AlignmentError(path, problems)
    angles = np.column_stack([np.zeros_like(theta), theta, np.full_like(theta, choice.tilt_axis)])
    names = tuple(f"{number:04d}" for number in range(len(values)))
    return Projections(names, values, np.ones_like(values), choice.pixel_size, angles, translations.astype(float))


def _angles(choice: list[float] | ArrayConfig) -> np.ndarray:
    if isinstance(choice, list):
        return np.array(choice)
    with open_array(_source(choice)) as array:
        return array.read_all()


def _source(choice: ArrayConfig) -> ArraySource:
    return ArraySource(os.path.expandvars(choice.path), choice.dataset, tuple(choice.index))

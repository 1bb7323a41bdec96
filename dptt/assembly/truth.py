"""The true potential of a simulated series, on the grid of a reconstruction and registered with it."""

from typing import Any, Literal

import numpy as np

from dptt.analysis.plain import to_plain
from dptt.analysis.registration import register_rigid
from dptt.analysis.resampling import resample_volume, shift_volume, transform_volume
from dptt.analysis.translation import register_translation
from dptt.config import Config
from dptt.io.truth import Truth
from dptt.io.volumes import ReconstructedVolume


def true_potential(
    truth: Truth, potential: np.ndarray, result: ReconstructedVolume, config: Config
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the true potential [V], float32, on the grid of the reconstruction, and the motion that registers it.

    Refined poses and positions leave a common motion of the specimen undetermined. Only then is the truth
    registered with the reconstruction: by a rigid motion if angles were refined, else by a translation.
    """
    reference = _on_grid_of(truth, potential, result)
    motion = undetermined_motion(config)
    if motion == "none":
        return reference, {"kind": "none"}
    shift = register_translation(potential, reference, result.voxel_size)
    reference = shift_volume(reference, shift, result.voxel_size).real
    if motion == "translation":
        return reference, to_plain({"kind": "translation", "translation_A": shift, "rotation": np.eye(3)})
    rigid = register_rigid(potential, reference, result.voxel_size)
    transform_volume(reference, rigid.rotation, rigid.translation, result.voxel_size, out=reference)
    moved = {
        "kind": "rigid",
        "translation_A": rigid.rotation @ shift + rigid.translation,
        "rotation": rigid.rotation,
        "angle_deg": rigid.angle,
        "correlation": rigid.correlation,
    }
    return reference, to_plain(moved)


def undetermined_motion(config: Config) -> Literal["none", "translation", "rigid"]:
    """Return the common motion of the specimen that the data do not determine once poses or positions are refined."""
    settings = config.reconstruction
    if settings.angles.from_epoch or config.alignment is not None:
        return "rigid"
    positions_per_tilt = config.ptychography is not None and config.ptychography.positions.from_epoch
    moved = settings.translations.from_epoch or settings.positions.from_epoch or positions_per_tilt
    return "translation" if moved else "none"


def _on_grid_of(truth: Truth, potential: np.ndarray, result: ReconstructedVolume) -> np.ndarray:
    assert truth.volume is not None and truth.voxel_size is not None
    reference: np.ndarray = truth.volume
    if any(truth.origin):
        reference = shift_volume(reference, np.asarray(truth.origin), truth.voxel_size)
    if truth.voxel_size != result.voxel_size or reference.shape != potential.shape:
        shape = (potential.shape[0], potential.shape[1], potential.shape[2])
        reference = resample_volume(reference, truth.voxel_size, result.voxel_size, shape)
    return reference

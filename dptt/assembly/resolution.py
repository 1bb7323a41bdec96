"""The resolution of a volume, from its Fourier shell correlation with a reference, as `analysis.json` holds it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dptt.analysis.correlation import FourierShellCorrelation, Resolution, soft_mask_planes
from dptt.analysis.directional_correlation import axis_directions, whole_and_directional_correlation
from dptt.analysis.field_of_view import FieldOfView
from dptt.analysis.grid import Shape, VoxelSize
from dptt.analysis.plain import to_plain
from dptt.config import Config

FEWEST_VOXELS = 20
"""Shells of a cone with fewer voxels correlate at random and are not drawn."""
CRITERIA: tuple[float | str, ...] = (0.5, 0.143, "one-bit", "half-bit")
EDGE = 2.0
"""[Å] Over which a mask falls to zero."""
AXES = "zyx"


def resolution_against(
    a: np.ndarray, b: np.ndarray, voxel_size: VoxelSize, config: Config, view: FieldOfView | None
) -> dict[str, Any]:
    """Return the resolution at which a volume agrees with the truth, over all directions and along each axis."""
    a, b = masked(a, voxel_size, config, view), masked(b, voxel_size, config, view)
    curve, *cones = whole_and_directional_correlation(a, b, voxel_size, axis_directions())
    return resolution_entries(curve, cones, criterion=0.5, view=view)


def masked(volume: np.ndarray, voxel_size: VoxelSize, config: Config, view: FieldOfView | None) -> np.ndarray:
    """Return a volume (z, y, x) within the mask of the configuration and what all tilts see, if there are such."""
    if config.analysis.mask_radius is not None:
        masks = soft_mask_planes(_shape(volume), voxel_size, config.analysis.mask_radius, EDGE)
        volume = _by_planes(volume, masks, lambda plane, mask: mask * plane)
    return within_view(volume, voxel_size, view)


def within_view(volume: np.ndarray, voxel_size: VoxelSize, view: FieldOfView | None) -> np.ndarray:
    """Return a volume (z, y, x) within what all tilts see; as it is if they see all of it.

    The mean of every plane is taken off: of a specimen that fills the view it is a constant phase, which no pattern
    tells.
    """
    if view is None:
        return volume

    def windowed(plane: np.ndarray, window: np.ndarray) -> np.ndarray:
        return np.asarray(window * (plane - (window * plane).sum() / max(window.sum(), 1.0)))

    return _by_planes(volume, view.window(_shape(volume), voxel_size, EDGE), windowed)


def _by_planes(
    volume: np.ndarray, masks: Iterable[np.ndarray], treat: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return a volume treated plane by plane, each with its mask, so that masks of the whole are never in memory."""
    treated = np.empty_like(volume)
    for into, plane, mask in zip(treated, volume, masks, strict=True):
        into[...] = treat(plane, mask)
    return treated


def _shape(volume: np.ndarray) -> Shape:
    return volume.shape[0], volume.shape[1], volume.shape[2]


def resolution_entries(
    curve: FourierShellCorrelation,
    cones: Sequence[FourierShellCorrelation],
    *,
    criterion: float,
    view: FieldOfView | None,
) -> dict[str, Any]:
    """Return the resolution by each criterion, and along z, y and x, with the worst of these, by `criterion`.

    Within a `view`, periods of more than half of it are not judged.
    """
    lowest = 0.0 if view is None else view.lowest_frequency
    resolutions = [cone.beyond(lowest).resolution(criterion, FEWEST_VOXELS) for cone in cones]
    name, worst = max(zip(AXES, resolutions, strict=True), key=lambda pair: pair[1].full_period)
    return {
        "fsc": to_plain(curve)
        | {
            "one_bit": to_plain(curve.threshold("one-bit")),
            "half_bit": to_plain(curve.threshold("half-bit")),
        },
        "worst_direction": {"name": name, "criterion": criterion, **_entry(worst)},
        "resolution": {str(each): _entry(curve.beyond(lowest).resolution(each)) for each in CRITERIA},
        "directional_fsc": [
            {
                "name": axis,
                "direction": to_plain(direction),
                "frequency": to_plain(cone.frequency[cone.num_voxels >= FEWEST_VOXELS]),
                "correlation": to_plain(cone.correlation[cone.num_voxels >= FEWEST_VOXELS]),
                **_entry(resolution),
            }
            for axis, direction, cone, resolution in zip(AXES, axis_directions(), cones, resolutions, strict=True)
        ],
    }


def _entry(resolution: Resolution) -> dict[str, Any]:
    return {"resolution_A": to_plain(resolution.full_period), "at_nyquist": resolution.at_nyquist}

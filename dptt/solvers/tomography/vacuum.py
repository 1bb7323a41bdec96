"""The constant of the potential, from the vacuum around the specimen instead of the constraints.

A constant changes no intensity, and the slowest waves of a specimen hardly do: in the volume they are what the
constraints leave. Shrinkage takes from every atom, and non-negativity turns noise of the vacuum into potential. Three
steps mend that in the finished volume: the specimen is told from the vacuum in a smoothed volume; the mean of the
vacuum is taken off everywhere, which no pattern notices; and the smooth potential of the specimen that the patterns
then miss is added: through three losses goes a parabola. Features in the vacuum stay as they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.distributed.slabs import Rows
from dptt.kernels.losses import LOSSES
from dptt.model.forward import Geometry
from dptt.model.shot_noise import Fit
from dptt.model.state import TomographyState
from dptt.solvers.tomography.constraints import gaussian_
from dptt.solvers.tomography.detuning import FARTHEST, preference
from dptt.solvers.tomography.fit import measure_fit, together
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns

SMOOTH, EDGE = 2.0, 1.0
"""Standard deviations of the Gaussians that smooth the volume, and then the edge of the specimen [voxels]."""
OUTSIDE, INSIDE = 0.25, 0.75
"""Between these fractions of the way from the vacuum to the threshold, a smoothed voxel belongs more and more to the
specimen."""
MOST_ROUNDS = 50
"""To find the threshold."""
STEP = 0.2
"""Of the parabola, as a fraction of the total potential."""
FEWEST_FREE = 0.1
"""Fraction of the scanned area that must be free of the specimen, through the whole depth of the volume."""


@dataclass(frozen=True)
class Vacuum:
    """What the vacuum around the specimen told."""

    told: bool
    """Whether it told anything; otherwise the volume is as it was."""
    free: float
    """Fraction of the scanned area with vacuum through the whole depth."""
    specimen: float
    """Fraction of the volume that is specimen."""
    offset: float
    """Mean of the vacuum that was taken off [V]."""
    added: float
    """What was added in the specimen [V]."""
    total: float
    """Of the corrected volume, sum of Re V times the volume of a voxel [V Å³]."""
    error: float
    """Standard deviation of `total` by shot noise, as a fraction of it; other errors are larger (docs/steps.md)."""

    def sentence(self) -> str:
        """Say what was found and done."""
        if not self.told:
            return (
                f"the total potential cannot be told: {100 * self.free:.0f} % of the scanned area is vacuum through "
                f"the whole depth of the volume, and at least {100 * FEWEST_FREE:.0f} % are needed, or the patterns "
                "do not determine it. The mean of the volume is set by the constraints"
            )
        return (
            f"vacuum: the specimen is {100 * self.specimen:.1f} % of the volume; {self.offset:.3g} V were taken off "
            f"everywhere, and {self.added:.3g} V added in the specimen. Total potential {self.total:.4g} V Å³ "
            f"± {100 * self.error:.1g} % by shot noise"
        )


def set_constant_(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
) -> Vacuum:
    """Give the finished volume the constant that the vacuum has, and the smooth potential that the patterns miss.

    Changes Re V of `state.volume`, this rank's rows; the result is the same on all ranks. Without vacuum on the sides
    of the specimen nothing is changed: a film takes up any constant.
    """
    run = Run(geometry, settings, mesh, TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts)))
    volume = state.volume.real if state.volume.is_complex() else state.volume
    shape = specimen(volume, run.rows, mesh)
    free = _free_area(shape, state, run)
    weight, in_vacuum = _sums(torch.stack([shape.sum(), ((1 - shape) * volume).sum()]), mesh)
    voxels = math.prod(geometry.volume_shape)
    offset = in_vacuum / max(voxels - weight, 1e-30)
    total = _sums(volume.sum()[None], mesh)[0] - voxels * offset
    unchanged = Vacuum(False, free, weight / voxels, 0.0, 0.0, 0.0, math.inf)
    if free < FEWEST_FREE or not total > 0:
        return unchanged
    smooth = gaussian_(shape.clone(), EDGE, run.rows)
    step = STEP * total / max(_sums(smooth.sum()[None], mesh)[0], 1e-30)

    def fit(change: float) -> Fit:
        moved = state.volume - offset + change * smooth
        return together(measure_fit(replace(state, volume=moved), tilts, run, held_out=False))

    added = preference(step, fit(-step), fit(0.0), fit(step), LOSSES[settings.loss].curvature)
    if not (abs(added.change) < FARTHEST * step and math.isfinite(added.sigma)):  # no parabola, or none near
        return unchanged
    state.volume += added.change * smooth - offset
    grown = total * (1 + STEP * added.change / step)
    size = math.prod(geometry.voxel_size)
    error = STEP * total * added.sigma / step / abs(grown)
    return Vacuum(True, free, weight / voxels, offset, added.change, grown * size, error)


def specimen(volume: Float[Tensor, "z y x"], rows: Rows, mesh: Mesh) -> Float[Tensor, "z y x"]:
    """Return how much each voxel of this rank's rows belongs to the specimen, from 0 to 1.

    The threshold is half way between the means of the smoothed voxels below and above it.
    """
    smooth = gaussian_(volume.clone(), SMOOTH, rows)
    number, total = _sums(torch.stack([torch.ones_like(smooth).sum(), smooth.sum()]), mesh)
    threshold = vacuum = total / number
    for _ in range(MOST_ROUNDS):
        below: Bool[Tensor, "z y x"] = smooth <= threshold
        few, low = _sums(torch.stack([below.sum().to(smooth.dtype), smooth[below].sum()]), mesh)
        if few in (0, number):
            break
        before, vacuum = threshold, low / few
        threshold = (vacuum + (total - low) / (number - few)) / 2
        if abs(threshold - before) <= 1e-6 * abs(threshold):
            break
    height = threshold - vacuum
    if not height > 0:
        return torch.zeros_like(smooth)
    return ((smooth - vacuum - OUTSIDE * height) / ((INSIDE - OUTSIDE) * height)).clamp_(0, 1)


def _free_area(shape: Float[Tensor, "z y x"], state: TomographyState, run: Run) -> float:
    """Return the fraction of the area that all tilts scan in which no voxel along z belongs to the specimen."""
    _, height, width = run.geometry.volume_shape
    limits = [(positions.min(0).values, positions.max(0).values) for positions in state.positions]
    low, high = torch.stack([a for a, _ in limits]).amax(0), torch.stack([b for _, b in limits]).amin(0)
    pixel = run.geometry.voxel_size[1:]
    y = (torch.arange(height, dtype=torch.float64) - height // 2) * pixel[0]
    x = (torch.arange(width, dtype=torch.float64) - width // 2) * pixel[1]
    own = run.rows.own
    scanned = ((y >= low[0]) & (y <= high[0]))[own.start : own.stop, None] & ((x >= low[1]) & (x <= high[1]))
    free = scanned & (shape.amax(0) < 0.5).cpu()
    among, number = _sums(torch.stack([scanned.sum(), free.sum()]).double(), run.mesh)
    return number / among if among else 0.0


def _sums(own: Float[Tensor, " n"], mesh: Mesh) -> list[float]:
    """Return sums over the rows of all slabs."""
    return mesh.slab.sum_(own.double().cpu()).tolist()

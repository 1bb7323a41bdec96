"""How a minibatch moves the volume: with momentum, then under its constraints ([P] eq. 17-18)."""

from jaxtyping import Inexact
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.kernels import advance_, threshold_
from dptt.model.state import TomographyState
from dptt.solvers.tomography.constraints import thresholds, typical_potential
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.stopwatch import Stopwatch
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilted_volume import TiltedVolume


def descend_(
    state: TomographyState,
    tilted: TiltedVolume,
    slices: Inexact[Tensor, "slice y x"],
    settings: TomographySettings,
    mesh: Mesh,
    groups: TiltGroups,
    seconds: Stopwatch,
) -> None:
    """Move the volume against the back-projection of `slices`, which is held only if other groups add to it."""
    if groups.adds_updates:
        advance_and_constrain_(state, tilted.backprojected(slices), settings, mesh, groups, seconds)
        return
    sums = tilted.advance_(state.volume, state.velocity, slices, settings.momentum, settings.step)
    _constrain_(state, sums, settings, mesh, groups, seconds)


def advance_and_constrain_(
    state: TomographyState,
    update: Inexact[Tensor, "z y x"],
    settings: TomographySettings,
    mesh: Mesh,
    groups: TiltGroups,
    seconds: Stopwatch,
) -> None:
    """Move the volume against `update`, that of this group of ranks; changes `update`."""
    with seconds.of("communicate"):
        update = groups.combined(update)
    sums = advance_(state.volume, state.velocity, update, settings.momentum, settings.step)
    _constrain_(state, sums, settings, mesh, groups, seconds)


def _constrain_(
    state: TomographyState,
    sums: Tensor,
    settings: TomographySettings,
    mesh: Mesh,
    groups: TiltGroups,
    seconds: Stopwatch,
) -> None:
    """Constrain the volume that was just moved, whose power sums are `sums`."""
    potential = typical_potential(mesh.slab.sum_(sums))
    threshold_(state.volume, thresholds(potential, settings, state.epoch))
    with seconds.of("communicate"):
        groups.after_update()

"""How a minibatch moves the volume: with momentum, then under its constraints ([P] eq. 17-18)."""

from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.kernels import advance_, threshold_
from dptt.model.state import TomographyState
from dptt.solvers.tomography.constraints import thresholds, typical_potential
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.steps import momentum_share
from dptt.solvers.tomography.tilted_volume import TiltedVolume


def descend_(state: TomographyState, run: Run, *, tilted: TiltedVolume, slices: Inexact[Tensor, "slice y x"]) -> None:
    """Move the volume against the back-projection of `slices`.

    The back-projection is stored only if other tilt groups add to it.
    """
    if run.groups.adds_updates:
        advance_and_constrain_(state, run, tilted.backprojected(slices))
        return
    settings = run.settings
    step = settings.step * momentum_share(settings.momentum)
    sums = tilted.advance_(state.volume, state.velocity, slices, momentum=settings.momentum, step=step)
    _constrain_(state, run, sums)


def advance_and_constrain_(state: TomographyState, run: Run, update: Inexact[Tensor, "z y x"]) -> None:
    """Move the volume against `update`, that of this tilt group; changes `update`."""
    settings, update = run.settings, run.groups.combined(update)
    step = settings.step * momentum_share(settings.momentum)
    sums = advance_(state.volume, state.velocity, update, settings.momentum, step)
    _constrain_(state, run, sums)


def _constrain_(state: TomographyState, run: Run, power_sums: Float[Tensor, "2"]) -> None:
    """Constrain the volume after a step, which returned this rank's `power_sums`."""
    potential = typical_potential(run.mesh.slab.sum_(power_sums))
    threshold_(state.volume, thresholds(potential, run.settings, state.epoch))
    for vacuum in run.geometry.vacuum_planes:
        state.volume[vacuum].zero_()
        state.velocity[vacuum].zero_()
    run.groups.after_update()

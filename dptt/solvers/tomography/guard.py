"""The guard of the descent: an epoch that raises the loss is undone, and steps are half as long from then on.

The bounds in `steps` hold for the curvature at the optimum and for each unknown. Far from it, or when several
unknowns follow one error at once, a step may still be too long. The decision follows from sums over all ranks, so
every rank takes the same one; what it depends on is part of the state, hence of the checkpoint.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from dptt.model.shot_noise import shot_noise_moments
from dptt.model.state import Descent, TomographyState
from dptt.physics.multislice import diffraction_intensity
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_patterns import TiltPatterns, tilt_misfit

MOST_HALVINGS = 3
"""Per epoch. If the loss rises at an eighth of the step too, the step is not the cause: a constraint may begin."""
LARGEST_RISE = 0.25
"""Of the loss beyond that of shot noise. Orders of tilts and minibatches cause up to 0.1 where nothing diverges."""
LARGEST_FLUCTUATION = 0.02
"""Of the loss, in addition: that of shot noise is an estimate."""
ROUNDING = 1e-10
"""Loss per electron below which nothing but rounding is left."""
SMALLEST_GAIN = 1e-4
"""Fraction by which a result must be below the loss of vacuum: more than rounding."""
REFINED = ("probe", "positions", "angles", "translations")

Reload = Callable[[int], tuple[Tensor, Tensor]]
"""Returns this rank's rows of volume and velocity after so many epochs; all ranks call it together."""

log = logging.getLogger("dptt")


class DivergedError(RuntimeError):
    """The patterns are explained no better than by vacuum."""


class BeforeEpoch:
    """What undoes an epoch.

    Volume and velocity are read again with `reload`, which costs nothing before it is needed. Without it they are
    copied, unless they are zero. Probes and positions are small, and always copied.
    """

    def __init__(self, state: TomographyState, reload: Reload | None) -> None:
        self._empty = state.epoch == 0 and not bool(state.volume.any()) and not bool(state.velocity.any())
        self._reload = reload if state.epoch else None
        copied = not (self._empty or self._reload)
        self._volume = (state.volume.clone(), state.velocity.clone()) if copied else None
        self._others = replace(
            state,
            probes=[probe.clone() for probe in state.probes],
            positions=[positions.clone() for positions in state.positions],
            euler_angles=state.euler_angles.clone(),
            translations=state.translations.clone(),
            tilt_weights=state.tilt_weights.clone(),
            calibration=state.calibration.clone(),
            calibration_errors=state.calibration_errors.clone(),
        )

    def restore_(self, state: TomographyState) -> None:
        """Give `state` back what it was before the epoch; only how the loss descended is left as it is."""
        kept = self._others
        if self._empty:
            state.volume.zero_()
            state.velocity.zero_()
        else:
            volume, velocity = self._volume or self._reload(kept.epoch)  # type: ignore[misc]
            state.volume.copy_(volume)
            state.velocity.copy_(velocity)
        state.probes = [probe.clone() for probe in kept.probes]
        state.positions = [positions.clone() for positions in kept.positions]
        state.euler_angles, state.translations = kept.euler_angles.clone(), kept.translations.clone()
        state.calibration, state.calibration_errors = kept.calibration.clone(), kept.calibration_errors.clone()
        state.tilt_weights, state.epoch = kept.tilt_weights.clone(), kept.epoch


def slowed(settings: TomographySettings, factor: float) -> TomographySettings:
    """Return `settings` with all steps multiplied by `factor`."""
    refined = {name: getattr(settings, name) for name in REFINED}
    steps = {name: replace(parameter, step=factor * parameter.step) for name, parameter in refined.items()}
    # the calibration is judged by other patterns than the volume fits: its steps stay as they are
    return replace(settings, step=factor * settings.step, **steps)


def measures_vacuum(epoch: int, settings: TomographySettings) -> bool:
    """Return whether `epoch` computes the loss of vacuum: the first has no other reference, the last is judged."""
    return epoch in (0, settings.epochs - 1)


def largest_loss(descent: Descent, vacuum_loss: float | None, shot_noise_loss: float) -> float:
    """Return the loss per electron up to which an epoch is kept.

    It is compared with the lowest so far, so that a slow divergence is seen too, and in the first epoch with that of
    vacuum.
    """
    reference = descent.lowest_loss if vacuum_loss is None else min(descent.lowest_loss, vacuum_loss)
    rise = LARGEST_RISE * max(reference - shot_noise_loss, 0.0) + LARGEST_FLUCTUATION * reference
    return reference + rise + ROUNDING


def mean_shot_noise_loss(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run) -> float:
    """Return the loss per electron that shot noise alone causes in patterns of vacuum.

    Those of a specimen have more of it, as it spreads the electrons over more pixels.
    """
    noise = electrons = 0.0
    for index, tilt in enumerate(tilts):
        probe, number = state.probes[index], len(state.positions[index])
        misfit = tilt_misfit(run.settings, tilt, run.geometry, probe.device, calibration=state.calibration[index])
        vacuum = misfit.counted(diffraction_intensity(probe[None]))
        noise += number * shot_noise_moments(misfit, vacuum)[0].sum().item()
        electrons += number * tilt.mean_electrons
    return noise / max(electrons, 1e-30)


def check_result(state: TomographyState) -> None:
    """Raise if the final volume explains the patterns no better than an empty one.

    Raises
    ------
    DivergedError
        On every rank.
    """
    descent = state.descent
    # a single epoch may take the loss before its only update
    gain = SMALLEST_GAIN if state.epoch > 1 else -SMALLEST_GAIN
    if state.epoch and descent.loss > (1 - gain) * descent.vacuum_loss:
        raise DivergedError(
            f"the final loss is {descent.loss:.4e} per electron; expected less than that of vacuum with the same "
            f"probes, {descent.vacuum_loss:.4e}. No volume is written. Check calibration and scan with "
            "`dptt validate`, or reduce reconstruction.step"
        )

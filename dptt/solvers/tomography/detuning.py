"""Which parameter of optics or pose the patterns would have otherwise, which way, and by how much.

The finished volume and probe are kept, and one parameter is changed by a small step either way. Through the three
losses goes a parabola; its minimum is the preferred change. The loss is a negative log likelihood times c/4, hence
the standard deviation; where the fit is worse than shot noise it is widened by the root of the figure of fit. A
volume that has adapted to a wrong parameter hides a part of the error: sign and significance count.

A volume that is not finished prefers other optics too, and each epoch leaves the tilts in another order in it: what a
change would gain must be more than the same loss has changed by in the last epochs.

Optics are judged for all tilts together, and each tilt against the others. Translations only the latter: what all
tilts have in common is the frame of the volume. Angles are not asked for: none of 30 that were wrong by 1° was told,
while good tilts a few degrees from a zone axis prefer it by 0.8°, because the volume still lacks a part of its peaks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.kernels.losses import LOSSES
from dptt.model.forward import Geometry
from dptt.model.shot_noise import Fit
from dptt.model.state import TomographyState
from dptt.physics.multislice import propagate
from dptt.solvers.tomography.fit import measure_fit
from dptt.solvers.tomography.minibatches import split_held_out
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns

FEWEST = 16
"""Held-out patterns of a tilt that tell enough."""
FARTHEST = 4.0
"""Largest preferred change that is believed, in steps: farther away the loss is no parabola."""
SIGNIFICANT = 5.0
"""Standard deviations from which on a preference is said."""
WORTH_SAYING = 1e-3
"""Smallest fraction of the loss for which it is said."""
LAST_EPOCHS = 2
"""Whose changes of the loss are compared with what a preference gains: tilts come in another order in each."""
OF_MEDIAN, OF_DEVIATIONS = 1.2533, 1.4826
"""Standard deviation of a median over that of a mean, and over the median absolute deviation, of normal numbers."""

Change = Callable[[TomographyState, Geometry, float], TomographyState]
"""(state, geometry, change) -> state in which one parameter of every tilt is changed."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that can be changed for a check."""

    name: str
    unit: str
    step: float
    changed: Change


@dataclass(frozen=True)
class Preference:
    """What the patterns of one tilt say about one parameter."""

    change: float
    """Preferred change, in the unit of the parameter."""
    sigma: float
    """Its standard deviation, in the same unit."""
    gain: float
    """Loss that the change would save, as a fraction of the loss."""


def _moved(state: TomographyState, move: Callable[[Tensor], Tensor]) -> TomographyState:
    return replace(state, positions=[move(positions) for positions in state.positions])


def _scaled(state: TomographyState, _: Geometry, percent: float) -> TomographyState:
    return _moved(state, lambda positions: positions * (1 + percent / 100))


def _turned(state: TomographyState, _: Geometry, degrees: float) -> TomographyState:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)  # of (y, x): as simulation.scan.rotation counts
    return _moved(state, lambda positions: positions @ turn.to(positions))


def _focused(state: TomographyState, geometry: Geometry, underfocus: float) -> TomographyState:
    def refocused(probe: Tensor) -> Tensor:
        return propagate(probe, geometry.propagator(-underfocus, probe.dtype).to(probe.device))

    return replace(state, probes=[refocused(probe) for probe in state.probes])


DEFOCUS = Parameter("defocus", "Å", 10.0, _focused)
SCAN_STEP = Parameter("scan step", "%", 1.0, _scaled)
SCAN_ROTATION = Parameter("scan rotation", "°", 1.0, _turned)
OPTICS = (DEFOCUS, SCAN_STEP, SCAN_ROTATION)


def _shifted(axis: int) -> Change:
    def shifted(state: TomographyState, _: Geometry, by: float) -> TomographyState:
        translations = state.translations.clone()
        translations[:, axis] += by
        return replace(state, translations=translations)

    return shifted


POSES = (
    Parameter("translation along y", "Å", 0.25, _shifted(0)),
    Parameter("translation along x", "Å", 0.25, _shifted(1)),
)


def optics_preferences(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
) -> dict[str, list[Preference]]:
    """Return what the patterns of every tilt prefer of `OPTICS` and `POSES`, the same on all ranks.

    Held-out patterns are asked where every tilt has `FEWEST`, otherwise a sample of those that were fitted.
    """
    held_out = all(len(split_held_out(len(positions), 0, settings)[1]) >= FEWEST for positions in state.positions)
    run = Run(geometry, settings, mesh, TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts)))
    fits = measure_fit(state, tilts, run, held_out=held_out)
    return {
        parameter.name: _of_tilts(parameter, state, tilts, run, fits, held_out) for parameter in (*OPTICS, *POSES)
    }


def unsettled(epochs: Sequence[Mapping[str, Any]], tilts: int) -> tuple[float, list[float]]:
    """Return by which fraction the loss still changed, at most, in one of the last epochs: of all tilts, and of each.

    `epochs` are the lines of metrics.jsonl. Of all tilts together the held-out patterns count if there are any.
    Before the first epoch is the loss of vacuum, which stands for all tilts.
    """
    if not epochs or [epoch["epoch"] for epoch in epochs] != list(range(1, len(epochs) + 1)):
        return 0.0, [0.0] * tilts  # nothing is known of the epochs before
    of_all = [epoch["loss"] if epoch.get("held_out_loss") is None else epoch["held_out_loss"] for epoch in epochs]
    change = _largest_change([*filter(None, [epochs[0].get("vacuum_loss")]), *of_all])
    if len(epochs) == 1:
        return change, [change] * tilts
    of_tilts = zip(*(epoch["tilt_losses"] for epoch in epochs), strict=True)
    return change, [_largest_change(losses) for losses in of_tilts]


def _largest_change(losses: Sequence[float]) -> float:
    recent = losses[-LAST_EPOCHS - 1 :]
    return max((abs(before / max(after, 1e-30) - 1) for before, after in pairwise(recent)), default=0.0)


def preference_sentences(
    preferences: Mapping[str, Sequence[Preference]],
    names: Sequence[str],
    changing: tuple[float, Sequence[float]] | None = None,
) -> list[str]:
    """Say what the patterns of all tilts would have otherwise, and which of the tilts `names` differ from the others.

    The most significant first. What gains no more than what is still `changing`, see `unsettled`, is not said.
    """
    of_all, of_tilts = changing or (0.0, [0.0] * len(names))
    said: list[tuple[float, str]] = []
    for parameter in (*OPTICS, *POSES):
        asked = preferences[parameter.name]
        common = together(asked)
        clear = abs(common.change) / common.sigma
        if parameter in OPTICS and clear > SIGNIFICANT and common.gain > max(WORTH_SAYING, of_all):
            said.append((clear, f"the data prefer {_by(parameter, common.change, common.sigma, common.gain)}"))
        for name, one, outlying, least in zip(names, asked, deviations(asked), of_tilts, strict=True):
            if outlying > SIGNIFICANT and one.gain > max(WORTH_SAYING, least):
                change = _by(parameter, one.change - common.change, one.sigma, one.gain)
                said.append((outlying, f"tilt {name} differs from the others: its patterns prefer {change}"))
    return [sentence for _, sentence in sorted(said, key=lambda pair: -pair[0])]


def _by(parameter: Parameter, change: float, sigma: float, gain: float) -> str:
    way = "larger" if change > 0 else "smaller"
    return (
        f"a {parameter.name} about {abs(change):.2g} ± {sigma:.1g} {parameter.unit} {way}, which lowers the loss by "
        f"{100 * gain:.2g} %"
    )


def deviations(preferences: Sequence[Preference]) -> list[float]:
    """Return how far each tilt's preference is from the median, in standard deviations of its own and the scatter."""
    change, sigma = (torch.tensor([getattr(one, key) for one in preferences]) for key in ("change", "sigma"))
    return ((change - change.quantile(0.5)).abs() / torch.hypot(sigma, _scatter(change))).tolist()


def together(preferences: Sequence[Preference]) -> Preference:
    """Return the median over tilts, its standard deviation from their scatter or their own, and the mean gain.

    A single wrong tilt does not move it.
    """
    change, sigma, gain = torch.tensor(
        [(one.change, one.sigma, one.gain) for one in preferences], dtype=torch.float64
    ).unbind(1)
    error = OF_MEDIAN * torch.maximum(_scatter(change), sigma.sort().values[len(sigma) // 2])
    return Preference(change.quantile(0.5).item(), error.item() / math.sqrt(len(preferences)), gain.mean().item())


def _scatter(changes: Float[Tensor, " tilt"]) -> Float[Tensor, ""]:
    """Return the standard deviation of normal numbers with this median absolute deviation."""
    return OF_DEVIATIONS * (changes - changes.quantile(0.5)).abs().quantile(0.5)


def _of_tilts(
    parameter: Parameter,
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    run: Run,
    fits: Sequence[Fit],
    held_out: bool,
) -> list[Preference]:
    """Return what the patterns of each tilt prefer of one parameter; `fits` are those without a change."""
    below, above = (
        measure_fit(parameter.changed(state, run.geometry, sign * parameter.step), tilts, run, held_out=held_out)
        for sign in (-1, 1)
    )
    return [
        preference(parameter.step, *three, LOSSES[run.settings.loss].curvature)
        for three in zip(below, fits, above, strict=True)
    ]


def preference(step: float, below: Fit, at: Fit, above: Fit, likelihood: float) -> Preference:
    """Return the minimum of the parabola through three losses, one `step` apart.

    `likelihood` is the c of the loss, which is the negative log likelihood times c/4.
    """
    slope, curvature = (above.loss - below.loss) / 2, above.loss + below.loss - 2 * at.loss
    if not curvature > 0:
        return Preference(0.0, math.inf, 0.0)
    change = max(-FARTHEST, min(FARTHEST, -slope / curvature))
    sigma = math.sqrt(likelihood / 4 * max(at.figure, 1.0) / curvature)
    gain = -(slope * change + curvature * change**2 / 2)
    return Preference(change * step, sigma * step, gain / at.loss)

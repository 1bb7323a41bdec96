"""Weights of a band-limited interpolation: a windowed sinc, moved by a fraction of a sample, or stretched.

The weights of a place between samples add up to 1, and at a sample they are that sample alone. A place may move: all
weights can be differentiated by it.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

HALF = 12
"""Samples on either side of a place that count."""
TAPS = 2 * HALF
KAISER = 5.0
"""Shape of the window: with it 0.98 to 1.0 of an amplitude at 0.44 cycles a sample is kept, between any two samples,
and every frequency below 0.4 to 0.3 %. A larger one keeps low frequencies more exactly, and less of the highest."""
ROUNDING = 1e-11
"""Rounding error of a place [samples]: within it a place is taken to be a sample."""

_TERMS = [(KAISER / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(8)]
_SERIES = [term / sum(_TERMS) for term in _TERMS]
_AREA = 0.99943
"""Below the windowed sinc."""
"""Of the Bessel function I0(KAISER sqrt(y)) in powers of y, as far as matters."""


class Bands(NamedTuple):
    """For every output, the first of consecutive samples that it takes, and their weights."""

    start: Int[Tensor, "*place"]
    weights: Float[Tensor, "*place tap"]


def windowed_sinc(distance: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the weight of a sample at a distance [samples]: sinc times a Kaiser window, with an area of 1."""
    y = 1 - (distance * (1 / HALF)) ** 2
    window = y * _SERIES[-1] + _SERIES[-2]
    for factor in _SERIES[-3::-1]:
        window = torch.addcmul(distance.new_tensor(factor), window, y)
    return torch.sinc(distance) * window.masked_fill(y <= 0, 0) / _AREA


def shifting(places: Float[Tensor, " n"], whole: bool = True) -> Bands:
    """Return the weights of samples at `places` [samples]; of places that are all samples, these alone if `whole`."""
    nearest = places.detach().round()
    near = (places.detach() - nearest).abs() < ROUNDING
    places = torch.where(near, places + (nearest - places.detach()), places)
    if whole and bool(near.all()):
        return Bands(nearest.to(torch.int64), torch.ones_like(places)[:, None])
    first = torch.floor(places.detach()) - (HALF - 1)
    weights = windowed_sinc(places[:, None] - first[:, None] - torch.arange(TAPS).to(places))
    return Bands(first.to(torch.int64), weights / weights.sum(1, keepdim=True))


def shifting_slopes(places: Float[Tensor, " n"]) -> Bands:
    """Return what `shifting` does without `whole`, with the derivatives of the weights by their place."""
    places = places.detach().requires_grad_()
    start, weights = shifting(places, whole=False)
    slopes = [torch.autograd.grad(tap, places, retain_graph=True)[0] for tap in weights.sum(0)]
    return Bands(start, torch.stack(slopes, dim=1))


def resampling(
    slope: Float[Tensor, ""],
    skew: Float[Tensor, ""],
    *,
    lines: range,
    outputs: range,
    inputs: range,
    whole: bool = True,
    adjoint: bool = False,
) -> Bands:
    """Return the weights of samples at slope · output + skew · line, or those of the adjoint, by line.

    Outputs farther apart than samples get what they can hold: the sinc is stretched to their distance. Equal samples
    give equal outputs, and samples are shared out completely, 1/|slope| of each, to 5e-4. Places are counted from 0;
    `inputs` are the samples that are available, and start and index of the bands begin with their first, or with that
    of `outputs` in the adjoint. Without skew all lines are the same, and with `whole` only one is returned.
    """
    stretch, rate = slope.abs().clamp_min(1), float(slope.detach())
    reach = HALF * max(1.0, abs(rate))
    alike = whole and not bool(skew.detach() != 0)
    line = torch.tensor(lines[:1] if alike else lines, dtype=slope.dtype)[:, None]
    output, sample = (torch.tensor(some, dtype=slope.dtype) for some in (outputs, inputs))
    if adjoint:
        reach, known = reach / abs(rate), outputs
        middles = ((sample - skew * line) / slope).detach()
    else:
        known = inputs
        middles = (slope * output + skew * line).detach()
    others = torch.floor(middles - reach)[..., None] + 1 + torch.arange(math.ceil(2 * reach))
    samples, numbers = (sample[:, None], others) if adjoint else (others, output[:, None])
    weights = windowed_sinc((samples - slope * numbers - skew * line[..., None]) / stretch) / stretch
    weights = weights.masked_fill((others < known.start) | (others >= known.stop), 0)
    return Bands(others[..., 0].to(torch.int64) - known.start, weights)

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
SERIES = [term / sum(_TERMS) for term in _TERMS]
"""Of the Bessel function I0(KAISER sqrt(y)) in powers of y, as far as matters."""
AREA = 0.99943
"""Below the windowed sinc."""


class Bands(NamedTuple):
    """For every output, the first of consecutive samples that it takes, and their weights."""

    start: Int[Tensor, "*place"]
    weights: Float[Tensor, "*place tap"]


def windowed_sinc(distance: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the weight of a sample at a distance [samples]: sinc times a Kaiser window, with an area of 1."""
    y = 1 - (distance * (1 / HALF)) ** 2
    window = y * SERIES[-1] + SERIES[-2]
    for factor in SERIES[-3::-1]:
        window = torch.addcmul(distance.new_tensor(factor), window, y)
    return torch.sinc(distance) * window.masked_fill(y <= 0, 0) / AREA


def slope_of_sinc(distance: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the derivative of `windowed_sinc`."""
    with torch.enable_grad():
        distance = distance.detach().requires_grad_()
        (slope,) = torch.autograd.grad(windowed_sinc(distance).sum(), distance)
    return slope


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
    places = places.detach()
    start, weights = shifting(places, whole=False)
    distances = places[:, None] - start[:, None] - torch.arange(TAPS).to(places)
    total, slopes = windowed_sinc(distances).sum(1, keepdim=True), slope_of_sinc(distances)
    return Bands(start, (slopes - weights * slopes.sum(1, keepdim=True)) / total)


class Resampling(NamedTuple):
    """Samples at slope · output + skew · line [samples], for every output of every line.

    Outputs farther apart than samples get what they can hold: the sinc is stretched to their distance. Equal samples
    give equal outputs, and samples are shared out completely, 1/|slope| of each, to 5e-4. Places are counted from 0.
    """

    slope: Float[Tensor, ""]
    skew: Float[Tensor, ""]
    lines: range
    outputs: range
    inputs: range
    """Samples that are available."""

    def bands(self, adjoint: bool = False, some: slice = slice(None)) -> Bands:
        """Return the weights of samples for every output, or, `adjoint`, of outputs for every sample.

        They are by line, of `some` lines, or only of one where there is no skew, which is not to be differentiated
        either: all are the same. Starts are counted from the first of `inputs`, or of `outputs` in the adjoint.
        """
        start, distances, others = self._distances(adjoint, some)
        known = self.outputs if adjoint else self.inputs
        stretch = self.slope.abs().clamp_min(1)
        weights = windowed_sinc(distances / stretch) / stretch
        return Bands(start, weights * ((others >= known.start) & (others < known.stop)))

    def slopes(self, some: slice) -> tuple[Bands, Bands]:
        """Return the derivatives of the weights of `some` lines, by the slope and by the skew, by line."""
        start, distances, others = self._replace(skew=self.skew.detach())._distances(False, some)
        slope, line = self.slope.detach(), torch.tensor(self.lines[some])[:, None, None]
        stretch, inside = slope.abs().clamp_min(1), (others >= self.inputs.start) & (others < self.inputs.stop)
        distances = distances.detach() / stretch
        by_place = slope_of_sinc(distances) * inside / stretch**2
        by_slope = -torch.tensor(self.outputs)[:, None] * by_place
        if slope.abs() >= 1:  # the sinc is stretched with it
            by_slope = by_slope - slope.sign() * (
                windowed_sinc(distances) * inside / stretch**2 + distances * by_place
            )
        return Bands(start, by_slope), Bands(start, -line * by_place)

    def _distances(self, adjoint: bool, some: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return starts, and by line, output and tap the distances from places and the numbers of the taps."""
        slope, skew, lines, outputs, inputs = self
        rate = float(slope.detach())
        reach = HALF * max(1.0, abs(rate))
        line, output, sample = (torch.tensor(n, dtype=slope.dtype) for n in (lines[some], outputs, inputs))
        line = (line if skew.requires_grad or bool(skew != 0) else line[:1])[:, None]
        if adjoint:
            reach, known = reach / abs(rate), outputs
            middles = ((sample - skew * line) / slope).detach()
        else:
            known = inputs
            middles = (slope * output + skew * line).detach()
        others = torch.floor(middles - reach)[..., None] + 1 + torch.arange(math.ceil(2 * reach))
        samples, numbers = (sample[:, None], others) if adjoint else (others, output[:, None])
        distances = samples - slope * numbers - skew * line[..., None]
        return others[..., 0].to(torch.int64) - known.start, distances, others

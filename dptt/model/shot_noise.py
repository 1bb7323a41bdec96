"""What loss shot noise alone would cause: the yardstick of every fit.

For a pixel with a model mean of m electrons, N counts follow a Poisson law, and the loss l(m, N) has the mean
e(m) = sum_N P(N | m) l(m, N). It depends on m alone, so it is summed exactly on a grid of m and interpolated. The
same with l² gives the variance. The model's own intensities are put in pixel by pixel: the mean pattern would not do,
because e is concave.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.kernels.losses import LOSSES
from dptt.model.losses import Misfit
from dptt.physics.probe import detector_shift

SMALLEST, LARGEST = 1e-8, 400.0
"""Electrons per pixel between which the moments are tabulated. Below, they are proportional to the mean; above, l is
that of a normal law, (c/8) chi² with c the curvature of the loss, to 0.1 %."""
POINTS = 1500
"""Of the table, evenly spaced in log m."""


@lru_cache(maxsize=256)
def _tabulated_moments(kind: str, epsilon: float) -> Float[Tensor, "2 m"]:
    """Return the mean of l and of l², both divided by m, at `POINTS` values of the mean m."""
    mean = torch.logspace(math.log10(SMALLEST), math.log10(LARGEST), POINTS, dtype=torch.float64)[:, None]
    counts = torch.arange(math.ceil(LARGEST + 12 * math.sqrt(LARGEST)), dtype=torch.float64)
    probability = torch.exp(counts * torch.log(mean) - mean - torch.lgamma(counts + 1))
    loss, _ = LOSSES[kind].value_and_slope(mean.expand_as(probability), counts.expand_as(probability), epsilon)
    return torch.stack([(probability * loss).sum(1), (probability * loss**2).sum(1)]) / mean[:, 0]


def shot_noise_moments(misfit: Misfit, model: Float[Tensor, "*pos y x"]) -> Float[Tensor, "2 *pos y x"]:
    """Return mean and variance of the loss of every pixel whose counts have the mean `model` + background.

    `model` is what the detector counts, blurred if it blurs: `Misfit.counted`.

    Masked pixels have none.
    """
    table = _tabulated_moments(misfit.kind, misfit.floor).to(model)
    model = model + misfit.background
    position = (model.clamp(SMALLEST, LARGEST) / SMALLEST).log() * (POINTS - 1) / math.log(LARGEST / SMALLEST)
    lower = position.long().clamp(0, POINTS - 2)
    moments = torch.lerp(table[:, lower], table[:, lower + 1], position - lower) * model
    scale = LOSSES[misfit.kind].curvature / 8 * model / (model + misfit.floor)
    moments = torch.where(model > LARGEST, torch.stack([scale, 3 * scale**2]), moments)
    mean, variance = moments[0], moments[1] - moments[0].square()
    if misfit.mask is not None:
        mean, variance = mean.masked_fill(~misfit.mask, 0), variance.masked_fill(~misfit.mask, 0)
    return torch.stack([mean, variance])


TOO_CLOSE = 5.0
"""Standard deviations below the mean loss of shot noise that chance does not explain."""


@dataclass(frozen=True)
class Fit:
    """How well a model explains some patterns, sums over them [electrons]."""

    loss: float
    expected: float
    """Mean of the loss if the model were the truth: shot noise alone."""
    variance: float
    """Of the loss if the model were the truth."""
    scattering: float
    """Loss of a model without a specimen, less its shot noise."""
    electrons: float
    """In the patterns, by the model."""

    @property
    def figure(self) -> float:
        """Loss over that of shot noise: 1 means explained to the shot noise; NaN without patterns."""
        return self.loss / self.expected if self.expected > 0 else math.nan

    @property
    def uncertainty(self) -> float:
        """Standard deviation of the figure of fit by shot noise."""
        return math.sqrt(self.variance) / self.expected if self.expected > 0 else math.nan

    @property
    def unexplained(self) -> float:
        """Loss beyond shot noise as a fraction of the scattering: 1 means that the volume explains nothing.

        NaN where nothing scatters beyond shot noise, and where patterns differ from the model by less than shot noise
        would make them: then the model cannot be what the counts were drawn from, and the fraction would be negative.
        """
        excess = self.loss - self.expected
        too_close = excess < -TOO_CLOSE * math.sqrt(self.variance)
        return excess / self.scattering if self.scattering > 0 and not too_close else math.nan


class FitLoss:
    """A misfit that also sums, while it is called, the fields of `Fit`.

    The compiled kernels do not know it: `kernels.multislice_loss` takes the plain path, on any device.
    """

    def __init__(
        self,
        misfit: Misfit,
        probe: Complex[Tensor, "mode y x"],
        pattern_shifts: Float[Tensor, "pos 2"] | None = None,
    ) -> None:
        """Begin at zero; `probe` is the wave whose far field is the pattern of vacuum, displaced by the descan.

        With `pattern_shifts` [pixels] the patterns must come in their order, as the plain path brings them.
        """
        self._misfit, self._probe, self._shifts, self._seen = misfit, probe, pattern_shifts, 0
        self._vacuum = self._far_field(probe)
        self._vacuum_noise = shot_noise_moments(misfit, misfit.counted(self._vacuum[None]))[0].sum()
        self.sums = torch.zeros(len(fields(Fit)), dtype=torch.float64, device=probe.device)

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        """Return the summed loss and its derivative, as the misfit does."""
        loss, slope = self._misfit(model, measured)
        mean, variance = shot_noise_moments(self._misfit, self._misfit.counted(model)).sum((1, 2, 3))
        vacuum = self._vacuum_loss(measured)
        valid = model if self._misfit.mask is None else model * self._misfit.mask
        self.sums += torch.stack([loss, mean, variance, vacuum, valid.sum()]).double()
        return loss, slope

    @staticmethod
    def _far_field(waves: Complex[Tensor, "*pos mode y x"]) -> Float[Tensor, "*pos y x"]:
        return torch.fft.fft2(waves, norm="ortho").abs().square().sum(-3)

    def _vacuum_loss(self, measured: Float[Tensor, "pos y x"]) -> Float[Tensor, ""]:
        """Return the loss of these patterns beyond shot noise in a model without a specimen."""
        if self._shifts is None:
            return self._misfit(self._vacuum.expand_as(measured), measured)[0] - len(measured) * self._vacuum_noise
        shifts = self._shifts[self._seen : self._seen + len(measured)]
        self._seen += len(measured)
        ramp = detector_shift(measured.shape[1:], shifts[:, 0], shifts[:, 1])[:, None]
        vacuum = self._far_field(self._probe * ramp.to(self._probe.dtype))
        noise = shot_noise_moments(self._misfit, self._misfit.counted(vacuum))[0].sum()
        return self._misfit(vacuum, measured)[0] - noise

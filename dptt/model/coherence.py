"""Partial coherence of the illumination: a source that has a size, and a spread of the focus.

Where the intensities of shifted and defocused probes add up, the beams k and k' of a coherent probe P interfere less,

    g(k, k') = exp(-2 pi² s² |k - k'|² - (pi lambda d)² (k² - k'²)² / 2)

s being the standard deviation of the source and d that of the focus [Å]. So do modes a_m P with sum a_m(k) a_m(k') =
g(k, k'), and g is smooth: of its eigenvectors at points of the aperture, a few suffice, U. Modes of s and d near
those values, s0 and d0, that U belongs to are

    a(k) = g(k, points) U C^(-T) ,    C C^T = U^T g(points, points) U                  (Nyström, Cholesky)

divided by their length, so that every angle keeps its electrons. A fit of free modes hardly gets from those of one
source to those of another: it blurs the atoms instead, and scans then seem too small.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.physics.grid import spatial_frequencies
from dptt.physics.probe import orthogonalise_modes

FEW, MANY = 0.96, 0.995
"""Fraction of the electrons that the modes have before they are divided by their length: to find s and d, and to find
what depends on them. With few modes a scan 1.5 % larger than told seems 1.0 % larger, with many 1.3 %."""
MOST_MODES = 16
ACROSS = 19
"""Points of the aperture along its diameter: g changes little between two of them."""
BRIGHT = 0.3
"""Of the largest amplitude of a probe's spectrum: what is in the aperture."""


@dataclass(frozen=True)
class Coherence:
    """What a probe lacks in coherence."""

    source_size: float
    """s [Å]"""
    focal_spread: float
    """d [Å]"""
    wavelength: float
    """[Å]"""
    radius: float
    """Of the aperture [1/Å]; beyond, the nearest angle within it counts."""
    kept: float = FEW
    """Fraction of the electrons in the modes."""
    near: tuple[float, float] | None = None
    """s0, d0; None for s and d themselves."""

    @property
    def words(self) -> str:
        """Both values, for a sentence."""
        return f"a source of {abs(self.source_size):.2f} Å and a focal spread of {abs(self.focal_spread):.0f} Å"

    def recentred(self, kept: float) -> "Coherence":
        """Return the same with modes that belong to s and d, and have a fraction `kept` of the electrons."""
        return replace(self, kept=kept, near=None)

    def moved(self, source_size: float, focal_spread: float) -> "Coherence":
        """Return other values with modes of the same points."""
        near = self.near or (self.source_size, self.focal_spread)
        return replace(self, source_size=source_size, focal_spread=focal_spread, near=near)

    def modes(self, probe: Complex[Tensor, "1 y x"], sampling: tuple[float, float]) -> Complex[Tensor, "mode y x"]:
        """Return the modes of a coherent `probe` on pixels of `sampling` [Å]."""
        factors = _factors(self, (probe.shape[1], probe.shape[2]), sampling)[0]
        return torch.fft.ifft2(torch.fft.fft2(probe) * factors.to(probe.device, probe.real.dtype))

    def pulled_back(
        self, probe: Complex[Tensor, "1 y x"], gradient: Complex[Tensor, "mode y x"], sampling: tuple[float, float]
    ) -> tuple[Complex[Tensor, "1 y x"], Float[Tensor, "2"]]:
        """Return the derivatives by a coherent probe, and by s and d, of what has a `gradient` by its modes.

        Gradients are dL/dRe + i dL/dIm, in double precision on the host.
        """
        factors, *slopes = _factors(self, (probe.shape[1], probe.shape[2]), sampling)
        by_modes = torch.fft.fft2(gradient.to("cpu", torch.complex128))
        spectrum = torch.fft.fft2(probe.to("cpu", torch.complex128))
        by_probe = torch.fft.ifft2((by_modes * factors).sum(0, keepdim=True))
        # a product of waves is that of their spectra over the number of pixels
        work = (by_modes.conj() * spectrum).real / spectrum[0].numel()
        return by_probe, torch.stack([(work * slope).sum() for slope in slopes])


def coherent_probe(modes: Complex[Tensor, "mode y x"]) -> Complex[Tensor, "1 y x"]:
    """Return a probe with the phases of the strongest mode and the electrons of all at every angle."""
    strongest = torch.fft.fft2(orthogonalise_modes(modes)[:1])
    amplitude = torch.fft.fft2(modes).abs().square().sum(0, keepdim=True).sqrt()
    return torch.fft.ifft2(torch.polar(amplitude, strongest.angle()))


def aperture_radius(probe: Complex[Tensor, "mode y x"], sampling: tuple[float, float]) -> float:
    """Return the largest bright angle of a probe [1/Å]."""
    amplitude = torch.fft.fft2(probe).abs().square().sum(0).sqrt().cpu()
    ky, kx = spatial_frequencies((probe.shape[1], probe.shape[2]), sampling, dtype=torch.float64)
    return (ky**2 + kx**2)[amplitude > BRIGHT * amplitude.max()].max().sqrt().item()


@lru_cache(maxsize=8)
def _factors(
    coherence: Coherence, window_shape: tuple[int, int], sampling: tuple[float, float]
) -> Float[Tensor, "3 mode y x"]:
    """Return a_m, and its derivatives by s and d, double precision."""
    points, vectors = _eigenvectors(
        coherence.near or (coherence.source_size, coherence.focal_spread),
        coherence.wavelength,
        coherence.radius,
        coherence.kept,
    )
    ky, kx = spatial_frequencies(window_shape, sampling, dtype=torch.float64)
    angles = torch.stack(torch.broadcast_tensors(ky, kx), dim=-1).reshape(-1, 2)
    beyond = angles.norm(dim=1, keepdim=True) / coherence.radius
    seen = [each @ vectors for each in _interference(coherence, angles / beyond.clamp_min(1), points)]
    modes, *slopes = _divided(seen, [vectors.T @ each @ vectors for each in _interference(coherence, points, points)])
    length = modes.norm(dim=1, keepdim=True)
    modes = modes / length
    slopes = [(slope - modes * (modes * slope).sum(1, keepdim=True)) / length for slope in slopes]
    return torch.stack([each.T.reshape(-1, *window_shape) for each in (modes, *slopes)])


@lru_cache(maxsize=8)
def _eigenvectors(
    values: tuple[float, float], wavelength: float, radius: float, kept: float
) -> tuple[Float[Tensor, "point 2"], Float[Tensor, "point mode"]]:
    """Return points of the aperture [1/Å], and U of the fewest modes that have a fraction `kept`."""
    line = torch.linspace(-radius, radius, ACROSS, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    points = points[points.norm(dim=1) <= radius * (1 + 1e-9)]
    eigenvalues, vectors = torch.linalg.eigh(_interference(Coherence(*values, wavelength, radius), points, points)[0])
    eigenvalues, vectors = eigenvalues.flip(0), vectors.flip(1)
    number = 1 + int((eigenvalues.cumsum(0) < kept * len(points)).sum())
    return points, vectors[:, : min(number, MOST_MODES)]


def _divided(seen: list[Tensor], squares: list[Tensor]) -> list[Tensor]:
    """Return seen C^(-T) with C C^T = squares, and its derivatives; both lists are a value and its derivatives."""
    root = torch.linalg.cholesky(squares[0])
    inverse = torch.linalg.inv(root)
    value, results = seen[0] @ inverse.T, []
    for of_seen, of_square in zip(seen[1:], squares[1:], strict=True):
        change = inverse @ of_square @ inverse.T  # C^-1 dC is its lower triangle, with half of the diagonal
        lower = change.tril() - torch.diag(change.diagonal() / 2)
        results.append(of_seen @ inverse.T - value @ lower.T)
    return [value, *results]


def _interference(
    coherence: Coherence, first: Float[Tensor, "a 2"], second: Float[Tensor, "b 2"]
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """Return g between two sets of angles [1/Å], and its derivatives by s and d."""
    apart = (first[:, None] - second).square().sum(-1)
    paths = math.pi * coherence.wavelength * (first.square().sum(1)[:, None] - second.square().sum(1))
    size, spread = coherence.source_size, coherence.focal_spread
    value = torch.exp(-2 * (math.pi * size) ** 2 * apart - (spread * paths) ** 2 / 2)
    return value, -4 * math.pi**2 * size * apart * value, -spread * paths**2 * value

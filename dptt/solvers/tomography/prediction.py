"""Whether a tilt contradicts the others: its projection against what they predict of it.

A volume takes a wrong pose over, so the residuals of a tilt in that volume hardly show it. Where projections overlap
in Fourier space, though, the other tilts predict a projection without its help. The volume is taken as a Gaussian
random field, with the variances that the reconstruction has inside and outside of the specimen. What it causes in all
projections, and shot noise, have the covariance

    C = 1 + B B^T ,    B = noise⁻¹ · projection · standard deviation of the field,

and the likelihood of the projections d, in units of their noise, is exp(-d^T C⁻¹ d / 2), whatever the volume. A
change j of tilt t alone raises twice its logarithm by -2 j·(C⁻¹ d)_t - j·(C⁻¹)_tt j, its `gain`. What the volume
could take up costs nothing, and counts for nothing.

Tilts turn about y, so every row of the images is a problem of its own, of (tilts × x) unknowns. Angles are not
judged: a degree moves the edge of a particle of 10 Å by 0.1 Å, which the volume takes up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.solvers.tomography.projected_field import field_factors, projection_matrix
from dptt.solvers.tomography.projections import Projections, projections
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns

WINDOW, INNER = 12, 6
"""Tilts, neighbours in angle, that are compared at once, and how many of them are judged: those in the middle."""
LARGEST_TURN = 3.0
"""Of phi and psi [degrees]: beyond, the rows of two tilts are not the same."""
LARGEST_SHARE = 0.9
"""Of the specimen in the volume: what fills it has no edges that tell one projection from the other."""
FEWEST_TILTS = 4
"""One of them is judged, and the others have to agree."""
STRETCH = 2
"""The kind of change that stretches an image; 0 and 1 displace it along y and x."""
SHIFTS = (0.1, 0.25, 0.5, 1.0)
"""Displacements along y and x that are tried, either way [Å]."""
SCALES = (1.0, 2.0, 4.0)
"""Changes of the scan step that are tried, either way [%]."""
SIGNIFICANT = 3.5
"""Root of the gain, in units of `scatter`, from which on a tilt contradicts the others."""
MOST_TRIED = 3
"""Of the tilts that contradict the others, for the one that explains them all."""
REMAINS = 0.5
"""Part of its significance that may be left, at most, once a tilt has been left out."""
LEAST_SCATTER = 0.3
"""Of the scores of good tilts, in standard deviations: patterns tell less than the bound on their curvature says."""
WHOLE = 1.5
"""How much wider the gains of good tilts scatter than their scores, if whole projections are judged: the constraints
say something of these, too."""
ONE_SIDED = 1.5
"""The same of the first and the last tilt, which have neighbours on one side only."""
NORMAL = 1.4826
"""Standard deviation of normal numbers over their median absolute value."""


@dataclass(frozen=True)
class Contradiction:
    """A tilt that the others contradict."""

    tilt: int
    number: int
    """Of the change in `_changes`."""
    significance: float
    """Root of the gain, in standard deviations."""

    @property
    def parameter(self) -> str:
        """What is wrong."""
        return _changes()[self.number][0]

    @property
    def change(self) -> float:
        """Of the told value, which makes the tilt agree best with the others.

        The volume has taken a part of the error over, so that the size is only a lower bound.
        """
        return -_changes()[self.number][3]

    def sentence(self, names: Sequence[str]) -> str:
        """Say which tilt, and what would make it agree."""
        way, unit = "larger" if self.change > 0 else "smaller", _changes()[self.number][1]
        return (
            f"tilt {names[self.tilt]} contradicts the others ({self.significance:.1f} standard deviations): they "
            f"predict its projection better with a {self.parameter} that is {way}, by {abs(self.change):g} "
            f"{unit} or more"
        )


def contradicted_tilt(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
) -> Contradiction | None:
    """Return the tilt that the others contradict most clearly, if one does, the same on all ranks.

    Reads all patterns once, if there are `FEWEST_TILTS` or more.
    """
    if len(tilts) < FEWEST_TILTS:
        return None
    run = Run(geometry, settings, mesh, TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts)))
    images, found = projections(state, tilts, run), torch.zeros(3, dtype=torch.float64)
    if mesh.world.rank == 0:
        with mesh.world.working("the prediction of tilts from each other", alone=True):
            worst = contradiction(images)
        if worst is not None:
            found = torch.tensor([worst.tilt, worst.number, worst.significance], dtype=torch.float64)
    tilt, number, significance = mesh.world.sum_(found).tolist()
    return Contradiction(int(tilt), int(number), significance) if significance > 0 else None


def contradiction(images: Projections) -> Contradiction | None:
    """Return the tilt that the others contradict most clearly, if one does; the same for the same images.

    Judged by whole projections; where these contradict each other at random, because the volume is not finished or
    its constraints say more than few electrons do, by the residuals alone.
    """
    if not predictable(images):
        return None
    for residuals in (False, True):
        clear = [one for one in _contradictions(images, residuals) if one.significance >= SIGNIFICANT]
        if not clear:
            return None
        explaining = (one for one in clear[:MOST_TRIED] if _explains(one, images, residuals))
        if (found := next(explaining, None)) is not None:
            return found
    return None


def _explains(worst: Contradiction, images: Projections, residuals: bool) -> bool:
    """Return whether the others agree without a tilt: a wrong one spoils the prediction of its neighbours.

    One of these may even be the clearest, so that the next ones are tried, too.
    """
    weight = images.weight.clone()
    weight[worst.tilt] = 0
    remaining = _contradictions(replace(images, weight=weight), residuals)
    return not remaining or remaining[0].significance < max(SIGNIFICANT, REMAINS * worst.significance)


def predictable(images: Projections) -> bool:
    """Return whether all tilts are about y, and there is a specimen in vacuum."""
    turns, share = images.angles[:, [0, 2]].abs().max().item(), images.specimen.mean().item()
    return turns <= LARGEST_TURN and 0 < share < LARGEST_SHARE


def _contradictions(images: Projections, residuals: bool) -> list[Contradiction]:
    """Return every tilt with the change that gains most, the clearest first; those without a gain are left out."""
    changes = _changes()
    gains, scores = (torch.zeros((len(images.angles), n), dtype=torch.float64) for n in (len(changes), 6))
    for window, inner in windows(images.angles[:, 1]):
        of_window = _of_window(images, window, residuals)
        for result, values in zip((gains, scores), of_window, strict=True):
            result[[window[i] for i in inner]] = values[inner]
    lit = images.weight.amax((1, 2)) > 0
    whole, left = (_scatter(scores[lit, half]) for half in (slice(0, 3), slice(3, 6)))
    by_residual = torch.tensor([residuals or kind == STRETCH for _, _, kind, _ in changes])
    roots = gains.clamp_min(0).sqrt() / torch.where(by_residual, left, WHOLE * whole)
    order = [tilt for tilt in torch.argsort(images.angles[:, 1]).tolist() if lit[tilt]]
    roots[[order[0], order[-1]]] /= ONE_SIDED
    best, change = roots.max(1)
    found = [Contradiction(t, int(change[t]), best[t].item()) for t in range(len(best)) if best[t] > 0]
    return sorted(found, key=lambda one: -one.significance)


def _changes() -> list[tuple[str, str, int, float]]:
    """Return (parameter, unit, kind, size) of everything that is tried: by which a projection is moved or shrunk."""
    shifts = [(f"translation along {axis}", "Å", kind) for kind, axis in enumerate("yx")]
    return [
        *((name, unit, kind, sign * size) for name, unit, kind in shifts for size in SHIFTS for sign in (-1, 1)),
        *(("scan step", "%", STRETCH, sign * size) for size in SCALES for sign in (-1, 1)),
    ]


def windows(theta: Float[Tensor, " tilt"]) -> list[tuple[list[int], list[int]]]:
    """Return sets of tilts, neighbours in angle, and the places in each that it judges; each tilt is judged once."""
    order = torch.argsort(theta, stable=True).tolist()
    if len(order) <= WINDOW:
        return [(order, list(range(len(order))))]
    cuts = []
    for start in range(0, len(order), INNER):
        first = max(0, min(start - (WINDOW - INNER) // 2, len(order) - WINDOW))
        cuts.append(
            (order[first : first + WINDOW], list(range(start - first, min(start + INNER, len(order)) - first)))
        )
    return cuts


def _of_window(
    images: Projections, window: list[int], residuals: bool
) -> tuple[Float[Tensor, "tilt change"], Float[Tensor, "tilt 6"]]:
    """Return gains of all changes, and scores of a small one of each kind, by projections and by residuals alone.

    Displacements are judged by the whole projection. The scan step is by what the volume leaves, where the noise of
    the vacuum is less of a disturbance.
    """
    tilts, (_, height, width) = len(window), images.weight.shape
    matrix = projection_matrix(images, window)
    noise = (4 / images.likelihood * images.weight[window]).sqrt()  # its inverse, per pixel
    rows = images.volume.permute(1, 0, 2).reshape(height, -1)
    projected = (rows @ matrix.T).reshape(height, tilts, width).permute(1, 0, 2)
    residual = -4 / images.likelihood * images.gradient[window] / noise.clamp_min(1e-30) * (noise > 0)
    data = torch.stack([noise * projected + residual, residual])
    pixel = images.voxel_size[1:]
    changes = [_moved(projected, kind, size, pixel) for _, _, kind, size in _changes()]
    slopes = [_slope(projected, kind, pixel) for kind in range(3)]
    trials = torch.stack([*changes, *slopes], 1) * noise[:, None]
    factors = field_factors(images, matrix)
    linear, quadratic = (
        torch.zeros((2, *trials.shape[:2]), dtype=torch.float64),
        torch.zeros(trials.shape[:2]).double(),
    )
    for y in range(height):
        flat = noise[:, y].reshape(-1)
        lit = flat.nonzero()[:, 0]
        field = (
            torch.cat([seen[lit] * deviation[:, y].reshape(-1) for seen, deviation in factors], 1) * flat[lit, None]
        )
        inverse = torch.linalg.inv(torch.eye(len(lit), dtype=torch.float64) + field @ field.T)
        weighed = torch.zeros((2, tilts * width), dtype=torch.float64)
        weighed[:, lit] = data[:, :, y].reshape(2, -1)[:, lit] @ inverse
        for tilt in range(tilts):
            own = (lit >= tilt * width) & (lit < (tilt + 1) * width)
            trial = trials[tilt, :, y][:, lit[own] - tilt * width]
            linear[:, tilt] += weighed[:, lit[own]] @ trial.T
            quadratic[tilt] += ((trial @ inverse[own][:, own]) * trial).sum(1)
    by_residual = torch.tensor([residuals or kind == STRETCH for _, _, kind, _ in _changes()])
    count = len(changes)
    gains = -2 * torch.where(by_residual, linear[1, :, :count], linear[0, :, :count]) - quadratic[:, :count]
    scores = linear[..., count:] / quadratic[:, count:].clamp_min(1e-30).sqrt()
    return gains, torch.cat([scores[0], scores[1]], 1)


def _moved(
    images: Float[Tensor, "tilt y x"], kind: int, size: float, pixel: tuple[float, float]
) -> Float[Tensor, "tilt y x"]:
    """Return how images change if they are displaced along y or x by `size` [Å], or stretched by `size` [%]."""
    if kind == STRETCH:
        return size * _slope(images, kind, pixel)
    frequency = torch.fft.fftfreq(images.shape[1 + kind], pixel[kind], dtype=torch.float64)
    ramp = torch.exp(-2j * math.pi * size * frequency)
    ramp = ramp[:, None] if kind == 0 else ramp[None]
    return torch.fft.ifft2(torch.fft.fft2(images) * ramp).real - images


def _slope(images: Float[Tensor, "tilt y x"], kind: int, pixel: tuple[float, float]) -> Float[Tensor, "tilt y x"]:
    """Return the derivative of `_moved` with respect to its size."""
    along_y, along_x = torch.gradient(images, dim=(1, 2))
    if kind < 2:
        return -(along_y, along_x)[kind] / pixel[kind]
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in images.shape[1:])
    return (along_y * y[:, None] + along_x * x) / 100


def _scatter(scores: Float[Tensor, "*any"]) -> float:
    """Return the scatter of the scores of good tilts, most of which are."""
    centred = scores - scores.quantile(0.5, dim=0)
    return max(LEAST_SCATTER, NORMAL * centred.abs().quantile(0.5).item())

"""Search for the orientation and aberrations with which a weak phase object explains most of the sidebands.

The explained energy is, for a matched filter with kernel K (see `transfer`),

    E = sum_Q |sum_k w G conj(K)|² / (sum_k w |K|² + epsilon)  /  sum_Q sum_k w |G|².

A coarse scan over rotation, parity and defocus at a few low frequencies finds the basin of the maximum. BFGS with
exact gradients refines within it, from low to high frequencies. E is the same for a setting and its twin (see
`orientation`), so the scan covers defocus >= 0 and all rotations.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor

from dptt.physics.aberrations import term_names
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.orientation import TRANSPOSITION, Orientation, wrapped
from dptt.solvers.brightfield.transfer import REGULARISATION, Method, Sidebands, kernel, select
from dptt.solvers.ties import first_smallest

SCAN_ELEMENTS, REFINE_ELEMENTS = 30_000, 100_000
"""Frequencies times pixels that one evaluation of E uses."""
FARTHEST_SHIFT = 1 / 6
"""Largest shift of the image of the disk's edge in the scan, as a fraction of the scanned field."""
PHASE_STEP = 0.3
"""Periods by which the highest frequency of the scan shifts at the disk's edge from one trial to the next."""
LARGEST_SHIFT = 1 / 3
"""Largest shift of the image of the disk's edge after refinement: beyond, hardly any of the field overlaps."""
GROUPS = 4
"""Interleaved groups of frequencies whose scatter gives the error of a difference of energies."""
ANGLES = 18
"""Minimum number of rotations per defocus: near focus E depends on them only through overlaps of the aperture."""


@dataclass(frozen=True)
class Candidate:
    """A setting and its explained energy.

    Parameters
    ----------
    orientation
        Of the scan.
    coefficients
        Cartesian aberrations, see `physics.aberrations.term_names` [Å].
    energy
        Explained energy, 0 to 1.
    """

    orientation: Orientation
    coefficients: Float[Tensor, " term"]
    energy: float

    def twin(self) -> "Candidate":
        """Return the setting that explains the data equally well with V(r) -> -V(-r)."""
        return replace(self, orientation=self.orientation.rotated(180.0), coefficients=-self.coefficients)


def explained_energy(
    method: Method,
    data: BrightFieldData,
    bands: Sidebands,
    matrix: Float[Tensor, "2 2"],
    coefficients: Float[Tensor, " term"],
) -> Float[Tensor, ""]:
    """Return E, differentiable in the matrix M and the aberrations."""
    weights = data.weights()
    response = kernel(method, data, bands.frequencies @ matrix.T, coefficients)
    matched = torch.einsum("fp,fp->f", bands.spectrum * weights, response.conj())
    transferred = (weights * (response.real.square() + response.imag.square())).sum(1)
    # where the aperture transfers nothing, as in a far too dense scan, nothing is explained: 0, not 0 / 0
    nothing = torch.finfo(transferred.dtype).tiny
    explained = matched.abs().square() / (transferred + REGULARISATION * transferred.mean()).clamp_min(nothing)
    return explained.sum() / (weights * bands.spectrum.abs().square()).sum().clamp_min(nothing)


def scan_settings(
    method: Method, data: BrightFieldData, bands: Sidebands, known: Orientation | None = None
) -> list[Candidate]:
    """Return the settings of a coarse scan over parity, rotation and defocus, best first.

    A `known` orientation is kept, and both signs of defocus are tried.
    """
    low, cut = scan_band(data, bands)
    step = PHASE_STEP / (cut * data.semiangle * 1e-3)
    rings = math.ceil(_defocus_that_shifts(data, FARTHEST_SHIFT) / step)
    candidates = []
    for orientation, defocus in _trials(rings, step, known):
        coefficients = torch.tensor([-defocus, 0.0, 0.0], dtype=torch.float64)
        energy = explained_energy(method, data, low, orientation.matrix(), coefficients).item()
        candidates.append(Candidate(orientation, coefficients, energy))
    return sorted(candidates, key=lambda candidate: -round(candidate.energy, 9))  # equal but for rounding: as tried


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the first of those whose energies are the largest but for rounding."""
    return candidates[first_smallest([-candidate.energy for candidate in candidates])]


def _defocus_that_shifts(data: BrightFieldData, fraction: float) -> float:
    """Return the defocus [Å] that shifts the image of the disk's edge by a `fraction` of the scanned field."""
    field = min(n * d for n, d in zip(data.scan_shape, data.step, strict=True))
    return fraction * field / (data.semiangle * 1e-3)


def _trials(rings: int, step: float, known: Orientation | None) -> Iterator[tuple[Orientation, float]]:
    """Yield orientations and defoci [Å], spaced about as densely in rotation times defocus as in defocus."""
    if known is not None:
        yield from ((known, ring * step) for ring in range(-rings, rings + 1))
        return
    for transposed in (False, True):
        yield from ((Orientation(180 * trial / ANGLES * 2, transposed), 0.0) for trial in range(ANGLES // 2))
        for ring in range(1, rings + 1):
            number = max(ANGLES, math.ceil(2 * math.pi * ring))
            yield from ((Orientation(wrapped(360 * t / number), transposed), ring * step) for t in range(number))


def scan_band(data: BrightFieldData, bands: Sidebands) -> tuple[Sidebands, float]:
    """Return the low frequencies of the coarse scan, and the highest of them [1/Å]."""
    side = max(data.scan_shape)
    cut = min(data.semiangle * 1e-3 / data.wavelength, 0.25 / max(data.step) * min(1.0, 64 / side))
    return thinned(data, bands, cut, SCAN_ELEMENTS), cut


def thinned(data: BrightFieldData, bands: Sidebands, cut: float, elements: int) -> Sidebands:
    """Return frequencies spread evenly over one half plane, 0 < |q| <= `cut`; times pixels at most `elements`."""
    q = bands.frequencies
    half = (q[:, 0] > 0) | ((q[:, 0] == 0) & (q[:, 1] > 0))
    index = torch.nonzero(half & (torch.linalg.vector_norm(q, dim=1) <= cut)).flatten()
    allowed = max(1, elements // len(data.angles))
    if len(index) > allowed:  # by the golden ratio, which leaves no regular pattern in two dimensions
        order = torch.argsort((torch.arange(len(index), dtype=torch.float64) * 0.6180339887498949) % 1)
        index = index[order[:allowed].sort().values]
    return Sidebands(bands.spectrum[index], q[index])


def distinct(candidates: list[Candidate], number: int, data: BrightFieldData) -> list[Candidate]:
    """Return the `number` best settings that are not neighbours of a better one."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if len(kept) == number:
            break
        if all(_apart(candidate, other, data) for other in kept):
            kept.append(candidate)
    return kept


def _apart(one: Candidate, other: Candidate, data: BrightFieldData) -> bool:
    if one.orientation.transposed != other.orientation.transposed:
        return True
    angles = wrapped(one.orientation.rotation - other.orientation.rotation)
    shift = abs(one.coefficients[0] - other.coefficients[0]).item() * data.semiangle * 1e-3
    return abs(angles) > 30 or shift > 3 * max(data.step)


def refine(
    method: Method,
    data: BrightFieldData,
    bands: Sidebands,
    start: Candidate,
    order: int,
    *,
    rotation: bool = True,
    iterations: int = 25,
    sign: int = 0,
) -> Candidate:
    """Return the setting of largest E near `start`: aberrations up to `order` and, with `rotation`, the rotation.

    With a `sign` of 1 the result has underfocus, with -1 overfocus, or none.
    """
    size = len(term_names(order))
    begin = torch.zeros(size, dtype=torch.float64)
    known = min(size, len(start.coefficients))
    begin[:known] = start.coefficients[:known]
    scale = phase_scale(data, order)
    objective = _objective(method, data, bands, start.orientation, scale)
    first = np.concatenate([[0.0], (begin * scale).numpy()])
    reach = _defocus_that_shifts(data, LARGEST_SHIFT) * scale[0].item()
    defocus = (-reach if sign >= 0 else 0.0, reach if sign <= 0 else 0.0)  # of C10
    bounds = [(-0.6, 0.6) if rotation else (0.0, 0.0), defocus] + [(-reach, reach)] * 2 + [(None, None)] * (size - 3)
    optimum = minimize(
        objective, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations, "ftol": 1e-7}
    )
    orientation = start.orientation.rotated(math.degrees(float(optimum.x[0])))
    return Candidate(orientation, torch.from_numpy(optimum.x[1:].copy()) / scale, -float(optimum.fun))


def phase_scale(data: BrightFieldData, order: int) -> Float[Tensor, " term"]:
    """Return the phase [rad] that 1 Å of each coefficient causes at the disk's edge, the unit of the optimiser."""
    edge = data.semiangle * 1e-3
    orders = [int(name[1]) for name in term_names(order)]
    phases = [2 * math.pi / data.wavelength * edge ** (n + 1) / (n + 1) for n in orders]
    return torch.tensor(phases, dtype=torch.float64)


def _objective(
    method: Method, data: BrightFieldData, bands: Sidebands, start: Orientation, scale: Tensor
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    def evaluate(values: np.ndarray) -> tuple[float, np.ndarray]:
        variables = torch.from_numpy(values.copy()).requires_grad_()
        matrix = rotated_matrix(start, variables[0])
        energy = -explained_energy(method, data, bands, matrix, variables[1:] / scale)
        (gradient,) = torch.autograd.grad(energy, variables)
        return energy.item(), gradient.numpy()

    return evaluate


def rotated_matrix(start: Orientation, angle: Float[Tensor, ""]) -> Float[Tensor, "2 2"]:
    """Return M of `start` rotated by a further `angle` [rad], differentiable."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    if not start.transposed:
        return rotation @ start.matrix()
    transposition = torch.tensor(TRANSPOSITION, dtype=torch.float64)
    return transposition @ rotation @ transposition @ start.matrix()


def split_frequencies(bands: Sidebands, groups: int) -> list[Sidebands]:
    """Return `groups` interleaved sets of frequencies, whose shot noise is independent."""
    index = torch.arange(len(bands.frequencies))
    masks: list[Bool[Tensor, " freq"]] = [index % groups == group for group in range(groups)]
    return [select(bands, mask) for mask in masks]


def energy_difference(
    data: BrightFieldData, bands: Sidebands, one: Candidate, other: Candidate
) -> tuple[float, float]:
    """Return the explained energy of `one` less that of the `other`, and the standard deviation of the difference."""
    differences = []
    for group in split_frequencies(bands, GROUPS):
        energies = [
            explained_energy("weak-phase", data, group, setting.orientation.matrix(), setting.coefficients).item()
            for setting in (one, other)
        ]
        differences.append(energies[0] - energies[1])
    mean = sum(differences) / GROUPS
    return mean, math.sqrt(sum((difference - mean) ** 2 for difference in differences) / (GROUPS * (GROUPS - 1)))

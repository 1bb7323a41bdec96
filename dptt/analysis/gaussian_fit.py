"""Least-squares fits of three-dimensional Gaussians, thousands of atoms at a time.

Each atom is ``height · exp(-½ sum_d ((r_d - centre_d) / width_d)²) + background``, fitted to the voxels within a
radius of its starting point by Levenberg-Marquardt, all atoms together as one batch of 8 by 8 systems. Neighbours
overlap, so every pass after the first fits the volume minus the neighbours' Gaussians of the previous pass.
Voxels outside the volume have weight zero. Windows are cut out again in every pass, for few atoms at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from dptt.analysis.grid import VoxelSize, positions_to_voxels, voxels_to_positions

MAX_ITERATIONS = 40
CHUNK = 1024  # atoms, or pairs of atoms, processed at a time


@dataclass(frozen=True)
class GaussianFits:
    """Parameters of n atoms; vectors are in (z, y, x) order.

    Attributes
    ----------
    centre, width : array (n, 3)
        Centre and standard deviation along each axis [Å]; the width is NaN where the fit failed.
    height, background : array (n,)
        Peak above the background, and background [V].
    standard_error : array (n, 3)
        Of the centre, from the residual and the curvature of the fit [Å]; NaN where the fit failed. The true error
        is larger if noise is correlated between voxels.
    succeeded : array (n,)
        False where there is no peak near the start, or where its position is uncertain by more than ``max_move``.
        The centre is then the start, and the height is the highest voxel above the lowest.
    """

    centre: NDArray[np.floating]
    width: NDArray[np.floating]
    height: NDArray[np.floating]
    background: NDArray[np.floating]
    standard_error: NDArray[np.floating]
    succeeded: NDArray[np.bool_]


@dataclass(frozen=True)
class _Windows:
    """Voxels about each atom: coordinates (n, voxels, 3) [Å], values and weights (n, voxels)."""

    coordinates: NDArray[np.floating]
    values: NDArray[np.floating]
    weights: NDArray[np.floating]


def fit_gaussians(
    potential: NDArray[np.floating],
    voxel_size: VoxelSize,
    start: NDArray[np.floating],
    window_radius: float,
    max_move: float,
    num_passes: int = 3,
) -> GaussianFits:
    """Gaussians fitted near the starting positions (n, 3) [Å].

    Parameters
    ----------
    window_radius : float
        Radius of the sphere of voxels about each start that is fitted [Å].
    max_move : float
        Largest distance of the centre from the start along each axis [Å]; a fit that reaches it has failed.
    num_passes : int
        Number of fits of each atom; from the second on the neighbours are subtracted.
    """
    start = np.asarray(start, dtype=float)
    initial, low, high = _initial_parameters(potential, voxel_size, start, window_radius, max_move)
    parameters, variance = initial.copy(), np.full((len(start), 3), np.nan)
    for number in range(num_passes):
        before = parameters.copy()
        pairs = _neighbours(before, window_radius) if number > 0 else np.zeros((0, 2), dtype=int)
        for chunk in _chunks(len(start)):
            windows = _cut_windows(potential, voxel_size, start[chunk], window_radius)
            parameters[chunk], variance[chunk] = _levenberg_marquardt(
                windows.coordinates,
                windows.values - _neighbour_potential(windows, chunk, before, pairs),
                windows.weights,
                before[chunk],
                low[chunk],
                high[chunk],
            )
    held = np.any((parameters[:, :4] <= low[:, :4]) | (parameters[:, :4] >= high[:, :4]), axis=1)
    succeeded = ~held & np.all((variance >= 0) & (variance < max_move**2), axis=1)
    parameters[~succeeded] = initial[~succeeded]
    return GaussianFits(
        centre=parameters[:, 1:4],
        width=np.where(succeeded[:, None], np.exp(parameters[:, 4:7]), np.nan),
        height=parameters[:, 0],
        background=parameters[:, 7],
        standard_error=np.where(succeeded[:, None], np.sqrt(variance), np.nan),
        succeeded=succeeded,
    )


def _chunks(n: int) -> Iterator[slice]:
    return (slice(first, first + CHUNK) for first in range(0, n, CHUNK))


def _cut_windows(
    potential: NDArray[np.floating], voxel_size: VoxelSize, start: NDArray[np.floating], radius: float
) -> _Windows:
    """Voxels whose offset from the one nearest to each start is at most ``radius`` long."""
    shape = np.array(potential.shape)
    reach = [int(radius / size) + 1 for size in voxel_size]
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets * voxel_size, axis=1) <= radius * (1 + 1e-9)]
    nearest = np.rint(positions_to_voxels(start, potential.shape, voxel_size)).astype(int)  # type: ignore[arg-type]
    voxels = nearest[:, None] + offsets
    inside = np.all((voxels >= 0) & (voxels < shape), axis=2)
    z, y, x = np.moveaxis(np.clip(voxels, 0, shape - 1), 2, 0)
    values = np.where(inside, potential[z, y, x], 0.0).astype(float)
    coordinates = voxels_to_positions(voxels, potential.shape, voxel_size)  # type: ignore[arg-type]
    return _Windows(coordinates, values, inside.astype(float))


def _initial_parameters(
    potential: NDArray[np.floating],
    voxel_size: VoxelSize,
    start: NDArray[np.floating],
    radius: float,
    max_move: float,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Initial parameters (n, 8), and their lower and upper bounds.

    The order is height, centre (z, y, x), logarithm of the widths (z, y, x), background.
    """
    n = len(start)
    lowest, highest = np.zeros(n), np.zeros(n)
    for chunk in _chunks(n):
        windows = _cut_windows(potential, voxel_size, start[chunk], radius)
        lowest[chunk] = np.where(windows.weights > 0, windows.values, np.inf).min(axis=1)
        highest[chunk] = np.where(windows.weights > 0, windows.values, -np.inf).max(axis=1)
    infinite = np.full(n, np.inf)
    narrowest = np.broadcast_to(np.log(0.25 * np.asarray(voxel_size)), (n, 3))
    widest = np.full((n, 3), np.log(radius))
    initial = np.column_stack([highest - lowest, start, np.full((n, 3), np.log(radius / 2)), lowest])
    low = np.column_stack([np.zeros(n), start - max_move, narrowest, -infinite])
    high = np.column_stack([infinite, start + max_move, widest, infinite])
    return initial, low, high


def _gaussians(
    coordinates: NDArray[np.floating], parameters: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Gaussians without background (n, voxels), and coordinates in units of the widths (n, voxels, 3)."""
    scaled = (coordinates - parameters[:, None, 1:4]) * np.exp(-parameters[:, None, 4:7])
    return parameters[:, :1] * np.exp(-0.5 * np.einsum("nvd,nvd->nv", scaled, scaled)), scaled


def _neighbours(parameters: NDArray[np.floating], window_radius: float) -> NDArray[np.integer]:
    """Pairs (n, 2) of atoms of which the second reaches into the window of the first, in the order of the first."""
    if len(parameters) < 2:
        return np.zeros((0, 2), dtype=int)
    reach = window_radius + 4 * float(
        np.median(np.exp(parameters[:, 4:7]))
    )  # where a neighbour has fallen to 3e-4 of its height
    pairs = KDTree(parameters[:, 1:4]).query_pairs(reach, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def _neighbour_potential(
    windows: _Windows, atoms: slice, parameters: NDArray[np.floating], pairs: NDArray[np.integer]
) -> NDArray[np.floating]:
    """Sum (n, voxels) of the other atoms' Gaussians in the windows of some atoms."""
    total = np.zeros_like(windows.values)
    first, last = np.searchsorted(pairs[:, 0], (atoms.start, atoms.start + len(total)))
    of_these = pairs[first:last]
    for chunk in _chunks(len(of_these)):
        atom, other = of_these[chunk].T
        atom = atom - atoms.start
        np.add.at(total, atom, _gaussians(windows.coordinates[atom], parameters[other])[0])
    return total


def _levenberg_marquardt(
    coordinates: NDArray[np.floating],
    values: NDArray[np.floating],
    weights: NDArray[np.floating],
    parameters: NDArray[np.floating],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Fitted parameters (n, 8) within their bounds, and the variance of the centres (n, 3) [Å²]."""
    parameters = parameters.copy()
    damping = np.full(len(parameters), 1e-3)
    active = np.arange(len(parameters))
    cost = _cost(coordinates, values, weights, parameters)
    for _ in range(MAX_ITERATIONS):
        normal, slope = _normal_equations(coordinates[active], values[active], weights[active], parameters[active])
        diagonal = np.einsum("npp->np", normal)
        damped = normal + (damping[active, None] * diagonal)[:, :, None] * np.eye(slope.shape[1])
        step = np.linalg.solve(damped, slope[..., None])[..., 0]
        trial = np.clip(parameters[active] + step, low[active], high[active])
        trial_cost = _cost(coordinates[active], values[active], weights[active], trial)
        better = trial_cost < cost[active]
        gain = cost[active] - trial_cost
        done = (better & (gain < 1e-10 * cost[active])) | (damping[active] > 1e8)
        parameters[active[better]], cost[active[better]] = trial[better], trial_cost[better]
        damping[active] *= np.where(better, 0.2, 10.0)
        active = active[~done]
        if len(active) == 0:
            break
    normal, _ = _normal_equations(coordinates, values, weights, parameters)
    freedom = np.maximum(weights.sum(axis=1) - normal.shape[1], 1)
    variance = np.einsum("npp->np", np.linalg.pinv(normal, hermitian=True)) * (cost / freedom)[:, None]
    return parameters, variance[:, 1:4]


def _cost(
    coordinates: NDArray[np.floating],
    values: NDArray[np.floating],
    weights: NDArray[np.floating],
    parameters: NDArray[np.floating],
) -> NDArray[np.floating]:
    residual = values - _gaussians(coordinates, parameters)[0] - parameters[:, -1:]
    return np.einsum("nv,nv->n", weights, residual**2)


def _normal_equations(
    coordinates: NDArray[np.floating],
    values: NDArray[np.floating],
    weights: NDArray[np.floating],
    parameters: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """``JᵀJ`` (n, 8, 8), its diagonal kept above zero, and ``Jᵀ residual`` (n, 8)."""
    gaussian, scaled = _gaussians(coordinates, parameters)
    residual = values - gaussian - parameters[:, -1:]
    jacobian = np.empty((*gaussian.shape, parameters.shape[1]))
    jacobian[..., 0] = gaussian / np.maximum(parameters[:, :1], 1e-300)
    jacobian[..., 1:4] = gaussian[..., None] * scaled * np.exp(-parameters[:, None, 4:7])
    jacobian[..., 4:7] = gaussian[..., None] * scaled**2
    jacobian[..., 7] = 1.0
    jacobian *= weights[..., None]
    normal = jacobian.swapaxes(1, 2) @ jacobian
    floor = 1e-12 * np.einsum("npp->n", normal)[:, None, None] + 1e-300
    return normal + floor * np.eye(parameters.shape[1]), np.einsum("nvp,nv->np", jacobian, residual)

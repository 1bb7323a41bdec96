"""The electrostatic potential of a specimen: projected slices for the multislice, voxels for the ground truth.

Every atom is five Gaussians (`scattering`), and a Gaussian is a product of three profiles, along z, y and x. Sums
over atoms of such products are matrix products, slice by slice: V_s = sum_a w_sa Y_a ⊗ X_a. The slices of the
simulation take Fourier profiles, so they are the exact potential up to the grid's Nyquist frequency and nothing
beyond; the voxels of the ground truth take averages over the voxel, so they do not ring and add up to the true total.
"""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float, Float64
from scipy.special import ndtr
from torch import Tensor

from dptt.simulation.scattering import potential_gaussians
from dptt.simulation.specimen import Specimen

Integration = Literal["projected", "finite"]
_NEGLIGIBLE = 1e-12
"""Part of a Gaussian in a slice or plane that is left out; far below float32 and below the test of the total."""


def project_slices(
    specimen: Specimen,
    *,
    shape: tuple[int, int],
    sampling: tuple[float, float],
    num_slices: int,
    slice_thickness: float,
    entrance: float,
    integration: Integration = "projected",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "slice y x"]:
    """Return the potential projected along the beam, slice by slice [V Å], band-limited to the grid.

    Parameters
    ----------
    specimen
        Atoms in the microscope's frame (`Specimen.tilted`).
    shape, sampling
        Pixels (y, x) and their size [Å]. The rotation axis is at index n//2; the grid repeats periodically, so it
        is a cell or reaches 8 Å beyond the atoms.
    num_slices, slice_thickness, entrance
        Slice s fills [entrance + s t, entrance + (s + 1) t] of z' [Å]. The first and the last slice also hold
        all that lies before and behind: no potential is lost.
    integration
        "projected": an atom is wholly in the slice of its centre; "finite": each slice holds its share of the atom.

    Raises
    ------
    ValueError
        An element without scattering factors, or an unknown `integration`.
    """
    if integration not in ("projected", "finite"):
        raise ValueError(f"integration is {integration!r}; expected 'projected' or 'finite'")
    faces = entrance + slice_thickness * np.arange(num_slices + 1)
    faces[[0, -1]] = -np.inf, np.inf
    half_spectrum = (num_slices, shape[0], shape[1] // 2 + 1)
    spectra = torch.zeros(half_spectrum, dtype=dtype.to_complex(), device=device)
    for positions, spread, form_factor in _groups(specimen, integration, shape, sampling):
        factor = form_factor.to(spectra)
        parts = np.diff(_part_before(faces, positions[:, :1], spread), axis=1)
        for spectrum, part in zip(spectra, parts.T, strict=True):
            inside = np.flatnonzero(part > _NEGLIGIBLE)
            if len(inside):
                rows = _phases(positions[inside, 1], shape[0], sampling[0]).to(spectrum)
                columns = _phases(positions[inside, 2], shape[1], sampling[1])[:, : half_spectrum[2]].to(spectrum)
                weights = torch.from_numpy(part[inside]).to(spectrum)
                spectrum += (rows * weights[:, None]).T @ columns * factor
    return torch.fft.irfft2(spectra, s=shape) / (sampling[0] * sampling[1])


def sample_volume(
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "z y x"]:
    """Return the potential averaged over each voxel [V]; voxel centres are at (i - n//2) d.

    Averages, not band-limited samples: an average is not negative where the potential is not, its sum over any block
    of voxels is the true integral over that block, and atoms keep place and total however coarse the voxel.
    """
    integrals, variances = potential_gaussians(specimen.atomic_numbers, specimen.rms_displacements)
    positions = np.repeat(specimen.positions, integrals.shape[1], axis=0)
    weights, spreads = integrals.ravel(), np.sqrt(variances).ravel()
    volume = torch.zeros(shape, dtype=dtype)
    order = np.argsort(positions[:, 0], kind="stable")
    for chunk in np.array_split(order, math.ceil(len(order) / 8192)):
        profiles = []
        for axis, (length, size) in enumerate(zip(shape, voxel_size, strict=True)):
            edges = (np.arange(length + 1) - length // 2 - 0.5) * size
            before = _part_before(edges, positions[chunk, axis, None], spreads[chunk, None])
            profiles.append(torch.from_numpy(np.diff(before, axis=1)))
        present = profiles[0] > _NEGLIGIBLE
        profile_z = (profiles[0] * torch.from_numpy(weights[chunk, None] / math.prod(voxel_size))).to(dtype)
        profile_y, profile_x = profiles[1].to(dtype), profiles[2].to(dtype)
        for plane in torch.nonzero(present.any(0)).flatten().tolist():
            rows = present[:, plane]
            volume[plane] += (profile_y[rows] * profile_z[rows, plane, None]).T @ profile_x[rows]
    return volume


def _groups(
    specimen: Specimen, integration: Integration, shape: tuple[int, int], sampling: tuple[float, float]
) -> Iterator[tuple[Float64[np.ndarray, "atom 3"], float, Float[Tensor, "ky kx"]]]:
    """Yield positions, spread along the beam [Å] and Fourier transform [V Å³] of all atoms that share the last two.

    One group for each element and displacement; for each of its Gaussians if the slices cut through the atoms.
    """
    ky, kx = np.fft.fftfreq(shape[0], sampling[0])[:, None], np.fft.rfftfreq(shape[1], sampling[1])[None, :]
    kinds = np.stack([specimen.atomic_numbers, specimen.rms_displacements], axis=1)
    for kind in np.unique(kinds, axis=0):
        members = np.flatnonzero((kinds == kind).all(axis=1))
        integrals, variances = potential_gaussians(
            specimen.atomic_numbers[members[:1]], specimen.rms_displacements[members[:1]]
        )
        exponents = -2 * np.pi**2 * variances[0, :, None, None] * (ky**2 + kx**2)
        gaussians = torch.from_numpy(integrals[0, :, None, None] * np.exp(exponents))
        if integration == "projected":
            yield specimen.positions[members], 0.0, gaussians.sum(0)
        else:
            for variance, gaussian in zip(variances[0], gaussians, strict=True):
                yield specimen.positions[members], float(np.sqrt(variance)), gaussian


def _part_before(faces: float | np.ndarray, positions: np.ndarray, spreads: float | np.ndarray) -> np.ndarray:
    """Return the part of Gaussians that lies below coordinates `faces`; of points where the spread is 0."""
    distance = np.subtract(faces, positions)
    if np.all(np.equal(spreads, 0)):
        return (distance > 0).astype(np.float64)
    return ndtr(distance / spreads)


def _phases(positions: np.ndarray, length: int, spacing: float) -> Complex[Tensor, "atom k"]:
    """Return exp(-2 pi i k r), r measured from the corner of an axis of `length` pixels; corner order."""
    phase = -2 * math.pi * (positions[:, None] + length // 2 * spacing) * np.fft.fftfreq(length, spacing)
    phases = torch.polar(torch.ones(phase.shape, dtype=torch.float64), torch.from_numpy(phase))
    if length % 2 == 0:  # the Nyquist frequency stands for both signs, whose mean is real
        phases.imag[:, length // 2] = 0
    return phases


def enclosing_slab(specimen: Specimen, slice_thickness: float, margin: float = 0.0) -> tuple[int, float]:
    """Return (num_slices, entrance [Å]) of the fewest slices that hold all atoms and `margin` [Å] around them."""
    low, high = specimen.positions[:, 0].min() - margin, specimen.positions[:, 0].max() + margin
    num_slices = max(1, math.ceil((high - low) / slice_thickness - 1e-9))
    return num_slices, float((low + high - num_slices * slice_thickness) / 2)

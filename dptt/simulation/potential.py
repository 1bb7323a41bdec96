"""The electrostatic potential of a specimen: projected slices for the multislice, voxels for the ground truth.

Every atom is a sum of five Gaussians (`scattering`), and a Gaussian is a product of three profiles, along z, y and x.
A sum of such products over atoms is a matrix product for each slice: V_s = sum_a w_sa Y_a ⊗ X_a. The slices use
Fourier profiles: they are the exact potential up to the Nyquist frequency of the grid, and zero beyond. The voxels
use averages over the voxel: they do not ring, and add up to the true total.
"""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Complex, Float, Float64
from scipy.special import ndtr
from torch import Tensor

from dptt.simulation.scattering import potential_gaussians
from dptt.simulation.specimen import Specimen

Integration = Literal["projected", "linear", "finite"]
"""How atoms are put into slices: each in the slice of its centre; shared by the two slices between whose middles it
is, the nearer one taking more, so that the mean depth is right; or by its extension along the beam."""
_NEGLIGIBLE = 1e-12
"""A smaller fraction of a Gaussian in a slice or plane is left out; far below the precision of float32."""


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
        Pixels (y, x) and their size [Å]. The rotation axis is at index n//2. The grid is periodic, so it must be a
        unit cell or extend 8 Å beyond the atoms.
    num_slices, slice_thickness, entrance
        Slice s covers z' from entrance + s t to entrance + (s + 1) t [Å]. The first and the last slice also hold all
        potential before and behind them, so that none is lost.
    integration
        "projected": an atom is entirely in the slice of its centre; "linear": it is shared by the two slices nearest
        to it, so that its mean depth is right; "finite": each slice holds the share that lies in it.

    Raises
    ------
    ValueError
        An element has no scattering factors, or `integration` is unknown.
    """
    if integration not in get_args(Integration):
        raise ValueError(f"integration is {integration!r}; expected one of {', '.join(get_args(Integration))}")
    faces = entrance + slice_thickness * np.arange(num_slices + 1)
    faces[[0, -1]] = -np.inf, np.inf
    half_spectrum = (num_slices, shape[0], shape[1] // 2 + 1)
    spectra = torch.zeros(half_spectrum, dtype=dtype.to_complex(), device=device)
    for positions, spread, form_factor in _groups(specimen, integration, shape, sampling):
        factor = form_factor.to(spectra)
        if integration == "linear":
            below = np.clip((faces - positions[:, :1]) / slice_thickness + 0.5, 0, 1)
        else:
            below = _fraction_below(faces, positions[:, :1], spread)
        fractions = np.diff(below, axis=1)
        for spectrum, fraction in zip(spectra, fractions.T, strict=True):
            atoms = np.flatnonzero(fraction > _NEGLIGIBLE)
            if len(atoms):
                rows = _phases(positions[atoms, 1], shape[0], sampling[0]).to(spectrum)
                columns = _phases(positions[atoms, 2], shape[1], sampling[1])[:, : half_spectrum[2]].to(spectrum)
                weights = torch.from_numpy(fraction[atoms]).to(spectrum)
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

    Averages, not band-limited samples: averages are not negative if the potential is not, their sum over a block of
    voxels is the true integral, and atoms keep their position and total however coarse the voxels are.
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
            below = _fraction_below(edges, positions[chunk, axis, None], spreads[chunk, None])
            profiles.append(torch.from_numpy(np.diff(below, axis=1)))
        in_plane = profiles[0] > _NEGLIGIBLE
        profile_z = (profiles[0] * torch.from_numpy(weights[chunk, None] / math.prod(voxel_size))).to(dtype)
        profile_y, profile_x = profiles[1].to(dtype), profiles[2].to(dtype)
        for plane in torch.nonzero(in_plane.any(0)).flatten().tolist():
            members = in_plane[:, plane]
            volume[plane] += (profile_y[members] * profile_z[members, plane, None]).T @ profile_x[members]
    return volume


def _groups(
    specimen: Specimen, integration: Integration, shape: tuple[int, int], sampling: tuple[float, float]
) -> Iterator[tuple[Float64[np.ndarray, "atom 3"], float, Float[Tensor, "ky kx"]]]:
    """Yield groups of atoms: their positions, and their common spread along the beam [Å] and form factor [V Å³].

    There is one group per element and thermal displacement. With "finite" integration, each Gaussian is its own
    group.
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
        if integration != "finite":
            yield specimen.positions[members], 0.0, gaussians.sum(0)
        else:
            for variance, gaussian in zip(variances[0], gaussians, strict=True):
                yield specimen.positions[members], float(np.sqrt(variance)), gaussian


def _fraction_below(faces: float | np.ndarray, positions: np.ndarray, spreads: float | np.ndarray) -> np.ndarray:
    """Return the fraction of each Gaussian below the coordinates `faces`; Gaussians of spread 0 are points."""
    distance = np.subtract(faces, positions)
    if np.all(np.equal(spreads, 0)):
        return (distance > 0).astype(np.float64)
    return ndtr(distance / spreads)


def _phases(positions: np.ndarray, length: int, spacing: float) -> Complex[Tensor, "atom k"]:
    """Return exp(-2 pi i k r) in FFT order, with r measured from the corner of an axis of `length` pixels."""
    phase = -2 * math.pi * (positions[:, None] + length // 2 * spacing) * np.fft.fftfreq(length, spacing)
    phases = torch.polar(torch.ones(phase.shape, dtype=torch.float64), torch.from_numpy(phase))
    if length % 2 == 0:  # the Nyquist frequency represents both signs, whose mean is real
        phases.imag[:, length // 2] = 0
    return phases


def enclosing_slab(specimen: Specimen, slice_thickness: float, margin: float = 0.0) -> tuple[int, float]:
    """Return the minimum number of slices that hold all atoms with a `margin` [Å], and where they begin [Å]."""
    low, high = specimen.positions[:, 0].min() - margin, specimen.positions[:, 0].max() + margin
    num_slices = max(1, math.ceil((high - low) / slice_thickness - 1e-9))
    return num_slices, float((low + high - num_slices * slice_thickness) / 2)

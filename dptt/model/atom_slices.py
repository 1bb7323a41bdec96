r"""Atoms rendered into the slices of a tilt, directly from their parameters, and the exact adjoint.

No voxel grid stands between: up to the Nyquist frequency of the slices, and zero from there on, slice s is

    V_s(k) = sum_a occ_a w_s(z'_a) f_a(|k|) exp(-B_a k²/4) exp(-2 pi i k r'_a),    r' = R r + tau,

with the form factor f of the element [V Å³]. Blur and phase are products of a factor in y and one in x, so a slice is
one matrix product for each element, and its cost does not depend on the number of patterns.

Along the beam, w_s is the quadratic B-spline about the middle of the slice: shares add up to 1, their mean depth is
z' exactly, and their spread is half a slice wherever the atom lies. Whole atoms in the slice of their centre would
have no derivative by z', and integrals over a slice have one only at its faces. The first and the last slice also
hold what lies before and behind them.

Atoms that vibrate have the complex potential of `simulation.vibration` in place of f, at a B common to an element:
V_s(r) + i W_s(r) with W from the same sum. Each atom's own B then blurs it as it blurs f.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Complex, Float, Inexact, Int
from torch import Tensor

from dptt.model.atoms import PARAMETERS, Atoms
from dptt.model.forward import Geometry
from dptt.physics.rotation import rotation_matrix
from dptt.simulation.vibration import effective_potential


@dataclass(frozen=True)
class AtomGradient:
    """Derivatives of a loss by the parameters that place atoms into slices, double precision, on the host."""

    by_atom: Float[Tensor, "atom 5"]
    """In the order of `PARAMETERS`, positions in the frame of the specimen."""
    by_pose: Float[Tensor, "5"]
    """By phi, theta, psi [1/degree] and by the translation (y, x) [1/Å]."""


@dataclass(frozen=True)
class _Group:
    """Shares of atoms of one element in one slice."""

    slice: int
    atomic_number: int
    atoms: Int[Tensor, " share"]
    shares: Float[Tensor, " share"]
    slopes: Float[Tensor, " share"]
    """dw/dz' [1/Å]."""


class TiltedAtoms:
    """Atoms in the pose of one tilt: what renders into its slices, and takes their gradient back."""

    def __init__(
        self,
        atoms: Atoms,
        euler_angles: Float[Tensor, "3"],
        translation: Float[Tensor, "2"],
        geometry: Geometry,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        vibrations: Mapping[int, float] | None = None,
    ) -> None:
        """Place `atoms`; angles in degrees, translation in Å, `dtype` and `device` of the slices.

        `vibrations` has B [Å²] of every element if electrons meet the atoms displaced; None for atoms that are
        smeared and do not absorb.
        """
        self._vibrations = vibrations
        self._atoms, self._angles, self._geometry = atoms, euler_angles, geometry
        self._dtype, self._device = dtype, torch.device(device)
        self._rotation = rotation_matrix(euler_angles).flip(0, 1)  # acts on (z, y, x)
        shift = torch.cat([torch.zeros(1, dtype=torch.float64), translation])
        self.positions = atoms.positions @ self._rotation.T + shift
        """(z', y', x') in the frame of the microscope [Å]."""
        self._frequencies = [
            torch.fft.fftfreq(geometry.volume_shape[1], geometry.sampling[0], dtype=torch.float64),
            torch.fft.rfftfreq(geometry.volume_shape[2], geometry.sampling[1], dtype=torch.float64),
        ]
        self._groups = list(self._grouped())

    def slices(self) -> Inexact[Tensor, "slice y x"]:
        """Return the projected potential of every slice [V Å], complex if atoms vibrate."""
        depth, height, width = self._geometry.num_slices, *self._geometry.volume_shape[1:]
        shape = (1 if self._vibrations is None else 2, depth, height, width // 2 + 1)
        spectra = torch.zeros(shape, dtype=self._dtype.to_complex(), device=self._device)
        for group in self._groups:
            y, x = self._profiles(group.atoms)
            weights = (group.shares * self._atoms.occupancies[group.atoms]).to(y)
            product = (y * weights[:, None]).T @ x
            for spectrum, factor in zip(spectra, self._factors(group.atomic_number), strict=True):
                spectrum[group.slice] += product * factor
        parts = torch.fft.irfft2(spectra, s=(height, width))
        return parts[0] if self._vibrations is None else torch.complex(parts[0], parts[1])

    def gradient(self, slice_gradient: Inexact[Tensor, "slice y x"]) -> AtomGradient:
        """Return dL/d(parameters) from dL/d(slices) [1/(V Å)]: the exact adjoint of the derivative of `slices`."""
        ky, kx = (k.to(self._device, self._dtype) for k in self._frequencies)
        total = torch.zeros((len(self._atoms), len(PARAMETERS)), dtype=torch.float64)
        for group, adjoint in self._adjoints(slice_gradient):
            y, x = self._profiles(group.atoms)
            along_y, along_x = (adjoint @ x.T).T * y, (y @ adjoint) * x  # products, summed over the other axis
            value, by_y, by_x, by_b = (
                along_y.real.sum(1),
                2 * math.pi * (along_y.imag * ky).sum(1),
                2 * math.pi * (along_x.imag * kx).sum(1),
                -0.25 * ((along_y.real * ky**2).sum(1) + (along_x.real * kx**2).sum(1)),
            )
            columns = torch.stack([value, by_y, by_x, value, by_b], dim=1).double().cpu()
            occupancy = self._atoms.occupancies[group.atoms]
            weight = occupancy * group.shares
            columns *= torch.stack([occupancy * group.slopes, weight, weight, group.shares, weight], dim=1)
            total.index_add_(0, group.atoms, columns)
        return self._in_specimen(total)

    def by_occupancy(self, slice_gradient: Inexact[Tensor, "slice y x"]) -> Float[Tensor, " atom"]:
        """Return the occupancies' part of `gradient` alone, at a third of its cost."""
        total = torch.zeros(len(self._atoms), dtype=torch.float64)
        for group, adjoint in self._adjoints(slice_gradient):
            y, x = self._profiles(group.atoms)
            value = ((adjoint @ x.T).T * y).real.sum(1).double().cpu()
            total.index_add_(0, group.atoms, group.shares * value)
        return total

    def _adjoints(self, slice_gradient: Tensor) -> Iterator[tuple[_Group, Complex[Tensor, "ky kx"]]]:
        """Yield every group, and dL/d(amplitude) of its spatial frequencies."""
        height, width = self._geometry.volume_shape[1:]
        parts = [slice_gradient.real, slice_gradient.imag] if self._vibrations is not None else [slice_gradient.real]
        spectra = torch.fft.rfft2(torch.stack(parts).to(self._dtype)).conj() / (height * width)
        spectra[..., 1:] *= 2  # both signs of kx; Nyquist frequencies are left out by the form factor
        for group in self._groups:
            factors = self._factors(group.atomic_number)
            yield group, (spectra[:, group.slice] * factors).sum(0)

    def _in_specimen(self, total: Float[Tensor, "atom 5"]) -> AtomGradient:
        """Turn derivatives by (z', y', x') into those by positions in the specimen and by the pose."""
        by_place = total[:, :3]
        by_rotation = (by_place.T @ self._atoms.positions).flip(0, 1)  # as (x, y, z)
        jacobian = torch.autograd.functional.jacobian(rotation_matrix, self._angles)
        by_angles = torch.einsum("ij,ijp->p", by_rotation, jacobian)
        by_atom = torch.cat([by_place @ self._rotation, total[:, 3:]], dim=1)
        return AtomGradient(by_atom, torch.cat([by_angles, by_place[:, 1:].sum(0)]))

    def _grouped(self) -> Iterator[_Group]:
        """Yield the shares of every element in every slice."""
        geometry = self._geometry
        depth = (self.positions[:, 0] - geometry.first_slice_depth) / geometry.slice_thickness
        nearest = torch.round(depth)
        off = depth - nearest
        shares = torch.cat([0.5 * (0.5 - off) ** 2, 0.75 - off**2, 0.5 * (0.5 + off) ** 2])
        slopes = torch.cat([off - 0.5, -2 * off, off + 0.5]) / geometry.slice_thickness
        places = torch.cat([nearest - 1, nearest, nearest + 1]).clamp(0, geometry.num_slices - 1).long()
        numbers = torch.arange(len(depth)).repeat(3)
        elements = self._atoms.atomic_numbers[numbers]
        keys = elements * geometry.num_slices + places
        order = torch.argsort(keys, stable=True)
        found, counts = torch.unique_consecutive(keys[order], return_counts=True)
        for key, members in zip(found.tolist(), order.split(counts.tolist()), strict=True):
            element, place = divmod(key, geometry.num_slices)
            yield _Group(place, element, numbers[members], shares[members], slopes[members])

    def _profiles(
        self, atoms: Int[Tensor, " share"]
    ) -> tuple[Complex[Tensor, "share y"], Complex[Tensor, "share x"]]:
        """Return blur and phase of atoms along y and x, in FFT order."""
        along_y, along_x = self._all_profiles
        return along_y[atoms], along_x[atoms]

    @cached_property
    def _all_profiles(self) -> tuple[Complex[Tensor, "atom y"], Complex[Tensor, "atom x"]]:
        geometry, profiles = self._geometry, []
        for axis, k in enumerate(self._frequencies):
            corner = geometry.volume_shape[axis + 1] // 2 * geometry.sampling[axis]
            phase = -2 * math.pi * (self.positions[:, axis + 1, None] + corner) * k
            blur = torch.exp(-0.25 * self._atoms.b_factors[:, None] * k**2)
            profiles.append(torch.polar(blur, phase).to(self._device, self._dtype.to_complex()))
        return profiles[0], profiles[1]

    def _factors(self, atomic_number: int) -> Float[Tensor, "part ky kx"]:
        geometry, vibrations = self._geometry, self._vibrations
        b_factor = None if vibrations is None else vibrations[atomic_number]
        table = _factors(atomic_number, geometry.volume_shape[1:], geometry.sampling, geometry.sigma, b_factor)
        return table.to(self._device, self._dtype)


@lru_cache(maxsize=64)
def _factors(
    atomic_number: int,
    shape: tuple[int, int],
    sampling: tuple[float, float],
    sigma: float,
    b_factor: float | None,
) -> Float[Tensor, "part ky kx"]:
    """Return the factor of an atom per area of a pixel [V Å], real part and imaginary one if any.

    It is zero at the Nyquist frequencies.
    """
    ky = torch.fft.fftfreq(shape[0], sampling[0], dtype=torch.float64)[:, None]
    kx = torch.fft.rfftfreq(shape[1], sampling[1], dtype=torch.float64)[None]
    factor = effective_potential(atomic_number, torch.hypot(ky, kx), sigma=sigma, b_factor=b_factor or 0.0)
    within = (ky.abs() < 0.4999999 / sampling[0]) & (kx < 0.4999999 / sampling[1])
    parts = [factor.real] if b_factor is None else [factor.real, factor.imag]
    return torch.stack(parts) * within / (sampling[0] * sampling[1])

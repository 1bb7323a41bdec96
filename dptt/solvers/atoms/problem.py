"""What a fit of atoms is given, and what it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Inexact, Int
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.kernels import Batch, MultisliceGradient
from dptt.kernels.losses import LOSSES
from dptt.model.atom_slices import TiltedAtoms
from dptt.model.atoms import Atoms
from dptt.model.calibration import BACKGROUND, BLUR, pattern_shifts, scan_matrix
from dptt.model.coherence import Coherence
from dptt.model.diffuse import DiffuseScattering, diffuse_scattering
from dptt.model.forward import Geometry
from dptt.model.losses import Misfit
from dptt.physics.multislice import propagate
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission, transmission_gradient
from dptt.physics.probe import resample_probe
from dptt.solvers.tomography.tilt_patterns import TiltPatterns

SURELY_POSITIVE = 0.9
"""Of the floor of intensities: by so much a pattern without its diffuse scattering may be below zero."""

LARGEST_B_FACTOR = 3.0
"""[Å²] of an element: far beyond Einstein's model."""


@dataclass(frozen=True)
class Vibrations:
    """What thermal motion does, for atoms that every electron meets displaced; it is not changed within a descent."""

    b_factors: Mapping[int, float]
    """B [Å²] of every element."""
    diffuse: tuple[DiffuseScattering, ...]
    """Per tilt."""


@dataclass(frozen=True)
class AtomModel:
    """The unknowns, equal on every rank; atoms and poses in double precision on the host."""

    atoms: Atoms
    probes: tuple[Complex[Tensor, "_ _ _"], ...]
    """Per tilt (mode, y, x), in front of the first slice."""
    euler_angles: Float[Tensor, "tilt 3"]
    """(phi, theta, psi) [degrees]."""
    translations: Float[Tensor, "tilt 2"]
    """tau (y, x) [Å]."""
    scans: Float[Tensor, "tilt 4"]
    """By how much the scan of every tilt differs from `AtomProblem.positions`; see `scans`."""
    vibrations: Vibrations | None = None
    """None for atoms that are smeared and neither absorb nor scatter diffusely."""
    coherence: Coherence | None = None
    """Of the probes, which are then coherent ones with one mode; None for probes whose modes are free."""

    @property
    def coherent(self) -> bool:
        """Whether every probe is a single mode."""
        return self.coherence is None and len(self.probes[0]) == 1

    def with_atoms(self, atoms: Atoms) -> "AtomModel":
        """Return the model with other atoms."""
        return replace(self, atoms=atoms)

    def on_grid(self, old: Geometry, new: Geometry) -> "AtomModel":
        """Return the model, its probes in front of the first slice of another geometry; vibrations are left out."""

        def moved(probe: Tensor) -> Tensor:
            at_axis = propagate(probe, old.propagator(-old.first_slice_depth, probe.dtype).to(probe.device))
            fine = resample_probe(at_axis, new.window_shape)
            return propagate(fine, new.propagator(new.first_slice_depth, probe.dtype).to(probe.device))

        return replace(self, probes=tuple(map(moved, self.probes)), vibrations=None)

    def poses(self) -> Float[Tensor, "tilt 5"]:
        """Return angles and translations side by side."""
        return torch.cat([self.euler_angles, self.translations], dim=1)


@dataclass(frozen=True)
class AtomProblem:
    """The patterns, the grids, and the ranks that share the scan positions of every tilt."""

    geometry: Geometry
    """One plane of the volume a slice."""
    tilts: Sequence[TiltPatterns]
    positions: Sequence[Float[Tensor, "_ 2"]]
    """Scan positions per tilt [Å], double precision."""
    communicator: Communicator
    calibrations: Sequence[Float[Tensor, " parameter"]]
    """What the reconstruction found of the experiment of every tilt; descan, background and blur are used, see
    `model.calibration`."""
    epsilon: float
    """Floor of the intensities, as a fraction of the mean electrons per pixel of a tilt."""
    seed: int = 0
    """Of the simulated noise in `information`."""
    patterns_at_once: int = 512
    """Read and computed together."""
    chunk_bytes: int | None = None
    """Bound on the memory of the waves held at once by the plain kernels."""
    stride: int = 1
    """One of so many scan positions in a row takes part."""

    def misfit(self, tilt: int, device: torch.device) -> Misfit:
        """Return the Poisson loss of a tilt: the negative logarithm of the likelihood."""
        patterns, (height, width) = self.tilts[tilt], self.geometry.window_shape
        per_pixel = patterns.mean_electrons / (height * width)
        floor = self.epsilon * per_pixel + LOSSES["poisson"].dark_electrons
        background = self.calibrations[tilt][BACKGROUND].item() * per_pixel
        mask = None if patterns.mask is None else patterns.mask.to(device)
        return Misfit("poisson", floor + background, mask, background, self.calibrations[tilt][BLUR].item())

    def own(self, tilt: int) -> Int[Tensor, " own"]:
        """Return the scan positions of a tilt that this rank computes."""
        used = self.used(tilt)
        own = block_range(len(used), self.communicator.size, self.communicator.rank)
        return used[own.start : own.stop]

    def used(self, tilt: int) -> Int[Tensor, " used"]:
        """Return the scan positions of a tilt that take part: at random, so as to prefer no column of a raster."""
        firsts = torch.arange(0, len(self.positions[tilt]), self.stride)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + tilt)
        further = torch.randint(0, self.stride, firsts.shape, generator=generator)
        return (firsts + further).clamp(max=len(self.positions[tilt]) - 1)

    def modes(self, model: AtomModel, tilt: int) -> Complex[Tensor, "mode y x"]:
        """Return the modes of the probe of a tilt."""
        probe = model.probes[tilt]
        return probe if model.coherence is None else model.coherence.modes(probe, self.geometry.sampling)

    def by_probe(
        self, model: AtomModel, tilt: int, gradient: Complex[Tensor, "mode y x"]
    ) -> tuple[Complex[Tensor, "_ y x"], Float[Tensor, "2"]]:
        """Return the derivatives by the probe of a tilt and by the coherence, from those by the modes."""
        if model.coherence is None:
            return gradient.to("cpu", torch.complex128), torch.zeros(2, dtype=torch.float64)
        return model.coherence.pulled_back(model.probes[tilt], gradient, self.geometry.sampling)

    def scan(self, model: AtomModel, tilt: int) -> Float[Tensor, "_ 2"]:
        """Return the scan positions of a tilt [Å]."""
        return self.positions[tilt] @ scan_matrix(model.scans[tilt]).T

    def tilted(self, model: AtomModel, tilt: int) -> TiltedAtoms:
        """Return the atoms in the pose of a tilt, rendered in the precision and on the device of its probe."""
        probe = model.probes[tilt]
        pose = model.euler_angles[tilt], model.translations[tilt]
        b_factors = None if model.vibrations is None else model.vibrations.b_factors
        return TiltedAtoms(model.atoms, *pose, self.geometry, probe.real.dtype, probe.device, b_factors)


def with_vibrations(problem: AtomProblem, model: AtomModel, elements: Sequence[int]) -> AtomModel:
    """Return the model with absorption and diffuse scattering of its atoms at the B that they have now.

    The B of an element is the median of its atoms, and that of all atoms if there are none.
    """
    atoms, b_factors = model.atoms, {}
    for number in sorted({*elements, *atoms.atomic_numbers.tolist()}):
        of_element = atoms.b_factors[atoms.atomic_numbers == number]
        median = (of_element if len(of_element) else atoms.b_factors).median().item()
        b_factors[number] = min(max(median, 0.0), LARGEST_B_FACTOR)
    diffuse = (
        diffuse_scattering(
            atoms,
            model.probes[tilt],
            problem.scan(model, tilt),
            model.euler_angles[tilt],
            model.translations[tilt],
            problem.geometry,
            b_factors,
        )
        for tilt in range(len(problem.positions))
    )
    return replace(model, vibrations=Vibrations(b_factors, tuple(diffuse)))


class TiltWaves:
    """One tilt as the kernels take it, for any of its scan positions."""

    def __init__(
        self, problem: AtomProblem, model: AtomModel, tilt: int, slices: Inexact[Tensor, "slice y x"]
    ) -> None:
        self._problem, self._tilt, self.probe = problem, tilt, problem.modes(model, tilt)
        self._sigma, self._absorbing = problem.geometry.sigma, slices.is_complex()
        self._diffuse = None if model.vibrations is None else model.vibrations.diffuse[tilt]
        self.misfit, self._scan = problem.misfit(tilt, self.probe.device), problem.scan(model, tilt)
        self.transmission = transmission(slices, self._sigma).to(self.probe.dtype)
        thickness = problem.geometry.slice_thickness
        self._propagator = problem.geometry.propagator(thickness, self.probe.dtype).to(self.probe.device)

    def batch(self, indices: Int[Tensor, " pos"], measured: Tensor) -> Batch:
        """Return the waves at scan positions `indices`, with their patterns."""
        geometry, device = self._problem.geometry, self.probe.device
        told = self._problem.positions[self._tilt][indices]
        displaced = pattern_shifts(self._problem.calibrations[self._tilt], told)
        corners, shifts = split_positions(  # of the told ones: a window that jumps would make the loss jump
            told,
            geometry.sampling,
            geometry.volume_shape[1:],
            geometry.window_shape,
        )
        shifts = shifts + (self._scan[indices] - told) / torch.tensor(geometry.sampling, dtype=torch.float64)
        scale = self._problem.tilts[self._tilt].scale
        net, scale = self.misfit.net(measured.to(device), scale, self.probe.real.dtype)
        if self._diffuse is not None:
            diffuse = self.diffuse(indices)
            net, scale = net.to(diffuse) * scale - diffuse, 1.0
            net.clamp_(min=-SURELY_POSITIVE * self.misfit.floor)
        return Batch(
            transmission=self.transmission,
            probe=self.probe,
            corners=corners.to(device),
            shifts=shifts.to(device, self.probe.real.dtype),
            measured=net,
            propagator=self._propagator,
            loss=self.misfit,
            measured_scale=scale,
            pattern_shifts=None if displaced is None else displaced.to(device, self.probe.real.dtype),
        )

    def diffuse(self, indices: Int[Tensor, " pos"]) -> Float[Tensor, "pos y x"]:
        """Return the diffuse scattering in patterns [electrons per pixel]; smooth, it is not shifted with them."""
        if self._diffuse is None:
            return self.probe.real.new_zeros((len(indices), *self._problem.geometry.window_shape))
        return self._diffuse.patterns(indices).to(self.probe.device, self.probe.real.dtype)

    def slice_gradient(self, gradient: MultisliceGradient) -> Inexact[Tensor, "slice y x"]:
        """Return dL/d(slices) [1/(V Å)], dL/dRe + i dL/dIm if the atoms absorb."""
        by_slice = transmission_gradient(gradient.transmission, self.transmission, self._sigma)
        return by_slice if self._absorbing else by_slice.real

r"""The Fisher information of every atom and pose, from simulated noise: what the patterns can tell, and how surely.

For Poisson counts of mean I the information of parameters p, q is F_pq = sum_pixels (dI/dp)(dI/dq) / I. Its products
of derivatives would need one forward pass for each parameter. But draw independent signs e for all pixels and take
the adjoint of e / sqrt(I) instead of the loss's slope:

    g = sum_pixels (e / sqrt(I)) dI/dp        <g g^T> = F                one adjoint pass for all parameters

A draw uses some of the scan positions of a tilt, so that all draws together cost about one pass. Blocks of 5 × 5 are
kept for each atom and each pose, and two numbers for each probe: its amplitudes show directly in the bright field,
its phases a hundred times less, where the specimen lets its disc interfere with itself. A block from n draws has a
relative error of sqrt(2/n), and the error bars half of it.

No measured pattern is read: the information is that of the experiment, before or after it is made (Cramér-Rao).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.kernels import multislice_gradient
from dptt.model.atom_slices import TiltedAtoms
from dptt.model.atoms import PARAMETERS, Atoms
from dptt.model.coherence import BRIGHT
from dptt.model.losses import Misfit
from dptt.model.shot_noise import shot_noise_moments
from dptt.solvers.atoms.problem import AtomModel, AtomProblem, TiltWaves
from dptt.solvers.atoms.scans import by_scan, strain_gradient, strains_of_specimen

OCCUPANCY = PARAMETERS.index("occupancy")


@dataclass(frozen=True)
class Information:
    """Fisher information of all patterns, summed over ranks."""

    atoms: Float[Tensor, "atom column column"]
    """In the order of `model.atoms.PARAMETERS`, then by the occupancy of each alternative."""
    poses: Float[Tensor, "tilt 5 5"]
    scans: Float[Tensor, "tilt 4 4"]
    strain: Float[Tensor, "3 3"]
    """Of what all scans have in common, if atoms and translations follow; see `scans`."""
    probes: Float[Tensor, "tilt mode 2"]
    """Of amplitude and phase of the spectrum of a probe, a mean over its bright pixels."""
    coherence: Float[Tensor, "2 2"]
    """Of size of the source and focal spread."""
    expected_loss: float
    """Mean of the loss if the model were the truth: shot noise alone."""
    loss_variance: float

    def of_more(self, factor: float) -> "Information":
        """Return the information of `factor` times as many patterns."""
        return Information(
            factor * self.atoms,
            factor * self.poses,
            factor * self.scans,
            factor * self.strain,
            factor * self.probes,
            factor * self.coherence,
            factor * self.expected_loss,
            factor * self.loss_variance,
        )


class _Noise:
    """In place of the loss: its slope is random, as in the module's text; sums what shot noise would cost."""

    def __init__(self, misfit: Misfit, generator: torch.Generator) -> None:
        self._misfit, self._generator = misfit, generator
        self.moments = torch.zeros(2, dtype=torch.float64)

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        signs = torch.randint(0, 2, model.shape, generator=self._generator, dtype=torch.int8).to(model) * 2 - 1
        model = self._misfit.counted(model)
        slope = signs * torch.rsqrt(model + self._misfit.epsilon)
        if self._misfit.mask is not None:
            slope = slope.masked_fill(~self._misfit.mask, 0)
        # patterns come without counts, less background and diffuse scattering; these have shot noise too
        brighter = model + (-measured - self._misfit.background).clamp_min(0)
        weight = (brighter + self._misfit.epsilon) / (model + self._misfit.epsilon)
        moments = shot_noise_moments(self._misfit, brighter) * torch.stack([weight, weight**2])
        self.moments += moments.sum((1, 2, 3)).double().cpu()
        return model.new_zeros(()), self._misfit.counted(slope)


def information(
    problem: AtomProblem, model: AtomModel, *, draws: int, patterns: int, alternatives: Sequence[Atoms] = ()
) -> Information:
    """Return the Fisher information of the atoms and poses of `model`.

    Parameters
    ----------
    draws
        Of noise, in all tilts together.
    patterns
        In every draw, evenly spaced over the scan of a tilt and so over the atoms; the result is scaled to all.
    alternatives
        Atoms of other elements at the same places.
    """
    per_tilt = math.ceil(draws / len(problem.tilts))
    columns = 5 + len(alternatives)
    atoms = torch.zeros((len(model.atoms), columns, columns), dtype=torch.float64)
    poses = torch.zeros((len(problem.tilts), 5, 5), dtype=torch.float64)
    scans, strain = torch.zeros((len(problem.tilts), 4, 4)).double(), torch.zeros((3, 3)).double()
    shapes = strains_of_specimen(model.euler_angles)
    probes = torch.zeros((len(problem.tilts), len(model.probes[0]), 2), dtype=torch.float64)
    coherence, moments = torch.zeros((2, 2)).double(), torch.zeros(2, dtype=torch.float64)
    for tilt, waves, tilted in _tilts(problem, model, [model.atoms, *alternatives]):
        used = problem.used(tilt)
        count = len(used)
        stride = max(1, count // patterns)
        for draw in range(per_tilt):
            # a draw belongs to one rank, so the result does not depend on their number
            if (tilt * per_tilt + draw) % problem.communicator.size != problem.communicator.rank:
                continue
            indices = used[draw % stride :: stride]
            generator = torch.Generator().manual_seed((problem.seed * 1_000_003 + tilt) * 1_000_003 + draw)
            noise, weight = _Noise(waves.misfit, generator), count / (len(indices) * per_tilt)
            unread = torch.zeros((len(indices), *problem.geometry.window_shape))
            batch = replace(waves.batch(indices, unread), loss=noise)
            result = multislice_gradient(batch, problem.chunk_bytes)
            by_slice = waves.slice_gradient(result)
            own = tilted[0].gradient(by_slice)
            by_atom = torch.cat(
                [own.by_atom, *(other.by_occupancy(by_slice)[:, None] for other in tilted[1:])], dim=1
            )
            atoms += weight * by_atom[:, :, None] * by_atom[:, None, :]
            poses[tilt] += weight * torch.outer(own.by_pose, own.by_pose)
            own_scan = by_scan(result.shifts, problem.positions[tilt][indices], problem.geometry.sampling)
            by_strain = strain_gradient(
                own_scan,
                own.by_atom[:, :3],
                model.atoms.positions,
                own.by_pose[None, 3:],
                model.translations[tilt : tilt + 1],
                shapes,
            )
            scans[tilt] += weight * torch.outer(own_scan, own_scan)
            strain += weight * torch.outer(by_strain, by_strain)
            by_probe, by_coherence = problem.by_probe(model, tilt, result.probe)
            probes[tilt] += weight * _by_amplitude_and_phase(model.probes[tilt].cpu(), by_probe)
            coherence += weight * torch.outer(by_coherence, by_coherence)
            moments += weight * noise.moments
    for each in (atoms, poses, scans, strain, probes, coherence, moments):
        problem.communicator.sum_(each)
    return Information(atoms, poses, scans, strain, probes, coherence, moments[0].item(), moments[1].item())


def directions(probe: Complex[Tensor, "mode y x"]) -> Complex[Tensor, "mode y x"]:
    """Return the unit phases of the spectrum of a probe in its bright pixels, 0 in the dark."""
    spectrum = torch.fft.fft2(probe)
    amplitude = spectrum.abs()
    bright = amplitude > BRIGHT * amplitude.amax((1, 2), keepdim=True)
    return torch.where(bright, spectrum / amplitude, 0)


def _by_amplitude_and_phase(probe: Tensor, gradient: Complex[Tensor, "mode y x"]) -> Float[Tensor, "mode 2"]:
    """Return the mean squares of a gradient along amplitude and phase of the bright pixels."""
    along = directions(probe)
    turned = torch.view_as_real(torch.fft.fft2(gradient, norm="ortho") * along.conj()).double().square()
    return turned.sum((1, 2)) / (along != 0).sum((1, 2))[:, None]


def _tilts(
    problem: AtomProblem, model: AtomModel, kinds: Sequence[Atoms]
) -> Iterator[tuple[int, TiltWaves, list[TiltedAtoms]]]:
    """Yield every tilt, its waves through the atoms of the model, and all `kinds` of atoms in its pose."""
    for tilt in range(len(problem.tilts)):
        tilted = [problem.tilted(model.with_atoms(atoms), tilt) for atoms in kinds]
        yield tilt, TiltWaves(problem, model, tilt, tilted[0].slices()), tilted


def standard_errors(blocks: Float[Tensor, "block n n"]) -> Float[Tensor, "block n"]:
    """Return the square roots of the diagonals of the inverses; infinite where the patterns tell nothing."""
    diagonal = torch.einsum("bpp->bp", blocks)
    scale = torch.rsqrt(diagonal.clamp_min(torch.finfo(diagonal.dtype).tiny))
    correlation = blocks * scale[:, :, None] * scale[:, None, :]
    ridge = 1e-9 * torch.eye(blocks.shape[-1], dtype=blocks.dtype)
    inverse = torch.linalg.inv(correlation + ridge)
    errors = torch.einsum("bpp->bp", inverse).clamp_min(0).sqrt() * scale
    return torch.where(diagonal > 0, errors, torch.inf)

"""The negative log-likelihood of all patterns as a function of atoms, probes and poses, and its exact gradient.

    for every tilt
        render the atoms into slices                       model.atom_slices
        multislice forward and adjoint, own positions      the kernels of the reconstruction
        take the slice gradient back to atoms and pose     exact adjoint of the rendering
    take the gradient by every position back to the scan  scans
    sum over ranks, in one message

One message of 5 numbers an atom and tilt, 9 a tilt and the probes is all that is sent in a pass over the data.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

from dptt.kernels import multislice_gradient, multislice_loss
from dptt.model.atoms import Atoms
from dptt.model.transfer import chosen_patterns
from dptt.solvers.atoms.problem import AtomModel, AtomProblem, TiltWaves
from dptt.solvers.atoms.scans import by_scan
from dptt.solvers.tomography.minibatch_update import summed

PATTERNS_AT_ONCE, ALL_AT_ONCE = 64, 1 << 62
"""Of `likelihood`: patterns, and bytes for their waves."""


class AtomFitError(RuntimeError):
    """The fit cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class Evaluation:
    """Loss and gradient, summed over all patterns and ranks."""

    loss: float
    """Negative log-likelihood, zero where every pixel has its measured intensity."""
    by_atom_in_tilt: Float[Tensor, "tilt atom 5"]
    """Of every tilt alone."""
    by_pose: Float[Tensor, "tilt 5"]
    by_scan: Float[Tensor, "tilt 4"]
    by_probe: tuple[Complex[Tensor, "_ _ _"], ...]
    """dL/dRe + i dL/dIm."""
    by_coherence: Float[Tensor, "2"]
    """By size of the source and focal spread."""
    by_occupancy: tuple[Float[Tensor, " _"], ...]
    """Of the atoms that could be there."""
    patterns: int
    """That took part."""

    @property
    def by_atom(self) -> Float[Tensor, "atom 5"]:
        """Of all tilts together."""
        return self.by_atom_in_tilt.sum(dim=0)


def evaluate(problem: AtomProblem, model: AtomModel, possible: Sequence[Atoms] = ()) -> Evaluation:
    """Return loss and gradient of all tilts.

    `possible` are groups of atoms that are not there: what the loss would gain by them is in `by_occupancy`.

    Raises
    ------
    AtomFitError
        On every rank: the loss is not finite.
    """
    by_atom = torch.zeros((len(problem.tilts), len(model.atoms), 5), dtype=torch.float64)
    by_pose = torch.zeros((len(problem.tilts), 5), dtype=torch.float64)
    by_scans = torch.zeros((len(problem.tilts), 4), dtype=torch.float64)
    by_probe, by_coherence = [], torch.zeros(2, dtype=torch.float64)
    by_occupancy = [torch.zeros(len(atoms), dtype=torch.float64) for atoms in possible]
    counts = torch.zeros(2, dtype=torch.float64)
    for tilt in range(len(problem.tilts)):
        tilted = problem.tilted(model, tilt)
        waves = TiltWaves(problem, model, tilt, tilted.slices())
        slice_gradient = torch.zeros_like(waves.transmission.real if model.vibrations is None else waves.transmission)
        by_modes = torch.zeros(waves.probe.shape, dtype=torch.complex128)
        for indices, measured in _read(problem, tilt):
            result = multislice_gradient(waves.batch(indices, measured), problem.chunk_bytes)
            slice_gradient += waves.slice_gradient(result)
            by_modes += result.probe.cpu()
            by_scans[tilt] += by_scan(result.shifts, problem.positions[tilt][indices], problem.geometry.sampling)
            counts += torch.tensor([result.loss.item(), len(indices)], dtype=torch.float64)
        of_probe, of_coherence = problem.by_probe(model, tilt, by_modes)
        by_probe.append(of_probe)
        by_coherence += of_coherence
        gradient = tilted.gradient(slice_gradient)
        by_atom[tilt], by_pose[tilt] = gradient.by_atom, gradient.by_pose
        for atoms, total in zip(possible, by_occupancy, strict=True):
            others = problem.tilted(model.with_atoms(atoms), tilt)
            total += others.by_occupancy(slice_gradient)
    sums = summed(problem.communicator, *by_probe, by_coherence, by_atom, by_pose, by_scans, *by_occupancy, counts)
    probes, (by_coherence, by_atom, by_pose, by_scans, *gains, counts) = sums[: len(by_probe)], sums[len(by_probe) :]
    loss, patterns = counts.tolist()
    if not math.isfinite(loss):
        raise AtomFitError(
            f"the loss is {loss}. Check the patterns with `dptt validate`, and the atoms traced in the volume"
        )
    return Evaluation(loss, by_atom, by_pose, by_scans, tuple(probes), by_coherence, tuple(gains), round(patterns))


def likelihood(problem: AtomProblem, model: AtomModel) -> float:
    """Return the loss with diffuse scattering added to the model, by which models with and without it compare.

    `evaluate` takes it from the patterns instead, which has the same minimum, but a value that grows with it.
    """
    total = torch.zeros(1, dtype=torch.float64)
    for tilt in range(len(problem.tilts)):
        waves = TiltWaves(problem, model, tilt, problem.tilted(model, tilt).slices())
        for indices, measured in _read(replace(problem, patterns_at_once=PATTERNS_AT_ONCE), tilt):
            diffuse = waves.diffuse(indices)

            def loss(intensity: Tensor, net: Tensor, waves=waves, diffuse=diffuse) -> tuple[Tensor, Tensor]:
                return waves.misfit(intensity + diffuse, net + diffuse)

            batch = replace(waves.batch(indices, measured), loss=loss)
            total += multislice_loss(batch, chunk_bytes=ALL_AT_ONCE).double().cpu()
    return problem.communicator.sum_(total).item()


def _read(problem: AtomProblem, tilt: int) -> Iterator[tuple[Int[Tensor, " pos"], Shaped[Tensor, "pos y x"]]]:
    """Yield this rank's usable positions of a tilt and their patterns, the next ones being read meanwhile."""
    patterns = problem.tilts[tilt]
    pieces = problem.own(tilt).split(problem.patterns_at_once)
    for number, piece in enumerate(pieces):
        if not len(piece):
            continue
        measured = patterns.read(piece)
        if number + 1 < len(pieces):
            patterns.prefetch(pieces[number + 1])
        usable = patterns.usable(piece)
        if bool(usable.all()):
            yield piece, measured
        else:
            yield piece[usable], chosen_patterns(measured, usable)

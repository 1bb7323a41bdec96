"""The unknowns of a fit as one vector, and the preconditioner of their gradient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.physics.multislice import diffraction_intensity
from dptt.solvers.atoms.information import Information, directions, standard_errors
from dptt.solvers.atoms.objective import Evaluation
from dptt.solvers.atoms.problem import AtomModel, AtomProblem
from dptt.solvers.atoms.scans import STRAINS, deformations, strain_gradient, strains_of_specimen
from dptt.solvers.newton import damped_solve
from dptt.solvers.tomography.steps import PROBE_SHARE

DAMPING = 0.02
"""Of the blocks, which are estimates from some hundred draws."""
POSE_SHARE = 0.5
"""Of its Newton step that a pose takes: atoms and poses move at once and correct the same residual."""
LEAST_CURVATURE = 1e-3
"""Of a probe, as a fraction of the largest that is possible."""
LARGEST_ATOM_STEP = (0.15, 0.15, 0.15, 0.3, 1.0)
"""In one step, in the order of `model.atoms.PARAMETERS` [Å, 1, Å²]."""
LARGEST_POSE_STEP = (0.2, 0.2, 0.2, 0.2, 0.2)
"""[degrees, Å]"""
LARGEST_SCAN_STEP = 0.01
"""Of a strain or rotation [rad]: 0.1 Å at 10 Å."""
LARGEST_COHERENCE_STEP = (0.05, 10.0)
"""Of the size of the source and of the focal spread [Å]."""


class Parts(NamedTuple):
    """A vector of unknowns, in parts; those that are not fitted are empty."""

    atoms: Float[Tensor, "atom 5"]
    """Positions as they are without the common strain of the scans."""
    poses: Float[Tensor, "tilt 5"]
    """Translations likewise."""
    strain: Float[Tensor, " strain"]
    """Common to all scans, beyond that of the model at the start of the fit."""
    scans: Float[Tensor, "tilt 4"]
    """Without that."""
    coherence: Float[Tensor, " _"]
    """Of the probes: size of the source and focal spread."""
    probes: Sequence[Complex[Tensor, "_ _ _"]]


@dataclass(frozen=True)
class Unknowns:
    """Which unknowns are fitted: always atoms; probes, poses and scans by choice."""

    problem: AtomProblem
    model: AtomModel
    """Of which the fitted parts are replaced."""
    information: Information
    probes: bool
    poses: bool
    scans: bool

    @cached_property
    def _shapes(self) -> Float[Tensor, "strain 3 3"]:
        return strains_of_specimen(self.model.euler_angles)

    def vector(self, model: AtomModel) -> Float[Tensor, " n"]:
        """Return the fitted parts of a model."""
        strain = torch.zeros(len(STRAINS), dtype=torch.float64)
        found = model.coherence
        values = [] if found is None else [found.source_size, found.focal_spread]
        coherence = torch.tensor(values, dtype=torch.float64)
        return self._joined(Parts(model.atoms.packed(), model.poses(), strain, model.scans, coherence, model.probes))

    def gradient(self, vector: Float[Tensor, " n"], evaluation: Evaluation) -> Float[Tensor, " n"]:
        """Return the gradient by `vector`, of which the model was evaluated."""
        by_atom, by_pose, by_strain = evaluation.by_atom, evaluation.by_pose, torch.zeros(len(STRAINS)).double()
        if self.scans:
            parts = self._parts(vector)
            translations = parts.poses[:, 3:] if self.poses else self.model.translations
            by_strain = strain_gradient(
                evaluation.by_scan.sum(0),
                by_atom[:, :3],
                parts.atoms[:, :3],
                by_pose[:, 3:],
                translations,
                self._shapes,
            )
            of_atoms, of_scans = deformations(parts.strain, self._shapes)
            by_atom = torch.cat([by_atom[:, :3] @ of_atoms, by_atom[:, 3:]], dim=1)
            by_pose = torch.cat([by_pose[:, :3], by_pose[:, 3:] @ of_scans], dim=1)
        return self._joined(
            Parts(by_atom, by_pose, by_strain, evaluation.by_scan, evaluation.by_coherence, evaluation.by_probe)
        )

    def model_of(self, vector: Float[Tensor, " n"]) -> AtomModel:
        """Return the model that a vector stands for."""
        parts, model = self._parts(vector), self.model
        atoms = parts.atoms
        if self.poses:
            model = replace(model, euler_angles=parts.poses[:, :3].clone(), translations=parts.poses[:, 3:].clone())
        if self.scans:
            of_atoms, of_scans = deformations(parts.strain, self._shapes)
            atoms = torch.cat([atoms[:, :3] @ of_atoms.T, atoms[:, 3:]], dim=1)
            scans = parts.scans.clone()
            scans[:, STRAINS] += parts.strain
            model = replace(model, translations=model.translations @ of_scans.T, scans=scans)
        if self.probes:
            moved = zip(parts.probes, self.model.probes, strict=True)
            model = replace(model, probes=tuple(new.to(old) for new, old in moved))
        if model.coherence is not None and self.probes:
            model = replace(model, coherence=model.coherence.moved(*parts.coherence.tolist()))
        return model.with_atoms(self.model.atoms.with_parameters(atoms))

    def precondition(self, gradient: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the gradient over the information of every atom and pose, and over the curvature of the probes."""
        parts, found = self._parts(gradient), self.information
        poses, strain, scans, coherence = parts.poses, parts.strain, parts.scans, parts.coherence
        if self.poses:
            poses = POSE_SHARE * damped_solve(found.poses, poses, DAMPING)
        if self.scans:
            strain = damped_solve(found.strain, strain, DAMPING)
            scans = POSE_SHARE * damped_solve(found.scans, scans, DAMPING)
        if len(coherence):
            coherence = damped_solve(found.coherence, coherence, DAMPING)
        atoms = damped_solve(found.atoms, parts.atoms, DAMPING)
        probes = [self._probe_step(tilt, probe) for tilt, probe in enumerate(parts.probes)]
        return self._joined(Parts(atoms, poses, strain, scans, coherence, probes))

    def limited(self, step: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return a step in which no atom, pose or scan moves too far."""
        parts = self._parts(step)
        return self._joined(
            parts._replace(
                atoms=_clamped(parts.atoms, LARGEST_ATOM_STEP),
                poses=_clamped(parts.poses, LARGEST_POSE_STEP),
                strain=parts.strain.clamp(-LARGEST_SCAN_STEP, LARGEST_SCAN_STEP),
                scans=parts.scans.clamp(-LARGEST_SCAN_STEP, LARGEST_SCAN_STEP),
                coherence=_clamped(parts.coherence, LARGEST_COHERENCE_STEP)
                if len(parts.coherence)
                else parts.coherence,
            )
        )

    def step_in_errors(self, step: Float[Tensor, " n"]) -> float:
        """Return how far a step moves atoms (root mean square), common strain or coherence, in standard errors."""
        errors, parts = standard_errors(self.information.atoms)[:, :3], self._parts(step)
        moved = torch.where(errors.isfinite(), parts.atoms[:, :3] / errors, 0.0).square().mean().sqrt().item()
        for common, found in ((parts.strain, self.information.strain), (parts.coherence, self.information.coherence)):
            if len(common):
                moved = max(moved, (common / standard_errors(found[None])[0]).abs().max().item())
        return moved

    def _probe_step(self, tilt: int, gradient: Tensor) -> Tensor:
        """Return the step of a probe, which keeps to the angles that the detector measures.

        Amplitudes and phases of its bright pixels have their own curvature, dark pixels the largest that is possible.
        """
        probe = self.model.probes[tilt]
        misfit = self.problem.misfit(tilt, probe.device)
        largest = misfit.curvature(diffraction_intensity(probe).max().item()) * len(self.problem.used(tilt))
        found = self.information.probes[tilt].clamp_min(LEAST_CURVATURE * largest)
        along, spectrum = directions(probe.cpu().to(gradient.dtype)), torch.fft.fft2(gradient)
        turned = spectrum * along.conj()
        amplitude, phase = torch.stack([turned.real, turned.imag]) / found.T[..., None, None]
        step = torch.where(along != 0, torch.complex(amplitude, phase) * along, spectrum / largest)
        if misfit.mask is not None:
            step = step * misfit.mask.cpu()
        return PROBE_SHARE * torch.fft.ifft2(step)

    def _joined(self, parts: Parts) -> Float[Tensor, " n"]:
        pieces = [parts.atoms.flatten()]
        if self.poses:
            pieces.append(parts.poses.flatten())
        if self.scans:
            pieces += [parts.strain, parts.scans.flatten()]
        if self.probes and self.model.coherence is not None:
            pieces.append(parts.coherence)
        if self.probes:
            pieces += [torch.view_as_real(probe.cpu().to(torch.complex128)).flatten() for probe in parts.probes]
        return torch.cat(pieces)

    def _parts(self, vector: Float[Tensor, " n"]) -> Parts:
        tilts = len(self.model.probes)
        shapes = [
            tuple(self.model.atoms.packed().shape),
            (tilts if self.poses else 0, 5),
            (len(STRAINS) if self.scans else 0,),
            (tilts if self.scans else 0, 4),
            (2 if self.probes and self.model.coherence is not None else 0,),
            *((*probe.shape, 2) for probe in self.model.probes if self.probes),
        ]
        pieces = vector.split([math.prod(shape) for shape in shapes])
        atoms, poses, strain, scans, coherence, *probes = (
            piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)
        )
        return Parts(atoms, poses, strain, scans, coherence, [torch.view_as_complex(each.clone()) for each in probes])


def _clamped(values: Tensor, largest: tuple[float, ...]) -> Tensor:
    bound = torch.tensor(largest, dtype=values.dtype)
    return values.clamp(-bound, bound)

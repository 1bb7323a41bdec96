"""The unknowns of a fit as one vector, and the preconditioner of their gradient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.physics.multislice import diffraction_intensity
from dptt.solvers.atoms.information import Information, directions, standard_errors
from dptt.solvers.atoms.objective import Evaluation
from dptt.solvers.atoms.problem import AtomModel, AtomProblem
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


@dataclass(frozen=True)
class Unknowns:
    """Which unknowns are fitted: always atoms; probes and poses by choice."""

    problem: AtomProblem
    model: AtomModel
    """Of which the fitted parts are replaced."""
    information: Information
    probes: bool
    poses: bool

    def vector(self, model: AtomModel) -> Float[Tensor, " n"]:
        """Return the fitted parts of a model."""
        return self._joined(model.atoms.packed(), model.poses(), model.probes)

    def gradient(self, evaluation: Evaluation) -> Float[Tensor, " n"]:
        """Return the gradient by `vector`."""
        return self._joined(evaluation.by_atom, evaluation.by_pose, evaluation.by_probe)

    def model_of(self, vector: Float[Tensor, " n"]) -> AtomModel:
        """Return the model that a vector stands for."""
        atoms, poses, probes = self._parts(vector)
        model = self.model.with_atoms(self.model.atoms.with_parameters(atoms))
        if self.poses:
            model = replace(model, euler_angles=poses[:, :3].clone(), translations=poses[:, 3:].clone())
        if self.probes:
            moved = zip(probes, self.model.probes, strict=True)
            model = replace(model, probes=tuple(new.to(old) for new, old in moved))
        return model

    def precondition(self, gradient: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the gradient over the information of every atom and pose, and over the curvature of the probes."""
        atoms, poses, probes = self._parts(gradient)
        atoms = damped_solve(self.information.atoms, atoms, DAMPING)
        if self.poses:
            poses = POSE_SHARE * damped_solve(self.information.poses, poses, DAMPING)
        return self._joined(atoms, poses, [self._probe_step(tilt, each) for tilt, each in enumerate(probes)])

    def limited(self, step: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return a step in which no atom and no pose moves too far."""
        atoms, poses, probes = self._parts(step)
        return self._joined(_clamped(atoms, LARGEST_ATOM_STEP), _clamped(poses, LARGEST_POSE_STEP), probes)

    def step_in_errors(self, step: Float[Tensor, " n"]) -> float:
        """Return the root mean square of the atoms' movement in a step, in standard errors of their positions."""
        errors = standard_errors(self.information.atoms)[:, :3]
        moved = torch.where(errors.isfinite(), self._parts(step)[0][:, :3] / errors, 0.0)
        return moved.square().mean().sqrt().item()

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

    def _joined(self, atoms: Tensor, poses: Tensor, probes: Sequence[Tensor]) -> Float[Tensor, " n"]:
        parts = [atoms.flatten()]
        if self.poses:
            parts.append(poses.flatten())
        if self.probes:
            parts += [torch.view_as_real(probe.cpu().to(torch.complex128)).flatten() for probe in probes]
        return torch.cat(parts)

    def _parts(self, vector: Float[Tensor, " n"]) -> tuple[Tensor, Tensor, list[Tensor]]:
        shapes = [self.model.atoms.packed().shape, (0, 5), *((*probe.shape, 2) for probe in self.model.probes)]
        shapes[1] = (len(self.model.probes), 5) if self.poses else (0, 5)
        shapes = shapes if self.probes else shapes[:2]
        pieces = vector.split([torch.Size(shape).numel() for shape in shapes])
        atoms, poses, *probes = (piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))
        return atoms, poses, [torch.view_as_complex(each.clone()) for each in probes]


def _clamped(values: Tensor, largest: tuple[float, ...]) -> Tensor:
    bound = torch.tensor(largest, dtype=values.dtype)
    return values.clamp(-bound, bound)

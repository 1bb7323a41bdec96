"""The Cramér-Rao bound of an experiment: how well it can tell atoms at best, before it is made."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.atoms.information import information
from dptt.solvers.atoms.problem import AtomModel, AtomProblem


def information_by_tilt(
    problem: AtomProblem, model: AtomModel, *, draws: int, patterns: int
) -> Float[Tensor, "tilt atom 5 5"]:
    """Return the Fisher information of every atom from every tilt alone.

    It is proportional to the dose, and that of several tilts is the sum: doses and choices of tilts are compared
    without computing anything again. `draws`, in all tilts together, and `patterns` are those of `information`.
    """
    count = len(problem.tilts)
    blocks = []
    for tilt in range(count):
        alone = replace(
            problem,
            tilts=[problem.tilts[tilt]],
            positions=[problem.positions[tilt]],
            calibrations=[problem.calibrations[tilt]],
            seed=problem.seed + tilt,
        )
        pose = model.euler_angles[tilt : tilt + 1], model.translations[tilt : tilt + 1], model.scans[tilt : tilt + 1]
        of_tilt = AtomModel(model.atoms, (model.probes[tilt],), *pose, coherence=model.coherence)
        blocks.append(information(alone, of_tilt, draws=-(-draws // count), patterns=patterns).atoms)
    return torch.stack(blocks)

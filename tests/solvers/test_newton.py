"""The damped Newton step solves the damped system, in any units, for tensors and arrays alike."""

import numpy as np
import torch
from checks import random_tensor

from dptt.solvers.newton import damped_newton_step, damped_solve


def positive_definite(*batch, size=3):
    root = random_tensor(*batch, size, size, seed=1)
    return root @ root.mT + 0.1 * torch.eye(size, dtype=torch.float64)


def test_damped_newton_step_solves_the_damped_system():
    hessian, gradient = positive_definite(4, 2), random_tensor(4, 2, 3, seed=2)
    step = damped_newton_step(gradient, hessian, damping=0.05)
    damped = hessian + 0.05 * torch.diag_embed(torch.diagonal(hessian, dim1=-2, dim2=-1))
    torch.testing.assert_close((damped @ step[..., None])[..., 0], -gradient, rtol=1e-11, atol=1e-12)


def test_directions_without_curvature_do_not_move():
    hessian, gradient = positive_definite(), random_tensor(3, seed=3)
    hessian[1], hessian[:, 1] = 0, 0
    others = [0, 2]
    step = damped_newton_step(gradient, hessian)
    assert step[1] == 0
    torch.testing.assert_close(step[others], damped_newton_step(gradient[others], hessian[others][:, others]))
    assert (damped_newton_step(gradient, torch.zeros(3, 3).double()) == 0).all()


def test_newton_step_does_not_care_for_units():
    hessian, gradient, unit = positive_definite(), random_tensor(3, seed=4), torch.tensor([1.0, 1e-2, 1e3]).double()
    rescaled = damped_newton_step(gradient * unit, hessian * unit[:, None] * unit)
    torch.testing.assert_close(rescaled * unit, damped_newton_step(gradient, hessian), rtol=1e-11, atol=0)


def test_arrays_and_tensors_give_the_same_step():
    hessian, gradient = positive_definite(5, size=4), random_tensor(5, 4, seed=5)
    hessian[0, 2], hessian[0, :, 2] = 0, 0
    step = damped_solve(hessian.numpy(), gradient.numpy(), 1e-3)
    np.testing.assert_allclose(step, damped_solve(hessian, gradient, 1e-3).numpy(), rtol=1e-10)
    assert step[0, 2] == 0

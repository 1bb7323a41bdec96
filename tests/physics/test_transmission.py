import numpy as np
import pytest
import torch
from checks import assert_vjp_matches_jvp, random_tensor

from dptt.physics.potential import transmission, transmission_gradient

SIGMA = 6.5e-4
SHAPE = (3, 5, 4)


def complex_slices():
    return 300 * random_tensor(*SHAPE, seed=1, dtype=torch.complex128)


def test_transmission_is_the_formula_of_equation_5():
    expected = np.exp(1j * SIGMA * complex_slices().numpy())
    np.testing.assert_allclose(transmission(complex_slices(), SIGMA).numpy(), expected, rtol=1e-14)


def test_a_real_potential_is_a_complex_one_without_absorption():
    real = complex_slices().real
    assert transmission(real, SIGMA).dtype == torch.complex128
    torch.testing.assert_close(transmission(real, SIGMA), transmission(real.to(torch.complex128), SIGMA))


def test_positive_imaginary_potential_absorbs():
    slices = torch.full(SHAPE, 100 + 50j, dtype=torch.complex128)
    expected = torch.full(SHAPE, float(np.exp(-SIGMA * 50)), dtype=torch.float64)
    torch.testing.assert_close(transmission(slices, SIGMA).abs(), expected)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gradient_is_the_adjoint_of_the_derivative(kind):
    slices = complex_slices() if kind == "complex" else complex_slices().real
    assert_vjp_matches_jvp(lambda v: transmission(v, SIGMA), slices)
    slices.requires_grad_()
    transmitted = transmission(slices, SIGMA)
    gradient = random_tensor(*SHAPE, seed=2, dtype=torch.complex128)
    (expected,) = torch.autograd.grad(transmitted, slices, gradient)
    ours = transmission_gradient(gradient, transmitted.detach(), SIGMA)
    torch.testing.assert_close(ours if kind == "complex" else ours.real, expected, rtol=1e-13, atol=1e-18)

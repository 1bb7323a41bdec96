"""Reusable numerical checks: one function per mathematical property."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return independent normal numbers, the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return |actual - expected| / |expected| in the 2-norm, in double precision."""
    wide = torch.promote_types(expected.dtype, torch.float64)
    difference = torch.linalg.vector_norm(actual.to(wide) - expected.to(wide))
    return (difference / torch.linalg.vector_norm(expected.to(wide))).item()


def assert_adjoint(
    forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], x: Tensor, rtol: float = 1e-12
) -> None:
    """Dot-product test of a linear operator: <y, F x> = <F^H y, x> for a random y.

    The difference is measured against |y| |F x|, so that a product that happens to be small is no excuse.
    """
    fx = forward(x)
    y = random_tensor(*fx.shape, seed=101, dtype=fx.dtype)
    wide = torch.promote_types(fx.dtype, torch.float64)
    left = torch.vdot(y.to(wide).flatten(), fx.to(wide).flatten())
    right = torch.vdot(adjoint(y).to(wide).flatten(), x.to(wide).flatten())
    scale = torch.linalg.vector_norm(y) * torch.linalg.vector_norm(fx)
    assert scale > 0, "the operator maps the test vector to zero: nothing was tested"
    assert abs(left - right) <= rtol * scale, f"<y, Fx> = {left}, <F^H y, x> = {right}"


def assert_vjp_matches_jvp(f: Callable[[Tensor], Tensor], x: Tensor, rtol: float = 1e-12) -> None:
    """Dot-product test of a Jacobian: Re<u, J v> = Re<J^H u, v> for random u and v.

    Unlike `assert_adjoint` it holds for a nonlinear or multilinear f.
    """
    v = random_tensor(*x.shape, seed=102, dtype=x.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.func.jvp itself calls torch.jit.script once
        y, jv = torch.func.jvp(f, (x,), (v,))
    u = random_tensor(*y.shape, seed=103, dtype=y.dtype)
    (jhu,) = torch.func.vjp(f, x)[1](u)
    left, right = torch.vdot(u.flatten(), jv.flatten()).real, torch.vdot(jhu.flatten(), v.flatten()).real
    scale = torch.linalg.vector_norm(u) * torch.linalg.vector_norm(jv)
    assert scale > 0, "the Jacobian maps the test vector to zero: nothing was tested"
    assert abs(left - right) <= rtol * scale, f"Re<u, Jv> = {left}, Re<J^H u, v> = {right}"


def directional_derivative(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, step: float) -> Tensor:
    """Return df(x + t v)/dt at t = 0 by a central difference of fourth order."""
    near, far = f(x + step * v) - f(x - step * v), f(x + 2 * step * v) - f(x - 2 * step * v)
    return (8 * near - far) / (12 * step)


def peak_memory(function: Callable[[], object]) -> int:
    """Return the largest sum of tensor memory [bytes] alive at once that `function` allocated."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak

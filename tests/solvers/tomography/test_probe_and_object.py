"""Object and probe are refined at once from any epoch on, without constraints: the loss falls."""

import pytest
import torch
from checks import random_tensor
from small_series import Patterns
from solver_settings import refinement, regularisation, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry, model_intensity
from dptt.model.state import TomographyState
from dptt.physics.probe import make_probe
from dptt.solvers.tomography import EpochRecord, reconstruct

FREE = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0, nonnegative_absorption=False)
GEOMETRY = Geometry(200e3, (1, 60, 59), (10.0, 0.2, 0.2), (32, 31), 1)
"""One slice: nothing shares the curvature of the exit wave with it."""


def probe(underfocus):
    return make_probe(
        GEOMETRY.window_shape,
        GEOMETRY.sampling,
        wavelength=GEOMETRY.wavelength,
        semiangle=25.0,
        aberrations={"C10": -underfocus},
        electrons=1e5,
    )[None]


def smooth_phase_object():
    """Return a potential [V] that shifts phases by 0.6 rad, in the root mean square, over 0.4 Å."""
    noise = random_tensor(*GEOMETRY.volume_shape, seed=3)
    ky, kx = (torch.fft.fftfreq(n, d, dtype=torch.float64) for n, d in zip(noise.shape[1:], (0.2, 0.2), strict=True))
    blur = torch.exp(-2 * (torch.pi * 0.4) ** 2 * (ky[:, None] ** 2 + kx**2))
    smooth = torch.fft.ifft2(torch.fft.fft2(noise) * blur).real
    return smooth * 0.6 / (smooth.std() * GEOMETRY.sigma * GEOMETRY.slice_thickness)


@pytest.mark.parametrize(
    ("start", "settings"),
    [
        (0, {}),
        (1, {}),
        (0, {"momentum": 0.0}),
        (0, {"momentum": 0.8}),
        (0, {"batches": 12}),
        (1, {"batches": 12, "momentum": 0.8}),
        (0, {"batches": 1}),
        (0, {"positions": refinement(start=0)}),
    ],
    ids=str,
)
def test_object_and_probe_converge_together(start, settings):
    positions = torch.cartesian_prod(*[(torch.arange(14).double() - 6.5) * 0.6] * 2)
    pose = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    patterns = Patterns(
        model_intensity(smooth_phase_object(), probe(100.0), positions, pose[0][0], pose[1][0], GEOMETRY)
    )
    state = TomographyState.initial(GEOMETRY.volume_shape, torch.complex128, [probe(120.0)], [positions], *pose)
    records: list[EpochRecord] = []
    chosen = tomography_settings(
        **{"epochs": 10, "probe": refinement(start=start), "regularisation": FREE, "weigh_tilts": False} | settings
    )
    reconstruct(state, [patterns], GEOMETRY, chosen, Mesh.serial(), records.append)
    losses = [record.loss for record in records]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.15 * losses[0]

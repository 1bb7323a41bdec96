"""The descan is measured before the specimen is known, and the specimen does not pass for one."""

import pytest
import torch

from dptt.solvers.brightfield.descan import measured_descan

MATRIX = torch.tensor([[0.03, 0.11], [-0.12, 0.02]]).double()
OFFSET = torch.tensor([0.4, -0.3]).double()


def raster(rows: int, columns: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    return torch.stack([y.ravel() - 3, x.ravel() - 5], 1)


def particle(positions: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the gradient of a Gaussian bump in the middle: towards it on all sides."""
    away = positions - positions.mean(0)
    return -strength * away * torch.exp(-away.square().sum(1, keepdim=True) / 18)


def test_a_plane_is_found_with_its_offset_under_noise():
    positions = raster(17, 14)
    noise = 0.02 * torch.randn(len(positions), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = measured_descan(positions, positions @ MATRIX.T + OFFSET + noise)
    torch.testing.assert_close(found.matrix, MATRIX, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.offset, OFFSET, rtol=0, atol=5e-3)
    torch.testing.assert_close(found.shifts(positions), positions @ found.matrix.T)
    assert found.significance > 1000


def test_a_particle_hardly_changes_it_though_an_unweighted_plane_is_far_off():
    positions = raster(21, 21)
    noise = 0.02 * torch.randn(len(positions), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centres = positions @ MATRIX.T + particle(positions, 0.4) + noise
    design = torch.cat([positions - positions.mean(0), torch.ones(len(positions), 1).double()], 1)
    unweighted = torch.linalg.lstsq(design, centres).solution[:2].T
    assert (unweighted - MATRIX).abs().max() > 0.012
    assert (measured_descan(positions, centres).matrix - MATRIX).abs().max() < 0.004


@pytest.mark.parametrize("positions", [raster(1, 40), raster(3, 3)], ids=["a line", "too few"])
def test_a_line_or_too_few_positions_tell_nothing(positions):
    found = measured_descan(positions, positions @ MATRIX.T)
    assert found.significance == 0 and not found.matrix.any()

"""What a scan has measured is what lies between its positions, also with a focused probe."""

import numpy as np
import pytest
import torch

from dptt.assembly.ptychography import relative_illumination
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState

PIXEL, STEP = 0.4, 1.2  # Å
GEOMETRY = Geometry(300e3, (1, 50, 46), (1.0, PIXEL, PIXEL), (16, 16), 1)


def illumination(width: float) -> np.ndarray:
    """Return that of 9 x 8 positions of a Gaussian probe of this standard deviation of its intensity [Å]."""
    y, x = ((np.arange(n) - n // 2) * STEP for n in (9, 8))
    positions = torch.from_numpy(np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2))
    axis = (torch.arange(16) - 8) * PIXEL
    probe = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (4 * width**2)).to(torch.complex128)
    poses = torch.zeros((1, 3)).double(), torch.zeros((1, 2)).double()
    state = TomographyState.initial(GEOMETRY.volume_shape, torch.complex128, [probe[None]], [positions], *poses)
    return relative_illumination(state, GEOMETRY)


@pytest.mark.parametrize("width", [0.2, 1.0])
def test_the_inside_of_a_scan_is_measured_whatever_the_width_of_the_probe(width):
    lit = illumination(width)
    inside = lit[25 - 9 : 25 + 10, 23 - 9 : 23 + 7]  # a step within the first and last positions
    assert inside.min() > 0.8 and lit.max() == 1
    assert lit[:7].max() < 0.1 and lit[:, :5].max() < 0.1, "outside it is not"

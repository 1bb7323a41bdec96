"""Probabilities of elements mean what they say: of the sites that are called 90 %, about 90 % are right."""

import pytest
import torch
from torch import Tensor

from dptt.solvers.atoms.elements import choice


def counted(strength: float, difference: float, excess: float) -> tuple[Tensor, Tensor]:
    """Return probability and truth of what is chosen for 4000 sites of two elements, measured with unit noise.

    Site by site, `pixels` are a linear function of position, B and of one of two elements, which differ by
    `difference` in strength and by 3 % in shape; occupancies scatter by `excess` beyond the noise.
    """
    generator, count, pixels = torch.Generator().manual_seed(0), 4000, 60

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    derivatives = strength * random(pixels, 5) / pixels**0.5
    other = (1 + difference) * derivatives[:, 3] + 0.03 * strength * random(pixels) / pixels**0.5
    elements = torch.stack([derivatives[:, 3], other], dim=1)
    true = torch.randint(0, 2, (count,), generator=generator)
    occupancies = 1 + excess * random(count)
    measured = occupancies[:, None] * elements.T[true] + random(count, pixels)
    fitted = torch.linalg.lstsq(derivatives, measured.T).solution.T  # every site as the first element
    columns = torch.cat([derivatives, elements], dim=1)
    gradient = (fitted @ derivatives.T - measured) @ columns
    blocks = (columns.T @ columns).repeat(count, 1, 1)
    chosen = choice(gradient, blocks, fitted[:, 3].clone(), (45, 46))
    likeliest = chosen.probabilities.max(dim=1)
    return likeliest.values, likeliest.indices == true


@pytest.mark.parametrize(("strength", "difference", "excess"), [(30, 0.06, 0.0), (60, 0.03, 0.0), (100, 0.06, 0.03)])
def test_of_sites_called_90_percent_85_to_95_percent_are_right(strength, difference, excess):
    probabilities, right = counted(strength, difference, excess)
    called = (probabilities > 0.87) & (probabilities < 0.93)
    assert called.sum() > 300
    assert 0.85 < right[called].double().mean().item() < 0.95


def test_coin_tosses_are_called_coin_tosses():
    probabilities, right = counted(30, 0.06, 0.0)
    called = probabilities < 0.6
    assert called.sum() > 300
    assert right[called].double().mean().item() == pytest.approx(0.55, abs=0.06)

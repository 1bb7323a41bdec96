"""Error bars of fitted atoms: (fitted - true) / error scatters by 1, also where the model is wrong."""

from dataclasses import replace

import pytest
import torch
from checks import random_tensor
from test_atom_objective import on_ranks
from three_atoms import intensities, problem_of, scan, true_model, vibrating_model

from dptt.model.atoms import Atoms
from dptt.solvers.atoms import AtomModel
from dptt.solvers.atoms.errors import misfit_factors
from dptt.solvers.atoms.information import information, standard_errors
from dptt.solvers.atoms.objective import evaluate
from dptt.solvers.atoms.rehearsal import growth, simulated

TILTS = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)


def cluster() -> AtomModel:
    """Return 13 platinum atoms, a centre and twelve neighbours 2.7 Å from it, in seven tilts."""
    golden = torch.arange(12).double() * 2.399963
    height = 1 - (torch.arange(12).double() + 0.5) / 6
    ring = (1 - height**2).sqrt()
    shell = 2.7 * torch.stack([height, ring * torch.cos(golden), ring * torch.sin(golden)], dim=1)
    positions = torch.cat([torch.zeros(1, 3).double(), shell])
    atoms = Atoms(positions, torch.ones(13).double(), torch.full((13,), 0.4).double(), torch.full((13,), 78))
    angles = torch.tensor([[0.0, theta, 0.0] for theta in TILTS], dtype=torch.float64)
    model = true_model()
    translations, scans = torch.zeros(len(TILTS), 2).double(), torch.zeros(len(TILTS), 4).double()
    return AtomModel(atoms, (model.probes[0],) * len(TILTS), angles, translations, scans)


def ratios(
    truth: AtomModel, assumed: AtomModel, seed: int, blocks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (fitted - true) / error after one Newton step from `assumed`, and the factor of the errors."""
    evaluation = evaluate(problem_of(truth, seed=seed, scanned=scan(6, 1.2)), assumed)
    moves = -torch.linalg.solve(blocks, evaluation.by_atom[..., None])[..., 0]
    factors = misfit_factors(evaluation.by_atom_in_tilt, blocks, figure=1.0)
    return moves / (standard_errors(blocks) * factors), factors


@pytest.fixture(scope="module")
def blocks() -> torch.Tensor:
    truth = cluster()
    return information(problem_of(truth, scanned=scan(6, 1.2)), truth, draws=210, patterns=9).atoms


@pytest.mark.slow
def test_errors_are_right_along_every_axis_where_only_shot_noise_is_wrong(blocks):
    truth = cluster()
    values, factors = zip(*(ratios(truth, truth, seed, blocks) for seed in range(1, 9)), strict=True)
    scatter = torch.cat(values).square().mean(dim=0).sqrt()
    assert scatter.sub(1).abs().max() < 0.2  # 104 numbers each: 1 ± 0.07
    assert torch.cat(values)[:, :3].square().mean().sqrt().item() == pytest.approx(1, abs=0.1)  # ± 0.04
    assert torch.stack(factors).mean().item() == pytest.approx(1, abs=0.12)


def test_errors_grow_by_what_a_wrong_model_does_in_one_tilt_and_not_in_the_next(blocks):
    """Translations that are wrong by far more than shot noise tells, and not fitted."""
    truth, values, factors = cluster(), [], []
    for seed in range(1, 9):
        translations = truth.translations + 0.03 * random_tensor(len(TILTS), 2, seed=seed)
        value, factor = ratios(truth, replace(truth, translations=translations), seed, blocks)
        values.append(value)
        factors.append(factor)
    assert min(factor[1].item() for factor in factors) > 1.5
    scatter = torch.cat(values)[:, 1:3].square().mean().sqrt().item()
    assert 0.6 < scatter < 1.5  # sixteen motions of all atoms together


def test_the_factor_is_that_of_the_scatter_of_the_gradients_of_tilts():
    """Gradients three times as large as shot noise makes them in one parameter, and as it makes them in another."""
    blocks = torch.eye(5).double().repeat(400, 1, 1) * 12
    gradients = random_tensor(12, 400, 5, seed=3)  # information 1 from each of 12 tilts
    gradients[..., 2] *= 3
    factors = misfit_factors(gradients, blocks, figure=1.0)
    torch.testing.assert_close(factors, torch.tensor([1, 1, 3, 1, 1]).double(), rtol=0.06, atol=0)
    assert misfit_factors(gradients[:2], blocks, figure=1.21).tolist() == pytest.approx([1.1] * 5)
    assert misfit_factors(gradients / 2, blocks, figure=1.0, least=1.0).tolist() == pytest.approx(
        [1, 1, 1.5, 1, 1], rel=0.06
    )
    few = misfit_factors(gradients[:, :2], blocks[:2], figure=1.0)
    assert few.std().item() < 1e-12 and few[0].item() > 1.2


@pytest.mark.parametrize("vibrating", [False, True])
def test_a_rehearsal_is_of_counts_that_the_model_would_give(vibrating):
    model = vibrating_model() if vibrating else true_model()
    problem = replace(problem_of(model), stride=2)
    alone = simulated(problem, model)
    for tilt, patterns in enumerate(alone.tilts):
        used = problem.used(tilt)
        counts, means = patterns.read(used).double(), intensities(problem, model, tilt)[used]
        assert torch.equal(counts, counts.round())
        bright = means > 5
        chi_squared = ((counts - means).square() / means)[bright].mean().item()
        assert chi_squared == pytest.approx(1, abs=5 * (2 / int(bright.sum())) ** 0.5)
        assert counts.sum().item() == pytest.approx(means.sum().item(), abs=5 * means.sum().sqrt().item())
        torch.testing.assert_close(patterns.read(used.flip(0)).double(), counts.flip(0), rtol=0, atol=0)
    shared = on_ranks(2, lambda communicator: simulated(replace(problem, communicator=communicator), model))
    for tilt, patterns in enumerate(alone.tilts):
        both = torch.cat([of_rank.tilts[tilt].counts for of_rank in shared])
        torch.testing.assert_close(both, patterns.counts, rtol=0, atol=1)  # rounding may tip a count
        assert (both != patterns.counts).double().mean() < 1e-3


def test_errors_grow_by_how_far_a_rehearsed_fit_moves():
    errors = 0.01 * torch.ones(4000, 5).double()
    scale = torch.tensor([1.0, 1.5, 2.0, 0.5, 1.2]).double()
    moved = scale * errors * random_tensor(4000, 5, seed=1)
    expected = torch.tensor([1.0, 1.5, 2.0, 1.0, 1.2]).double()
    torch.testing.assert_close(growth(moved, errors), expected, rtol=0.05, atol=0)
    few = growth(moved[:20], errors[:20])
    torch.testing.assert_close(few, (moved[:20] / errors[:20]).square().mean().sqrt().expand(5))
    errors[7] = torch.inf
    assert growth(moved, errors).isfinite().all()

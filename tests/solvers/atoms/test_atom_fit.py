"""Fits of atoms to simulated counts: positions, elements and error bars come out right, wrong starts are mended."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import random_tensor
from three_atoms import GEOMETRY, TILTS, intensities, problem_of, true_model, vibrating_model

from dptt.model.atoms import Atoms
from dptt.physics.multislice import propagate
from dptt.solvers.atoms import AtomFitError, AtomFitSettings, AtomModel, FittedAtoms, Progress, Stage, fit_atoms
from dptt.solvers.atoms.descent import descend
from dptt.solvers.atoms.elements import choice
from dptt.solvers.atoms.information import information, standard_errors
from dptt.solvers.atoms.problem import with_vibrations

SETTINGS = AtomFitSettings(
    elements=(28, 46, 78),
    iterations=12,
    rounds=2,
    probes=False,
    poses=False,
    scans=False,
    least_scan=0.0,
    thermal="smeared",
    false_rate=0.05,
    draws=40,
    min_separation=1.2,
)


def disturbed(model: AtomModel, seed: int, element: int = 46) -> AtomModel:
    """Return the model with atoms 0.05 Å off, all of one element, occupied as by their heights in a volume."""
    atoms = model.atoms
    start = Atoms(
        atoms.positions + 0.03 * random_tensor(3, 3, seed=seed),
        torch.tensor([0.7, 1.0, 1.3], dtype=torch.float64),
        atoms.b_factors + 0.2,
        torch.full_like(atoms.atomic_numbers, element),
    )
    return model.with_atoms(start)


def fitted(seed: int, start: AtomModel | None = None) -> FittedAtoms:
    truth = true_model()
    problem = problem_of(truth, seed=seed)
    return fit_atoms(problem, problem, start or disturbed(truth, seed), SETTINGS)


@pytest.fixture(scope="module")
def fits() -> list[FittedAtoms]:
    return [fitted(seed) for seed in range(1, 3)]


@pytest.mark.slow
def test_positions_are_found_within_their_error_bars_and_these_are_right(fits):
    true = true_model().atoms.positions
    ratios = torch.stack([(fit.model.atoms.positions - true) / fit.errors[:, :3] for fit in fits])
    assert 0.5 < ratios.square().mean().sqrt().item() < 1.5  # 18 numbers: 1 ± 0.17
    assert max(fit.errors[:, :3].max().item() for fit in fits) < 0.03


def test_elements_are_told_blind(fits):
    for fit in fits:
        assert fit.elements.atomic_numbers.tolist() == [28, 46, 78]
        assert fit.elements.told.all()
        torch.testing.assert_close(fit.elements.probabilities.sum(1), torch.ones(3).double())


def test_counts_of_the_model_itself_are_explained_to_the_shot_noise(fits):
    for fit in fits:
        assert fit.figure == pytest.approx(1, abs=5 * fit.figure_uncertainty)


@pytest.mark.slow
def test_a_false_atom_is_removed_and_a_missing_one_added():
    truth = true_model()
    start = disturbed(truth, 5).atoms.chosen(torch.tensor([0, 2]))
    false = Atoms(torch.tensor([[-0.5, -1.0, -1.6]]).double(), *torch.ones(2, 1).double(), torch.tensor([46]))
    fit = fitted(5, truth.with_atoms(start.joined(false)))
    assert fit.removed == fit.added >= 1
    order = fit.model.atoms.atomic_numbers.argsort()
    assert fit.model.atoms.atomic_numbers[order].tolist() == [28, 46, 78]
    torch.testing.assert_close(fit.model.atoms.positions[order], truth.atoms.positions, rtol=0, atol=0.05)


@pytest.mark.slow
def test_wrong_poses_are_found_with_the_atoms():
    truth = true_model()
    problem = problem_of(truth, seed=6)
    start = disturbed(truth, 6)
    angles, translations = start.euler_angles.clone(), start.translations.clone()
    angles[1, 1] += 1.6
    translations[2] += torch.tensor([0.06, -0.05])
    start = replace(start, euler_angles=angles, translations=translations)
    fit = fit_atoms(problem, problem, start, replace(SETTINGS, poses=True, rounds=0))
    assert fit.figure < 1 + 5 * fit.figure_uncertainty
    assert fit.elements.atomic_numbers.tolist() == [28, 46, 78]
    distances = [torch.pdist(model.atoms.positions) for model in (fit.model, truth)]  # a common motion is left open
    torch.testing.assert_close(*distances, rtol=0, atol=0.03)
    between = [model.euler_angles[1, 1] - model.euler_angles[[0, 2], 1].mean() for model in (fit.model, truth)]
    assert abs(between[0] - between[1]) < 0.6


@pytest.mark.slow
def test_wrong_probes_are_found_with_the_atoms():
    truth = true_model()
    problem = problem_of(truth, seed=6)
    start = replace(disturbed(truth, 6), probes=tuple(0.97 * probe for probe in truth.probes))
    fit = fit_atoms(problem, problem, start, replace(SETTINGS, probes=True, rounds=0))
    assert fit.figure < 1 + 5 * fit.figure_uncertainty
    assert fit.elements.atomic_numbers.tolist() == [28, 46, 78]
    for found, right in zip(fit.model.probes, truth.probes, strict=True):
        electrons = found.abs().square().sum() / right.abs().square().sum()
        assert electrons.item() == pytest.approx(1, abs=0.01)  # 0.94 at the start


def test_a_probe_out_of_focus_is_focused_in_few_steps():
    truth = true_model()
    problem = problem_of(truth, seed=6)
    defocus = GEOMETRY.propagator(15.0, torch.complex128)
    start = replace(truth, probes=tuple(propagate(probe, defocus) for probe in truth.probes))
    settings = replace(SETTINGS, probes=True, rounds=0, iterations=10)
    fit = fit_atoms(problem, problem, Progress(start, Stage.FINAL), settings)
    for found, right in zip(fit.model.probes, truth.probes, strict=True):
        overlap = (found.conj() * right).sum().abs() / (found.norm() * right.norm())
        assert overlap.item() > 0.994  # 0.978 at the start; 0.984 if phases had the curvature of amplitudes
    assert fit.figure < 1 + 5 * fit.figure_uncertainty


def test_a_fit_that_begins_with_some_of_the_positions_ends_at_the_same_atoms(fits, monkeypatch):
    monkeypatch.setattr("dptt.solvers.atoms.fit.FEWEST_PATTERNS", 12)
    lines: list[str] = []
    truth = true_model()
    problem = problem_of(truth, seed=1)
    begun = fit_atoms(problem, problem, disturbed(truth, 1), SETTINGS, lines.append)
    stride = len(problem.positions[0]) // 12
    assert stride > 1 and any(f"to 1 of {stride} patterns" in line for line in lines)
    moved = (begun.model.atoms.packed() - fits[0].model.atoms.packed()) / fits[0].errors
    assert moved.abs().max() < 0.4
    assert begun.errors.log().sub(fits[0].errors.log()).abs().max() < 0.3


@pytest.mark.parametrize("vibrating", [True, False])
def test_thermal_motion_is_modelled_as_the_patterns_have_it(vibrating):
    truth = vibrating_model() if vibrating else true_model()
    problem, lines = problem_of(truth, seed=1), []
    start = replace(disturbed(truth, 1), vibrations=None)
    settings = replace(SETTINGS, thermal="auto", rounds=0, iterations=6)
    fit = fit_atoms(problem, problem, start, settings, lines.append)
    assert (fit.model.vibrations is not None) == vibrating
    said = [line for line in lines if line.startswith("thermal motion")]
    assert len(said) == 1 and ("better than smeared" if vibrating else "less than smeared") in said[0]
    assert fit.figure == pytest.approx(1, abs=5 * fit.figure_uncertainty)
    assert ((fit.model.atoms.packed() - truth.atoms.packed()) / fit.errors).abs().max() < 4


def test_smeared_atoms_are_kept_where_vibrating_ones_cannot_be_fitted(monkeypatch):
    def divergent(problem, model, elements):
        found = with_vibrations(problem, model, elements)
        return replace(found, probes=tuple(probe * math.nan for probe in found.probes))

    monkeypatch.setattr("dptt.solvers.atoms.moves.with_vibrations", divergent)
    truth, lines = true_model(), []
    problem = problem_of(truth, seed=1)
    settings = replace(SETTINGS, thermal="auto", rounds=0, iterations=6)
    fit = fit_atoms(problem, problem, disturbed(truth, 1), settings, lines.append)
    assert any(re.search("thermal motion: .* cannot be fitted .the loss is nan", line) for line in lines)
    assert fit.model.vibrations is None
    assert ((fit.model.atoms.packed() - truth.atoms.packed()) / fit.errors).abs().max() < 4


def test_an_element_that_was_chosen_too_early_is_chosen_again():
    truth = true_model()
    problem = problem_of(truth, seed=1)
    right = truth.atoms
    wrong = Atoms(
        right.positions, torch.tensor([1.0, 1.5, 1.0]).double(), right.b_factors, torch.tensor([28, 28, 78])
    )
    fit = fit_atoms(problem, problem, Progress(truth.with_atoms(wrong), Stage.FINAL), replace(SETTINGS, rounds=0))
    assert fit.model.atoms.atomic_numbers.tolist() == fit.elements.atomic_numbers.tolist() == [28, 46, 78]
    torch.testing.assert_close(fit.model.atoms.occupancies, right.occupancies, rtol=0, atol=0.1)


class Stopped(Exception):
    pass


def test_a_fit_that_is_continued_after_any_step_comes_to_the_same_atoms(fits):
    truth, reached = true_model(), []
    problem, start = problem_of(truth, seed=1), disturbed(truth, 1)

    def stop_after(number: int):
        def after_step(progress: Progress) -> None:
            reached.append(progress)
            if len(reached) == number:
                raise Stopped

        return after_step

    for steps in (2, 5):
        with pytest.raises(Stopped):
            fit_atoms(problem, problem, start, SETTINGS, after_step=stop_after(steps))
        start = reached[-1]
    fit = fit_atoms(problem, problem, start, SETTINGS)
    assert fit.passes > start.passes > reached[1].passes > 0
    moved = (fit.model.atoms.packed() - fits[0].model.atoms.packed()) / fits[0].errors
    assert moved.abs().max() < 0.3
    assert fit.elements.atomic_numbers.tolist() == fits[0].elements.atomic_numbers.tolist()


def test_patterns_that_need_none_of_the_atoms_are_an_error():
    truth = true_model()
    empty = truth.with_atoms(Atoms(truth.atoms.positions, *torch.zeros(2, 3).double(), truth.atoms.atomic_numbers))
    problem = problem_of(empty, seed=1)
    with pytest.raises(AtomFitError, match="the patterns need none of the 3 traced atoms"):
        fit_atoms(problem, problem, disturbed(truth, 1), SETTINGS)


def test_the_information_is_that_of_the_derivatives_of_all_pixels():
    model, problem = true_model(), problem_of(true_model())
    exact = torch.zeros(3, 5, 5, dtype=torch.float64)
    for tilt in range(len(TILTS)):
        floor = problem.misfit(tilt, torch.device("cpu")).epsilon
        mean = intensities(problem, model, tilt)
        for atom in range(3):
            columns = []
            for column in range(5):
                sides = []
                for sign in (-1, 1):
                    packed = model.atoms.packed()
                    packed[atom, column] += sign * 1e-3
                    sides.append(intensities(problem, model.with_atoms(model.atoms.with_parameters(packed)), tilt))
                columns.append((sides[1] - sides[0]).flatten() / 2e-3)
            jacobian = torch.stack(columns) / (mean.flatten() + floor).sqrt()
            exact[atom] += jacobian @ jacobian.T
    sampled = information(problem, model, draws=150, patterns=36).atoms
    ratio = torch.einsum("app->ap", sampled) / torch.einsum("app->ap", exact)
    assert ratio.sub(1).abs().max() < 0.35
    assert ratio.mean().item() == pytest.approx(1, abs=0.08)
    errors = standard_errors(sampled) / torch.linalg.inv(exact).diagonal(dim1=1, dim2=2).sqrt()
    assert errors.sub(1).abs().max() < 0.25


def test_a_probe_in_vacuum_tells_its_amplitudes_and_not_its_phases():
    truth = true_model()
    nothing = replace(truth.atoms, occupancies=torch.zeros(3).double())
    told = information(problem_of(truth), truth.with_atoms(nothing), draws=60, patterns=25).probes
    largest = 4 * 25  # of every pattern
    assert told[..., 0].mean().item() == pytest.approx(largest, rel=0.1)
    assert told[..., 1].max().item() < 1e-6 * largest
    behind_atoms = information(problem_of(truth), truth, draws=60, patterns=25).probes
    assert 1e-3 * largest < behind_atoms[..., 1].mean().item() < 0.3 * largest


def test_the_expected_loss_is_that_of_all_patterns_whatever_the_draws():
    model, problem = true_model(), problem_of(true_model())
    all_of_them = information(problem, model, draws=3, patterns=25)
    some = information(problem, model, draws=30, patterns=5)
    assert some.expected_loss == pytest.approx(all_of_them.expected_loss, rel=0.02)
    assert some.loss_variance == pytest.approx(all_of_them.loss_variance, rel=0.05)


def test_an_element_that_cannot_be_told_is_said_so():
    """Two elements of which each fits with an occupancy of 0.97 and 1.03, with errors as large as that."""
    columns = 7
    blocks = torch.eye(columns).double().repeat(4, 1, 1)
    strength = 1 / 0.05**2
    potential = torch.tensor([1.0, 1.06]).double()
    for row, left in ((3, 1.0), (5, potential[0]), (6, potential[1])):
        for column, right in ((3, 1.0), (5, potential[0]), (6, potential[1])):
            blocks[:, row, column] = strength * left * right
    present = torch.tensor([1.03, 1.03, 1.0, 1.06]).double()
    choices = choice(torch.zeros(4, columns).double(), blocks, present, (45, 46))
    assert choices.told.tolist() == [False] * 4
    torch.testing.assert_close(choices.occupancies[:, 0], present / potential[0], rtol=1e-4, atol=0)
    surer = blocks.clone()
    surer[:, 3:, 3:] *= 400
    told = choice(torch.zeros(4, columns).double(), surer, torch.tensor([1.0, 1.0, 1.06, 1.06]).double(), (45, 46))
    assert told.told.all()
    assert told.atomic_numbers.tolist() == [45, 45, 46, 46]


def test_descent_reaches_the_minimum_of_a_narrow_valley():
    """Rosenbrock's valley, from its usual start."""

    def valley(place: torch.Tensor):
        x, y = place
        value = (1 - x) ** 2 + 100 * (y - x**2) ** 2
        slope = torch.stack([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])
        return value.item(), slope, None

    end = descend(
        valley,
        torch.tensor([-1.2, 1.0]).double(),
        lambda gradient: gradient / 400,
        iterations=100,
        settled=lambda step, gradient, fall: step.norm().item() < 1e-9,
    )
    np.testing.assert_allclose(end.place, [1, 1], atol=1e-6)


def test_what_one_descent_has_learned_shortens_the_next():
    curvature = torch.logspace(0, 3, 12, dtype=torch.float64)

    def bowl(centre: float):
        return lambda place: (
            (curvature * (place - centre) ** 2).sum().item() / 2,
            curvature * (place - centre),
            None,
        )

    def steps(pairs) -> int:
        taken: list[int] = []
        descend(
            bowl(1.1),
            torch.ones(12).double(),
            lambda gradient: gradient / 1000,
            iterations=60,
            settled=lambda step, gradient, fall: step.norm().item() < 1e-6,
            on_step=lambda number, point: taken.append(number),
            pairs=pairs,
        )
        return len(taken)

    learned: list = []
    descend(
        bowl(1.0),
        torch.zeros(12).double(),
        lambda gradient: gradient / 1000,
        iterations=30,
        settled=lambda step, gradient, fall: step.norm().item() < 1e-6,
        pairs=learned,
    )
    assert steps(learned) < 0.7 * steps([])


def test_the_probes_move_to_another_grid_without_a_change():
    model = true_model()
    finer = type(GEOMETRY)(200e3, (5, 60, 58), (1.0, 0.2, 0.2), (36, 34), 5)
    back = model.on_grid(GEOMETRY, finer).on_grid(finer, GEOMETRY)
    torch.testing.assert_close(back.probes[0], model.probes[0])

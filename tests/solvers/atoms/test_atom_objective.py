"""The likelihood of atoms: its gradient against finite differences, and its sum over ranks."""

import threading
from dataclasses import replace

import pytest
import torch
from checks import random_tensor
from three_atoms import problem_of, true_model, vibrating_model

from dptt.distributed.comm import SerialCommunicator
from dptt.model.calibration import BLUR, DESCAN, NUM_PARAMETERS, ZERO_ANGLE
from dptt.solvers.atoms.information import information
from dptt.solvers.atoms.objective import evaluate
from dptt.solvers.atoms.problem import AtomModel, AtomProblem, with_vibrations


class Threads:
    """As many ranks as threads, which meet to add their tensors in the order of the ranks."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.parts = size, threading.Barrier(size, timeout=30), [torch.empty(0)] * size

    def rank(self, number: int) -> SerialCommunicator:
        shared = self

        class Rank(SerialCommunicator):
            rank, size = number, shared.size

            def sum_(self, tensor):
                shared.parts[number] = tensor.clone()
                shared.barrier.wait()
                tensor.copy_(torch.stack(shared.parts).sum(0))
                shared.barrier.wait()
                return tensor

        return Rank()


def on_ranks(size: int, function):
    """Return the results of `function(communicator)` on every rank."""
    threads, results = Threads(size), [None] * size

    def work(number: int) -> None:
        try:
            results[number] = function(threads.rank(number))
        except BaseException as error:
            threads.barrier.abort()
            results[number] = error

    running = [threading.Thread(target=work, args=(number,)) for number in range(size)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.fixture(scope="module")
def problem() -> AtomProblem:
    return problem_of(true_model())  # mean counts: the loss has a kink far from its mean


def away_from_truth() -> AtomModel:
    model = true_model()
    return model.with_atoms(model.atoms.with_parameters(model.atoms.packed() + 0.02 * random_tensor(3, 5, seed=7)))


def fourth_order(value, step: float) -> float:
    return (value(-2 * step) - 8 * value(-step) + 8 * value(step) - value(2 * step)) / (12 * step)


@pytest.mark.parametrize("column", range(5), ids=["z", "y", "x", "occupancy", "b_factor"])
def test_the_gradient_by_every_parameter_of_an_atom_is_exact(problem, column):
    model = away_from_truth()
    gradient = evaluate(problem, model).by_atom
    for atom in range(3):

        def value(change: float, atom=atom) -> float:
            packed = model.atoms.packed()
            packed[atom, column] += change
            return evaluate(problem, model.with_atoms(model.atoms.with_parameters(packed))).loss

        assert gradient[atom, column].item() == pytest.approx(fourth_order(value, 2e-3), rel=1e-6)


def test_the_gradient_by_atoms_and_poses_that_vibrate_is_exact():
    truth = vibrating_model()
    problem, model = problem_of(truth), replace(truth, atoms=away_from_truth().atoms)
    evaluation = evaluate(problem, model)
    atoms, poses = random_tensor(3, 5, seed=4), random_tensor(3, 5, seed=5)

    def value(change: float) -> float:
        moved = model.poses() + change * poses
        changed = model.atoms.with_parameters(model.atoms.packed() + change * atoms)
        return evaluate(
            problem, replace(model, atoms=changed, euler_angles=moved[:, :3], translations=moved[:, 3:])
        ).loss

    slope = (evaluation.by_atom * atoms).sum() + (evaluation.by_pose * poses).sum()
    assert slope.item() == pytest.approx(fourth_order(value, 5e-4), rel=1e-6)


def test_patterns_with_diffuse_scattering_are_explained_by_atoms_that_vibrate():
    truth = vibrating_model()
    problem, smeared = problem_of(truth), replace(truth, vibrations=None)
    of_truth = evaluate(problem, truth)
    assert of_truth.loss < 1e-6 * evaluate(problem, smeared).loss
    assert of_truth.by_atom.abs().max() < 1e-4 * evaluate(problem, smeared).by_atom.abs().max()
    noisy, told = problem_of(truth, seed=3), information(problem, truth, draws=60, patterns=25)
    assert evaluate(noisy, truth).loss == pytest.approx(told.expected_loss, abs=5 * told.loss_variance**0.5)


@pytest.mark.parametrize("column", range(5), ids=["phi", "theta", "psi", "tau_y", "tau_x"])
def test_the_gradient_by_a_pose_is_exact(problem, column):
    model = away_from_truth()

    def value(change: float) -> float:
        poses = model.poses()
        poses[2, column] += change
        return evaluate(problem, replace(model, euler_angles=poses[:, :3], translations=poses[:, 3:])).loss

    expected = fourth_order(value, 5e-3 if column < 3 else 5e-4)
    assert evaluate(problem, model).by_pose[2, column].item() == pytest.approx(expected, rel=1e-6)


def test_the_gradient_by_a_probe_is_exact(problem):
    model = away_from_truth()
    direction = 0.02 * torch.view_as_complex(random_tensor(1, 18, 17, 2, seed=9)) * model.probes[1].abs().max()
    gradient = evaluate(problem, model).by_probe[1]

    def value(change: float) -> float:
        probes = (model.probes[0], model.probes[1] + change * direction, model.probes[2])
        return evaluate(problem, replace(model, probes=probes)).loss

    by_direction = torch.vdot(gradient.flatten(), direction.flatten()).real.item()
    assert by_direction == pytest.approx(fourth_order(value, 1e-3), rel=1e-6)


def test_an_atom_that_is_missing_would_lower_the_loss_by_its_occupancy(problem):
    model = true_model()
    without = model.with_atoms(model.atoms.chosen(torch.tensor([0, 1])))
    missing = model.atoms.chosen(torch.tensor([2]))
    slope = evaluate(problem, without, [missing]).by_occupancy[0].item()

    def value(occupancy: float) -> float:
        added = replace(missing, occupancies=torch.tensor([occupancy]).double())
        return evaluate(problem, without.with_atoms(without.atoms.joined(added))).loss

    assert slope < 0
    assert slope == pytest.approx(fourth_order(value, 1e-3), rel=1e-5)


@pytest.mark.parametrize(("size", "vibrating"), [(2, False), (3, True)])
def test_loss_gradient_and_information_are_the_same_on_any_number_of_ranks(problem, size, vibrating):
    model = away_from_truth()
    if vibrating:
        model = with_vibrations(problem, model, (28, 46, 78))

    def found(communicator):
        shared = replace(problem, communicator=communicator)
        evaluation, told = evaluate(shared, model), information(shared, model, draws=15, patterns=5)
        return torch.cat(
            [
                torch.tensor([evaluation.loss, told.expected_loss, told.loss_variance]).double(),
                evaluation.by_atom.flatten(),
                evaluation.by_pose.flatten(),
                evaluation.by_scan.flatten(),
                torch.view_as_real(evaluation.by_probe[1]).flatten(),
                told.atoms.flatten(),
                told.poses.flatten(),
                told.scans.flatten(),
                told.strain.flatten(),
                told.probes.flatten(),
            ]
        )

    alone = found(SerialCommunicator())
    for of_rank in on_ranks(size, found):
        torch.testing.assert_close(of_rank, alone, rtol=1e-10, atol=1e-10 * alone.abs().max().item() * 1e-3)


def test_some_of_the_scan_positions_are_shared_by_ranks_and_stand_for_all(problem):
    model, some = away_from_truth(), replace(problem, stride=3)
    positions = [some.used(tilt) for tilt in range(len(problem.tilts))]
    assert all((used // 3).tolist() == list(range(len(used))) for used in positions)  # one of each three in a row
    assert len({tuple((used % 3).tolist()) for used in positions}) > 1, "every tilt has its own"
    alone = evaluate(some, model)
    assert alone.patterns == sum(map(len, positions))
    for of_rank in on_ranks(2, lambda communicator: evaluate(replace(some, communicator=communicator), model)):
        torch.testing.assert_close(of_rank.by_atom, alone.by_atom, rtol=1e-10, atol=1e-7)
    every = information(problem, model, draws=90, patterns=30)
    assert information(some, model, draws=90, patterns=30).of_more(3.0).expected_loss == pytest.approx(
        every.expected_loss, rel=0.15
    )


def test_patterns_of_a_detector_that_blurs_have_the_right_derivatives_information_and_noise():
    calibration = torch.zeros(NUM_PARAMETERS).double()
    calibration[BLUR] = 0.4
    truth, moved = true_model(), away_from_truth()
    problem = problem_of(truth, calibration=calibration)
    unaware = replace(problem, calibrations=[0 * calibration] * len(problem.tilts))
    assert abs(evaluate(problem, truth).loss) < 1e-3 * evaluate(unaware, truth).loss
    direction = random_tensor(3, 5, seed=4)

    def along(model: AtomModel, change: float) -> AtomModel:
        return model.with_atoms(model.atoms.with_parameters(model.atoms.packed() + change * direction))

    slope = (evaluate(problem, moved).by_atom * direction).sum().item()
    assert slope == pytest.approx(fourth_order(lambda c: evaluate(problem, along(moved, c)).loss, 5e-4), rel=1e-6)
    found = information(problem, truth, draws=1500, patterns=25)
    diagonal = torch.einsum("app->ap", found.atoms)
    for atom, column in ((0, 1), (1, 2), (2, 3)):
        step = torch.zeros(3, 5).double()
        step[atom, column] = 1e-4

        def by_atom(way: int, step=step, atom=atom, column=column) -> float:
            changed = truth.with_atoms(truth.atoms.with_parameters(truth.atoms.packed() + way * step))
            return evaluate(problem, changed).by_atom[atom, column].item()

        assert diagonal[atom, column].item() == pytest.approx((by_atom(1) - by_atom(-1)) / 2e-4, rel=0.12)
    noisy = problem_of(truth, seed=3, calibration=calibration)
    assert evaluate(noisy, truth).loss == pytest.approx(found.expected_loss, abs=5 * found.loss_variance**0.5)


def test_patterns_that_the_descan_displaces_are_fitted_where_they_are():
    calibration = torch.zeros(NUM_PARAMETERS).double()
    calibration[DESCAN] = torch.tensor([0.3, -0.1, 0.2, -0.4]).double()
    calibration[ZERO_ANGLE] = torch.tensor([0.25, -0.5]).double()
    truth = true_model()
    problem = problem_of(truth, calibration=calibration)
    unaware = replace(problem, calibrations=[0 * calibration] * len(problem.tilts))
    fitted = evaluate(problem, truth).loss
    assert abs(fitted) < 1e-3 * evaluate(unaware, truth).loss

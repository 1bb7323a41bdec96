"""Which patterns an update sees, in which order, and what is done to the volume after it."""

from dataclasses import replace

import pytest
import torch
from checks import random_tensor
from small_series import TILTS, make_truth, run
from solver_settings import refinement, regularisation, tomography_settings

from dptt.kernels import power_sums, threshold_
from dptt.solvers.tomography.constraints import thresholds, typical_potential
from dptt.solvers.tomography.minibatches import random_generator, split_held_out


@pytest.mark.parametrize("fraction,expected", [(0.0, 0), (0.1, 4), (0.02, 1)])
def test_held_out_and_training_positions_are_disjoint_and_complete(fraction, expected):
    training, held_out = split_held_out(37, 2, tomography_settings(validation_fraction=fraction))
    assert len(held_out) == expected
    assert sorted(training.tolist() + held_out.tolist()) == list(range(37))
    assert (training.diff() > 0).all() and (held_out.diff() > 0).all()


def test_held_out_positions_depend_on_seed_and_tilt_alone():
    def held_out(tilt, **settings):
        return split_held_out(100, tilt, tomography_settings(validation_fraction=0.2, **settings))[1].tolist()

    assert held_out(1) == held_out(1, epochs=77, batches=9)
    assert len({tuple(held_out(tilt, seed=seed)) for tilt in range(3) for seed in range(3)}) == 9


def test_random_numbers_differ_between_seeds_epochs_and_tilts():
    draws = {
        torch.rand(1, generator=random_generator(seed, epoch, tilt)).item()
        for seed in range(4)
        for epoch in range(-1, 4)
        for tilt in range(-1, 4)
    }
    assert len(draws) == 4 * 5 * 5


def test_any_seed_a_user_may_think_of_works():
    for seed in (20260101, 2**31 - 1, 2**32 - 1):
        random_generator(seed, 1000, 500)


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture
def series(truth):
    return truth.series()


def test_every_epoch_reads_each_pattern_once_in_reshuffled_batches_of_adjacent_positions(truth, series):
    settings = {"epochs": 4, "batches": 3, "validation_fraction": 0.1, "weigh_tilts": False}  # which reads a sample
    run(truth.start(), series, **settings)
    training, held_out = split_held_out(36, 1, tomography_settings(**settings))
    batches = [batch.tolist() for batch in training.tensor_split(3)]
    assert all(max(map(len, batches)) - len(batch) <= 1 for batch in batches)
    epochs = [series[1].reads[4 * n : 4 * n + 4] for n in range(4)]
    for *read, last in epochs:
        assert sorted(read) == sorted(batches)
        assert last == held_out.tolist()
    assert len({tuple(map(tuple, read)) for read in epochs}) > 1


def tilt_orders(truth, series, order, epochs=3):
    """Return the tilts of every epoch in the order in which their first patterns were read."""
    log = []
    for number, patterns in enumerate(series):
        patterns.reads = type("Log", (list,), {"append": lambda self, _, number=number: log.append(number)})()
    settings = {"batches": 1, "validation_fraction": 0.0, "weigh_tilts": False}
    run(truth.start(), series, epochs=epochs, tilt_order=order, **settings)
    return [log[i : i + len(TILTS)] for i in range(0, len(log), len(TILTS))]


def test_sequential_order_takes_the_tilts_as_they_come(truth, series):
    assert tilt_orders(truth, series, "sequential") == [[0, 1, 2, 3, 4]] * 3


def test_random_order_takes_every_tilt_once_and_changes_from_epoch_to_epoch(truth, series):
    orders = tilt_orders(truth, series, "random")
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_held_out_patterns_change_no_update(truth, series):
    settings = {"epochs": 1, "validation_fraction": 0.15, "seed": 3}
    untouched, spoilt = truth.start(), truth.start()
    run(untouched, series, **settings)
    for tilt, patterns in enumerate(series):
        held_out = split_held_out(36, tilt, tomography_settings(**settings))[1]
        patterns.data[held_out] = 7.0
    run(spoilt, series, **settings)
    assert torch.equal(untouched.volume, spoilt.volume)


def test_refinement_starts_at_its_epoch_or_never():
    assert [refinement(start=2).active(epoch) for epoch in range(4)] == [False, False, True, True]
    assert not any(refinement().active(epoch) for epoch in range(4))


REGULARISATION = regularisation(nonnegativity=0.5, l1=0.2, l1_start=1, shrinkage=0.3)


def shrunk(values, threshold):
    return values.sign() * (values.abs() - threshold).clamp_min(0)


@pytest.mark.parametrize("epoch", [0, 1])
def test_constraints_of_a_minibatch_take_their_share_of_the_thresholds(epoch):
    settings = tomography_settings(batches=4, regularisation=REGULARISATION)
    volume = random_tensor(4, 5, 7, seed=1, dtype=torch.complex128)
    potential = typical_potential(power_sums(volume))
    unit = potential / 4
    real = torch.where(volume.real < 0, 0.5 * volume.real, volume.real)
    real = shrunk(real, 0.2 * unit) if epoch else real
    expected = torch.complex(real, shrunk(volume.imag.clamp_min(0), 0.3 * unit))
    only_real = volume.real.clone()
    for some in (volume, only_real):
        threshold_(some, thresholds(potential, settings, epoch))
    torch.testing.assert_close(volume, expected)
    torch.testing.assert_close(only_real, real)


def test_emission_is_allowed_if_asked_for():
    allowed = replace(REGULARISATION, nonnegative_absorption=False, shrinkage=0.0)
    volume = random_tensor(4, 5, 7, seed=1, dtype=torch.complex128)
    before = volume.imag.clone()
    threshold_(volume, thresholds(1.0, tomography_settings(regularisation=allowed), 0))
    assert torch.equal(volume.imag, before)

"""An epoch that raises the loss is undone and repeated with half the step; no better than vacuum is no result."""

import copy
import logging
from dataclasses import fields

import pytest
import torch
from checks import random_tensor
from small_series import make_truth, run
from solver_settings import refinement, regularisation, tomography_settings

from dptt.model.losses import Misfit
from dptt.model.state import Descent, TomographyState
from dptt.physics.multislice import diffraction_intensity
from dptt.solvers.tomography import DivergedError, check_result
from dptt.solvers.tomography.guard import BeforeEpoch, largest_loss, slowed

EVERY = {name: refinement(start=0) for name in ("probe", "positions", "angles", "translations")}
TOO_LONG = {"step": 16.0, "weigh_tilts": False}
"""Diverges by itself: see the first test."""


@pytest.fixture(scope="module")
def truth():
    return make_truth()


UNCHANGED = ("epoch", "descent", "nominal")
"""Entries of the state that are not tensors that an epoch changes."""


def same(one: TomographyState, other: TomographyState) -> bool:
    """Return whether all tensors that an epoch changes, and the epoch, are the same to the last bit."""
    names = [entry.name for entry in fields(TomographyState) if entry.name not in UNCHANGED]
    pairs = [pair for name in names for pair in zip(getattr(one, name), getattr(other, name), strict=True)]
    return one.epoch == other.epoch and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_a_step_that_is_too_long_is_halved_until_the_loss_falls(truth, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, "dptt"):
        guarded = run(truth.start(), truth.series(), epochs=6, **TOO_LONG)
    assert guarded[0].undone > 0 and guarded[-1].step_factor < 1
    assert [record.epoch for record in guarded] == [1, 2, 3, 4, 5, 6]
    assert guarded[-1].loss < 0.2 * guarded[0].vacuum_loss
    undone = [message for message in caplog.messages if "is undone" in message]
    assert len(undone) == sum(record.undone for record in guarded)
    assert f"all steps are {guarded[0].step_factor:g} of" in undone[guarded[0].undone - 1]
    monkeypatch.setattr("dptt.solvers.tomography.tomography.MOST_HALVINGS", 0)
    assert run(truth.start(), truth.series(), epochs=2, **TOO_LONG)[-1].loss > guarded[0].vacuum_loss


def test_an_epoch_repeated_with_half_the_step_is_that_of_half_the_step(truth):
    guarded, half = truth.start(), truth.start()
    records = run(guarded, truth.series(), epochs=1, probe=refinement(start=0), **TOO_LONG)
    step = TOO_LONG["step"] * records[0].step_factor
    other = run(half, truth.series(), epochs=1, probe=refinement(start=0, step=records[0].step_factor), step=step)
    assert records[0].undone > 0 == other[0].undone
    assert same(guarded, half)


@pytest.mark.parametrize("reloads", [True, False])
@pytest.mark.parametrize("epoch", [0, 3])
def test_what_undoes_an_epoch_restores_all_of_the_state(truth, epoch, reloads):
    state = truth.start(volume_dtype=torch.complex128)
    if epoch or not reloads:
        state.volume, state.velocity = (random_tensor(*state.volume.shape, seed=s) + 0j for s in (1, 2))
    state.epoch = epoch
    before = copy.deepcopy(state)
    asked = []

    def reload(number):
        asked.append(number)
        return before.volume, before.velocity

    undo = BeforeEpoch(state, reload if reloads else None)
    for _ in range(2):
        for entry in fields(TomographyState):
            for tensor in getattr(state, entry.name) if entry.name not in UNCHANGED else ():
                tensor.add_(0.5)
        state.epoch += 1
        state.probes[1] = state.probes[1] + 1
        undo.restore_(state)
        assert same(state, before)
    assert asked == ([epoch] * 2 if epoch and reloads else [])


@pytest.mark.thorough
def test_a_run_resumed_after_an_undone_epoch_ends_in_the_same_bits(truth):
    whole, pieces = truth.start(), truth.start()
    expected = run(whole, truth.series(), epochs=4, **EVERY, **TOO_LONG)
    records = [*run(pieces, truth.series(), epochs=2, **EVERY, **TOO_LONG)]
    records += run(copy.deepcopy(pieces), truth.series(), epochs=4, **EVERY, **TOO_LONG)
    assert sum(record.undone for record in records) > 0
    assert [record.loss for record in records] == [record.loss for record in expected]


@pytest.mark.slow
def test_a_loss_that_rises_whatever_the_step_is_kept_and_the_step_as_well(truth, caplog):
    """A threshold that begins at a late epoch: no shorter step would help."""
    settings = {"regularisation": regularisation(l1=4.0, l1_start=2), "weigh_tilts": False}
    with caplog.at_level(logging.WARNING, "dptt"):
        records = run(truth.start(), truth.series(), epochs=4, **settings)
    assert records[2].undone == 3 and records[2].loss > 1.3 * records[1].loss
    assert records[2].step_factor == 1.0 == records[3].step_factor
    assert records[3].undone == 0, "the new loss is what the next is compared with"
    assert any("whatever the step, and is kept" in message for message in caplog.messages)


def test_noise_and_order_may_raise_the_loss_a_little():
    descent = Descent(lowest_loss=0.5)
    assert 0.5 < largest_loss(descent, None, 0.5) < 0.52
    assert largest_loss(descent, None, 0.0) == pytest.approx(0.5 * 1.27)
    assert largest_loss(Descent(), 0.2, 0.0) == pytest.approx(0.2 * 1.27)
    assert largest_loss(descent, 0.2, 0.3) == pytest.approx(0.2 * 1.02)


def test_all_steps_become_shorter():
    settings = slowed(tomography_settings(step=0.8, angles=refinement(start=3, step=0.4)), 0.25)
    assert settings.step == 0.2 and settings.angles == refinement(start=3, step=0.1)
    assert [settings.probe.step, settings.positions.step, settings.translations.step] == [0.25] * 3


def test_the_loss_of_vacuum_is_that_of_the_probe_alone_in_the_first_and_the_last_epoch(truth):
    series = truth.series()
    records = run(truth.start(), series, epochs=3, validation_fraction=0.0)
    vacuum = diffraction_intensity(truth.probe)
    epsilon = 1e-6 * series[0].mean_electrons / vacuum.numel()
    losses = [Misfit("amplitude", epsilon)(vacuum.expand_as(tilt.data), tilt.data)[0].item() for tilt in series]
    electrons = sum(tilt.data.sum().item() for tilt in series)
    assert [record.vacuum_loss is None for record in records] == [False, True, False]
    for record in records[::2]:
        assert record.vacuum_loss == pytest.approx(sum(losses) / electrons, rel=1e-6)


@pytest.mark.parametrize(("loss", "epoch"), [(0.4, 5), (0.2, 5), (float("inf"), 1)])
def test_a_volume_no_better_than_vacuum_is_no_result(truth, loss, epoch):
    state = truth.start()
    state.epoch, state.descent = epoch, Descent(loss=loss, vacuum_loss=0.2)
    with pytest.raises(DivergedError, match=r"4\.0000e-01|2\.0000e-01|inf") as raised:
        check_result(state)
    assert "less than that of vacuum with the same probes, 2.0000e-01" in str(raised.value)


@pytest.mark.parametrize(("loss", "epoch"), [(0.19, 5), (0.2, 1), (float("inf"), 0)])
def test_a_better_volume_and_one_without_an_epoch_are_results(truth, loss, epoch):
    state = truth.start()
    state.epoch, state.descent = epoch, Descent(loss=loss, vacuum_loss=0.2)
    check_result(state)

"""Refined poses that are not better than the nominal ones go back to them; those that are better stay."""

import copy

import pytest
import torch
from small_series import GEOMETRY, make_truth, run
from solver_settings import refinement, regularisation, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.solvers.tomography import reconstruct
from dptt.solvers.tomography.verdict import EPOCHS_BEFORE

FREE = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0, nonnegative_absorption=False)
KNOWN = {"step": 0.0, "momentum": 0.0, "regularisation": FREE, "validation_fraction": 0.2}
STAGE = {"angle_uncertainty": (0.5, 0.5, 0.5)}


@pytest.fixture(scope="module")
def truth():
    return make_truth()


def turned(truth, by):
    return truth.euler_angles + by * torch.tensor([[1, -1, 1], [-1, 1, 1], [1, 1, -1], [-1, -1, 1], [1, -1, -1]])


def settings(**values):
    return tomography_settings(**{"angles": refinement(start=0), "validation_fraction": 0.2} | STAGE | values)


def whole_run(truth, state, **values):
    records = []
    reconstruct(state, truth.series(), GEOMETRY, settings(**values), Mesh.serial(), records.append)
    return records


@pytest.mark.thorough
@pytest.mark.slow
def test_angles_with_large_errors_are_kept_and_come_near_the_truth(truth):
    state = truth.start(euler_angles=turned(truth, 1.0))
    state.volume = truth.volume.clone()
    records = whole_run(truth, state, epochs=7, **KNOWN)
    (verdicts,) = [record.verdicts for record in records if record.verdicts]
    assert [(verdict.group, verdict.kept) for verdict in verdicts] == [("phi", True), ("theta", True), ("psi", True)]
    assert (state.euler_angles - truth.euler_angles).square().mean() < 0.5 * 1.0


@pytest.mark.slow
def test_exact_angles_that_follow_the_noise_go_back_and_stay(truth):
    state = truth.start()
    records = whole_run(truth, state, epochs=EPOCHS_BEFORE + 2)
    verdicts = records[EPOCHS_BEFORE - 1].verdicts
    assert [verdict.group for verdict in verdicts] == ["phi", "theta", "psi"]
    assert records[0].changes["angles_deg"] > 0
    for axis, verdict in enumerate(verdicts):
        went_back = torch.equal(state.euler_angles[:, axis], truth.euler_angles[:, axis])
        assert went_back == (not verdict.kept)
        assert ("kept at the nominal values" in verdict.sentence()) == (not verdict.kept)
    assert not any(verdict.kept for verdict in verdicts)
    assert [record.changes["angles_deg"] for record in records[EPOCHS_BEFORE:]] == [0.0, 0.0]


def test_nothing_is_judged_before_its_epoch(truth):
    state = truth.start()
    records = whole_run(truth, state, epochs=EPOCHS_BEFORE - 1)
    assert not any(record.verdicts for record in records)
    assert not torch.equal(state.euler_angles, truth.euler_angles)


@pytest.mark.thorough
def test_a_run_continued_after_the_verdict_equals_one_without_a_break(truth):
    choices = {"angles": refinement(start=1), "translations": refinement(start=0), "epochs": EPOCHS_BEFORE + 3}
    state, broken = truth.start(), truth.start()
    whole_run(truth, state, **choices)
    states = []
    reconstruct(
        broken,
        truth.series(),
        GEOMETRY,
        settings(**choices),
        Mesh.serial(),
        lambda record: states.append(copy.deepcopy(broken)),
    )
    for restored in states[EPOCHS_BEFORE - 1 : EPOCHS_BEFORE + 1]:
        whole_run(truth, restored, **choices)
        assert torch.equal(restored.volume, state.volume)
        assert torch.equal(restored.euler_angles, state.euler_angles)
        assert torch.equal(restored.translations, state.translations)


def test_an_angle_without_uncertainty_is_not_refined(truth):
    state = truth.start(euler_angles=turned(truth, 0.5))
    state.volume = truth.volume.clone()
    run(state, truth.series(), epochs=1, angles=refinement(start=0), angle_uncertainty=(0.0, 0.5, 0.0), **KNOWN)
    moved = (state.euler_angles != turned(truth, 0.5)).any(0)
    assert moved.tolist() == [False, True, False]


def test_a_tight_prior_holds_angles_and_a_wide_one_does_not(truth):
    changes = []
    for width in (0.001, 10.0):
        state = truth.start(euler_angles=turned(truth, 0.5))
        state.volume = truth.volume.clone()
        run(state, truth.series(), epochs=1, angles=refinement(start=0), angle_uncertainty=(width,) * 3, **KNOWN)
        changes.append((state.euler_angles - turned(truth, 0.5)).abs().max().item())
    assert changes[0] < 0.02 * changes[1]

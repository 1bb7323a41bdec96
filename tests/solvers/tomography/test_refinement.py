"""Positions and poses refined within the loop: towards the truth, by damped Newton steps."""

from dataclasses import replace

import pytest
import torch
from checks import random_tensor
from small_series import GEOMETRY, make_truth, run
from solver_settings import refinement, regularisation, tomography_settings

from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.mesh import Mesh
from dptt.model.forward import model_intensity, tilted_slices
from dptt.model.losses import Misfit
from dptt.physics.multislice import diffraction_intensity
from dptt.physics.patches import accumulate_patches, split_positions
from dptt.physics.probe import shift_probe
from dptt.solvers.newton import damped_newton_step
from dptt.solvers.tomography import verdict
from dptt.solvers.tomography.minibatches import split_held_out
from dptt.solvers.tomography.refinement import (
    LARGEST_ANGLE_STEP,
    LARGEST_POSITION_STEP,
    POSITION_UNCERTAINTY,
    refine_positions_,
)
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_plan import plan_tilt

FREE = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0, nonnegative_absorption=False)
AT_THE_TRUTH = {"step": 0.0, "momentum": 0.0, "validation_fraction": 0.0, "regularisation": FREE}


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture
def series(truth):
    return truth.series()


def scattered(truth, spread=0.15):
    """Return the scan positions with errors of `spread` [Å] and of mean zero."""
    errors = [spread * random_tensor(len(p), 2, seed=50 + tilt) for tilt, p in enumerate(truth.positions)]
    return [p + e - e.mean(0) for p, e in zip(truth.positions, errors, strict=True)]


def distance(one, other):
    return torch.linalg.vector_norm(torch.cat(list(one)) - torch.cat(list(other))).item()


@pytest.mark.slow
def test_positions_approach_the_truth_when_the_specimen_is_known(truth, series):
    state = truth.start(positions=scattered(truth))
    state.volume = truth.volume.clone()
    run(state, series, epochs=6, positions=refinement(start=0), **AT_THE_TRUTH)
    assert distance(state.positions, truth.positions) < 0.4 * distance(scattered(truth), truth.positions)


@pytest.mark.thorough
def test_positions_and_specimen_are_found_together(truth, series):
    fixed, refined = (truth.start(positions=scattered(truth)) for _ in range(2))
    without = run(fixed, series, epochs=8)
    records = run(refined, series, epochs=8, positions=refinement(start=2))
    assert distance(refined.positions, truth.positions) < 0.6 * distance(scattered(truth), truth.positions)
    assert records[-1].loss < 0.4 * without[-1].loss
    assert [record.changes["positions_A"] > 0 for record in records] == [False] * 2 + [True] * 6


def test_refining_positions_moves_neither_their_mean_nor_held_out_ones(truth, series):
    start, state = scattered(truth), truth.start(positions=scattered(truth))
    run(state, series, epochs=3, positions=refinement(start=0), validation_fraction=0.1)
    for tilt, (before, after) in enumerate(zip(start, state.positions, strict=True)):
        training, held_out = split_held_out(len(before), tilt, tomography_settings(validation_fraction=0.1))
        assert torch.equal(after[held_out], before[held_out])
        torch.testing.assert_close(after[training].mean(0), before[training].mean(0), rtol=0, atol=1e-12)
        assert not torch.equal(after, before)


def test_positions_in_vacuum_follow_their_gradient_as_far_as_their_uncertainty_allows(truth, series):
    """No potential, no curvature of the loss: what is left is that of the prior, 1/(2 s²), with 1 % of damping."""
    state, owned, gradient = truth.start(), torch.tensor([0, 3, 7, 20]), 0.3 * random_tensor(4, 2, seed=8)
    settings = tomography_settings(positions=refinement(start=0, step=0.5))
    groups = TiltGroups(SerialCommunicator(), settings.tilt_groups, state, len(series))
    epoch = Run(GEOMETRY, settings, Mesh.serial(), groups)
    refine_positions_(state, plan_tilt(state, series[1], 1, epoch), epoch, owned=owned, gradient=gradient)
    pixels = -0.5 * gradient * 2 * POSITION_UNCERTAINTY**2 / 1.01
    expected = truth.positions[1].clone()
    expected[owned] += (pixels - pixels.mean(0)) * torch.tensor(GEOMETRY.sampling).double()
    torch.testing.assert_close(state.positions[1], expected, rtol=0, atol=1e-6)


def test_no_position_jumps_by_more_than_the_largest_step(truth, series):
    start, state = scattered(truth, spread=1.5), truth.start(positions=scattered(truth, spread=1.5))
    state.volume = truth.volume.clone()
    run(state, series, epochs=1, positions=refinement(start=0), **AT_THE_TRUTH)
    pixels = (torch.cat(state.positions) - torch.cat(start)) / torch.tensor([0.5, 0.45]).double()
    assert 0.3 * LARGEST_POSITION_STEP < pixels.abs().max() < 2 * LARGEST_POSITION_STEP  # the mean comes off after it


def displaced(truth):
    translations = truth.translations.clone()
    translations[1] += torch.tensor([0.3, -0.25]).double()
    translations[4] += torch.tensor([-0.2, 0.3]).double()
    return translations


def turned(truth):
    angles = truth.euler_angles.clone()
    angles[1] += torch.tensor([0.8, 0.6, -1.0]).double()
    angles[3] += torch.tensor([-0.9, -0.7, 0.8]).double()
    return angles


@pytest.mark.thorough
def test_the_pose_step_is_the_damped_newton_step_of_the_loss_before_the_updates_of_the_tilt(truth, series):
    """Gradient by autograd through the reference model; curvature from the derivative images of the projection.

    The solver has these images from moments of the volume, which are exact within 3 % (`test_slice_projection`).
    """
    volume, probe, positions = 0.95 * truth.volume, truth.probe, truth.positions[0]
    pose = torch.cat([truth.euler_angles[0] + 0.02, truth.translations[0] + 0.02]).requires_grad_()
    epsilon = 1e-6 * series[0].mean_electrons / (14 * 13)
    modelled = model_intensity(volume, probe, positions, pose[:3], pose[3:], GEOMETRY)
    misfit = Misfit("amplitude", epsilon)
    loss, _ = misfit(modelled, series[0].data)
    (gradient,) = torch.autograd.grad(loss, pose)

    corners, shifts = split_positions(positions, GEOMETRY.sampling, GEOMETRY.volume_shape[1:], GEOMETRY.window_shape)
    beams = shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1]).abs().square().sum(1)
    electrons = accumulate_patches(beams[:, None], corners, GEOMETRY.volume_shape[1:])[0]
    whole = replace(GEOMETRY, num_slices=1)
    images = torch.autograd.functional.jacobian(
        lambda p: tilted_slices(volume, p[:3], p[3:], whole)[0], pose.detach()
    )
    curvature = misfit.curvature(diffraction_intensity(probe).max().item())
    hessian = curvature * GEOMETRY.sigma**2 * torch.einsum("yxp,yx,yxq->pq", images, electrons, images)
    expected = damped_newton_step(gradient, hessian)
    assert expected[:3].abs().max() < LARGEST_ANGLE_STEP

    state = truth.start(euler_angles=truth.euler_angles + 0.02, translations=truth.translations + 0.02)
    state.volume = volume.clone()
    both = {"angles": refinement(start=0), "translations": refinement(start=0)}
    run(state, series[:1], epochs=1, batches=1, validation_fraction=0.0, **both)
    moved = torch.cat([state.euler_angles[0], state.translations[0]]) - pose.detach()
    torch.testing.assert_close(moved, expected, rtol=0.03, atol=0)


@pytest.mark.thorough
@pytest.mark.slow
def test_poses_approach_the_truth_when_the_specimen_is_known(truth, series):
    state = truth.start(euler_angles=turned(truth), translations=displaced(truth))
    state.volume = truth.volume.clone()
    run(state, series, epochs=8, angles=refinement(start=0), translations=refinement(start=0), **AT_THE_TRUTH)
    before = distance([turned(truth)], [truth.euler_angles]), distance([displaced(truth)], [truth.translations])
    assert distance([state.euler_angles], [truth.euler_angles]) < 0.65 * before[0]
    assert distance([state.translations], [truth.translations]) < 0.3 * before[1]


def test_no_angle_turns_by_more_than_the_largest_step(truth, series):
    start = truth.euler_angles + 5.0
    state = truth.start(euler_angles=start)
    state.volume = truth.volume.clone()
    run(state, series, epochs=1, angles=refinement(start=0), **AT_THE_TRUTH)
    assert (state.euler_angles - start).abs().max().item() == pytest.approx(LARGEST_ANGLE_STEP, rel=1e-12)


@pytest.mark.parametrize("refined,kept", [("angles", "translations"), ("translations", "angles")])
def test_only_what_is_asked_for_is_refined(truth, series, refined, kept):
    state = truth.start(euler_angles=turned(truth), translations=displaced(truth))
    state.volume = truth.volume.clone()
    run(state, series, epochs=1, **{refined: refinement(start=0)}, **AT_THE_TRUTH)
    now = {"angles": state.euler_angles, "translations": state.translations}
    before = {"angles": turned(truth), "translations": displaced(truth)}
    assert torch.equal(now[kept], before[kept])
    assert (now[refined] != before[refined])[1].all()  # the tilt with errors of both kinds


def test_the_step_of_a_refinement_scales_it(truth, series):
    changes = []
    for step in (1.0, 0.25):
        state = truth.start(translations=displaced(truth))
        state.volume = truth.volume.clone()
        run(state, series, epochs=1, translations=refinement(start=0, step=step), **AT_THE_TRUTH)
        changes.append(state.translations - displaced(truth))
    torch.testing.assert_close(changes[1], 0.25 * changes[0], rtol=1e-12, atol=1e-15)


@pytest.mark.thorough
@pytest.mark.slow
def test_translations_and_specimen_are_found_together(truth, series):
    fixed, refined = (truth.start(translations=displaced(truth)) for _ in range(2))
    without = run(fixed, series, epochs=8)
    records = run(refined, series, epochs=8, translations=refinement(start=2))
    before, after = (distance([t], [truth.translations]) for t in (displaced(truth), refined.translations))
    assert after < 0.9 * before
    assert records[-1].loss < without[-1].loss


@pytest.mark.thorough
def test_angles_and_specimen_are_found_together(truth, series, monkeypatch):
    monkeypatch.setattr(verdict, "EPOCHS_BEFORE", 100)  # five held-out patterns are too few to judge a single tilt
    start = truth.euler_angles.clone()
    start[2] += torch.tensor([1.5, 0.0, -1.5]).double()
    fixed, refined = (truth.start(euler_angles=start) for _ in range(2))
    without = run(fixed, series, epochs=8)
    records = run(refined, series, epochs=8, angles=refinement(start=2))
    before, after = (distance([a[2:3]], [truth.euler_angles[2:3]]) for a in (start, refined.euler_angles))
    assert after < 0.7 * before
    assert records[-1].loss < without[-1].loss

"""Scan geometry, descan and focus are found beside the specimen, tilt by tilt."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from small_series import GEOMETRY, Patterns, focused_probe, make_truth, run, scan
from solver_settings import calibration, refinement, regularisation, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.model.calibration import (
    BACKGROUND,
    BLUR,
    BLUR_NAME,
    DESCAN,
    FOCUS,
    NUM_PARAMETERS,
    SCAN,
    SCAN_SHAPES,
    ZERO_ANGLE,
    pattern_shifts,
    readable,
    scan_matrix,
)
from dptt.model.forward import model_intensity
from dptt.simulation.experiment import scan_matrix as simulated_scan_matrix
from dptt.solvers.tomography.calibration import apply_, believed, significant
from dptt.solvers.tomography.calibration_verdict import judge_calibration_
from dptt.solvers.tomography.held_out import losses_of_held_out
from dptt.solvers.tomography.minibatches import calibrating_positions, fitted_positions, split_held_out
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_groups import TiltGroups

DESCAN_MATRIX = torch.tensor([[0.25, 0.1], [-0.15, 0.2]], dtype=torch.float64)
FREE = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0, nonnegative_absorption=False)
CLOSE = {"rtol": 0, "atol": 1e-4}
KNOWN = {"step": 0.0, "momentum": 0.0, "regularisation": FREE, "validation_fraction": 0.0, "weigh_tilts": False}


@pytest.fixture(scope="module")
def truth():
    return make_truth(
        euler_angles=torch.tensor([[2.0, -25.0, -3.0], [2.0, 25.0, -3.0]]).double(),
        translations=torch.zeros(2, 2).double(),
        positions=[scan((7, 8), 0.8, seed=20 + tilt) for tilt in range(2)],
    )


def series(truth, shifts=None, probe=None):
    """Return the patterns of all tilts, displaced by `shifts(positions)`."""
    probe = truth.probe if probe is None else probe
    return [
        Patterns(
            model_intensity(
                truth.volume,
                probe,
                positions,
                truth.euler_angles[tilt],
                truth.translations[tilt],
                GEOMETRY,
                None if shifts is None else shifts(positions),
            ),
            name=f"{tilt:04d}",
        )
        for tilt, positions in enumerate(truth.positions)
    ]


def test_descan_zero_angle_and_focus_of_a_known_specimen_are_exact(truth):
    """The probe is not refined: the zero angle is then looked for too."""
    offset = torch.tensor([0.3, -0.2]).double()
    data = series(truth, lambda p: p @ DESCAN_MATRIX.T + offset, focused_probe(defocus=42.0))
    state = truth.start()
    state.volume = truth.volume.clone()
    records = run(state, data, epochs=5, calibration=calibration(start=0, epochs=5, scan=False), **KNOWN)
    for row in state.calibration:
        torch.testing.assert_close(row[DESCAN].reshape(2, 2), DESCAN_MATRIX, rtol=0, atol=2e-4)
        torch.testing.assert_close(row[ZERO_ANGLE], offset, rtol=0, atol=1e-3)
        torch.testing.assert_close(row[FOCUS], torch.tensor([-12.0, 0, 0]).double(), rtol=0, atol=0.05)
    assert records[-1].loss < 1e-4 * records[0].loss


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_a_background_of_a_known_specimen_is_exact_and_one_that_is_not_there_is_zero(truth, loss):
    data = series(truth)
    for patterns, share in zip(data, (0.04, 0.0), strict=True):
        patterns.data = patterns.data * (1 - share) + share * patterns.mean_electrons / patterns.data[0].numel()
    state = truth.start()
    state.volume = truth.volume.clone()
    state.probes[0] = state.probes[0] * 0.96**0.5
    only = calibration(start=0, epochs=5, scan=False, descan=False, focus=False)
    records = run(state, data, epochs=6, loss=loss, calibration=only, **KNOWN)
    torch.testing.assert_close(state.calibration[:, BACKGROUND].ravel(), torch.tensor([0.04, 0]).double(), **CLOSE)
    if loss == "amplitude":
        assert records[-1].loss < 1e-4 * records[0].loss


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_a_blur_of_a_known_specimen_is_exact_and_one_that_is_not_there_is_zero(truth, loss):
    data, width = series(truth), 0.45
    data[0].data = torch.from_numpy(gaussian_filter(data[0].data.numpy(), (0, width, width), mode="wrap", truncate=6))
    state = truth.start()
    state.volume = truth.volume.clone()
    others = {"scan": False, "descan": False, "focus": False, "background": False}
    only = calibration(start=0, epochs=5, blur=True, **others)
    records = run(state, data, epochs=6, loss=loss, calibration=only, **KNOWN)
    found = [readable(*row)[BLUR_NAME][0] for row in zip(state.calibration, state.calibration_errors, strict=True)]
    assert found[0] == pytest.approx(width, abs=1e-3)
    assert state.calibration[1, BLUR].item() == pytest.approx(0, abs=1e-4)
    if loss == "amplitude":
        assert records[-1].loss < 1e-4 * records[0].loss


def test_rotation_and_descan_are_found_with_the_specimen():
    flat = {"euler_angles": torch.zeros(1, 3).double(), "translations": torch.zeros(1, 2).double()}
    truth = make_truth(positions=[scan((10, 11), 0.6)], **flat)
    turn = torch.from_numpy(simulated_scan_matrix((0.0, 0.0), 3.0, 0.0))
    centre = truth.positions[0].mean(0)
    nominal = (truth.positions[0] - centre) @ torch.linalg.inv(turn).T + centre
    data = series(truth, lambda p: p @ DESCAN_MATRIX.T)
    fixed, found = (truth.start(positions=[nominal.clone()]) for _ in range(2))
    without = run(fixed, data, epochs=8, probe=refinement(start=1))
    records = run(found, data, epochs=8, probe=refinement(start=1), calibration=calibration(start=1, epochs=5))
    assert torch.linalg.norm(found.calibration[0, DESCAN].reshape(2, 2) - DESCAN_MATRIX) < 0.1
    assert (found.positions[0] - truth.positions[0]).norm() < 0.4 * (nominal - truth.positions[0]).norm()
    assert records[-1].held_out_loss < 0.2 * without[-1].held_out_loss
    assert readable(found.calibration[0], found.calibration_errors[0])["scan_rotation_deg"][0] > 2.0
    turned = truth.start(positions=[nominal.clone()])
    only = calibration(start=1, epochs=5, scan_strain=False)
    run(turned, data, epochs=6, probe=refinement(start=1), calibration=only, validation_fraction=0.0)
    assert not turned.calibration[0, [SCAN.start, SCAN.start + 1, SCAN.start + 3]].any(), "no strain is looked for"
    assert math.degrees(turned.calibration[0, SCAN.start + 2]) == pytest.approx(3.0, abs=0.7)


def test_positions_move_by_the_matrix_about_their_centre(truth):
    state = truth.start()
    run(state, series(truth), epochs=3, calibration=calibration(start=0, epochs=2, descan=False, focus=False))
    for before, after, row in zip(truth.positions, state.positions, state.calibration, strict=True):
        expected = (before - before.mean(0)) @ scan_matrix(row).T + before.mean(0)
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)


def test_a_group_that_does_not_help_goes_back_with_its_positions_and_probes(truth):
    state, last = truth.start(), tomography_settings(calibration=calibration(start=0, epochs=3))
    mesh = Mesh.serial()
    epoch = Run(GEOMETRY, last, mesh, TiltGroups(mesh.tilt, last.tilt_groups, state, 2))
    row = torch.zeros(NUM_PARAMETERS).double()
    row[SCAN.start + 2], row[FOCUS.start] = 0.03, 25.0
    only_turned = row.clone()
    only_turned[FOCUS.start] = 0
    turned = truth.start()
    for index in range(2):
        apply_(state, index, row, epoch)
        apply_(turned, index, only_turned, epoch)

    def losses(judged):
        """Rotation helps all blocks, focus some."""
        rotated, refocused = (judged.calibration[:, number].any().double() for number in (2, FOCUS.start))
        return 1000 - 100 * rotated + refocused * torch.tensor([[10, -30, 20, 0]] * 2).double()

    state.epoch = 1
    assert judge_calibration_(state, epoch, losses) == [], "not yet"
    state.epoch = 2
    scan_kept, focus_kept = judge_calibration_(state, epoch, losses)
    assert scan_kept.kept and scan_kept.group == "scan geometry" and scan_kept.gain == pytest.approx(0.1, abs=0.01)
    assert not focus_kept.kept and focus_kept.deviation == pytest.approx(25 / 3**0.5)
    torch.testing.assert_close(state.calibration, turned.calibration)
    for got, expected in zip([*state.positions, *state.probes], [*turned.positions, *turned.probes], strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("gain", "kept"), [(0.4, False), (0.6, True)])
def test_four_parameters_are_kept_only_if_they_gain_more_than_by_fitting_noise(truth, gain, kept):
    """The patterns that calibrate judge as well. A parameter costs half a unit of the amplitude loss."""
    state, last = truth.start(), tomography_settings(calibration=calibration(start=0, epochs=1), loss="amplitude")
    mesh = Mesh.serial()
    epoch = Run(GEOMETRY, last, mesh, TiltGroups(mesh.tilt, last.tilt_groups, state, 2))
    state.calibration[:, SCAN.start + 2] = 0.03

    def losses(judged):
        return 1000 - gain * judged.calibration[:, SCAN].any(1).double()[:, None].expand(2, 4)

    (verdict,) = judge_calibration_(state, epoch, losses)
    assert verdict.kept is kept and verdict.gain == pytest.approx((gain - 0.5) / 1000, rel=1e-2)


def test_the_patterns_that_calibrate_judge_the_calibration_beside_the_held_out_ones(truth):
    settings = tomography_settings(calibration=calibration(start=0, epochs=2), validation_fraction=0.1)
    mesh, state, data = Mesh.serial(), truth.start(), series(truth)
    epoch = Run(GEOMETRY, settings, mesh, TiltGroups(mesh.tilt, settings.tilt_groups, state, 2))
    for calibrates in (True, False):
        losses = losses_of_held_out(state, data, epoch, calibrating=calibrates)
        assert losses.shape == (2, 8) and losses.isfinite().all() == calibrates
        for index, patterns in enumerate(data):
            held_out = split_held_out(56, index, settings)[1].tolist()
            aside = calibrating_positions(56, index, settings).tolist() if calibrates else []
            assert sorted(sum(patterns.reads, [])) == sorted(held_out + aside)
            assert all(block == sorted(block) for block in patterns.reads), "as files are read"
            patterns.reads.clear()


def test_patterns_that_calibrate_are_not_fitted_meanwhile_and_never_held_out():
    settings = tomography_settings(calibration=calibration(start=1, epochs=2), validation_fraction=0.1)
    training, held_out = split_held_out(300, 3, settings)
    aside = calibrating_positions(300, 3, settings)
    assert len(aside) == 40
    assert [len(calibrating_positions(number, 3, settings)) for number in (50, 600, 4096)] == [22, 60, 128]
    for epoch in range(3):
        fitted = fitted_positions(300, 3, settings, epoch)
        assert torch.equal(torch.cat([fitted, aside, held_out]).sort().values, torch.arange(300))
    assert torch.equal(fitted_positions(300, 3, settings, 3), training)
    assert torch.equal(fitted_positions(300, 3, tomography_settings(validation_fraction=0.1), 0), training)


def test_a_matrix_turns_and_stretches_as_the_simulation_does():
    row = torch.zeros(NUM_PARAMETERS).double()
    row[SCAN] = torch.tensor([0.001, 0.002, math.radians(0.1), 0.0])
    expected = torch.from_numpy(simulated_scan_matrix((0.003, -0.001), 0.1, 0.0))
    torch.testing.assert_close(scan_matrix(row), expected, rtol=0, atol=1e-5)


def test_without_descan_nothing_is_displaced():
    assert pattern_shifts(torch.zeros(NUM_PARAMETERS).double(), torch.ones(3, 2).double()) is None


def test_tilts_are_believed_as_far_as_their_spread_exceeds_their_errors():
    generator = torch.Generator().manual_seed(3)
    active, number = torch.tensor([10, 11]), 1000
    true = torch.tensor([2.0, 2.0]) + torch.tensor([0.0, 1.0]) * torch.randn(number, 2, generator=generator)
    measured = torch.zeros(number, NUM_PARAMETERS).double()
    measured[:, active] = (true + 0.5 * torch.randn(number, 2, generator=generator)).double()
    covariances = torch.eye(NUM_PARAMETERS).double().expand(number, -1, -1) / 4
    found, errors = believed(measured, covariances, active, free_strain=False)
    assert (found[:, 0] - 2).abs().max() < 0.2  # all tilts alike
    assert errors[:, 0].max() < 0.15 and errors[:, 1].mean().item() == pytest.approx(1 / 5**0.5, rel=0.05)
    centred, before = found[:, 1] - found[:, 1].mean(), measured[:, 11] - measured[:, 11].mean()
    assert (centred @ before / (before @ before)).item() == pytest.approx(1 / 1.25, rel=0.1)
    kept, errors = believed(measured[:3], covariances[:3], active, free_strain=False)
    assert torch.equal(kept, measured[:3, active]) and torch.equal(errors, torch.full((3, 2), 0.5).double())


def test_a_shear_that_the_focus_hides_follows_from_the_column_that_all_tilts_share():
    """Drift changes yy and xy; rotations are well measured, symmetric strains hardly."""
    generator, tilts, active = torch.Generator().manual_seed(0), 12, torch.arange(4)
    matrices = torch.tensor([[0.0, -0.02], [0.02, 0.015]]).double().repeat(tilts, 1, 1)
    matrices[:, :, 0] += 0.04 * torch.randn(tilts, 2, generator=generator).double()
    true = torch.linalg.solve(SCAN_SHAPES.reshape(4, 4).T, matrices.reshape(tilts, 4).T).T
    sigma = torch.tensor([1e-4, 0.03, 1e-4, 0.03]).double()
    measured = torch.zeros(tilts, NUM_PARAMETERS).double()
    measured[:, :4] = true + sigma * torch.randn(tilts, 4, generator=generator).double()
    covariances = torch.diag_embed(torch.ones(NUM_PARAMETERS).double()).repeat(tilts, 1, 1)
    covariances[:, :4, :4] = torch.diag(sigma.square())
    before, after = (
        (rows - true).sub((rows - true).mean(0)).square().mean(0).sqrt()
        for rows in (measured[:, :4], believed(measured, covariances, active, free_strain=True)[0])
    )
    assert after[2] < 2 * sigma[2] and after[0] < 2 * sigma[0]
    assert after[3] < 0.2 * before[3] and after[1] < 0.2 * before[1]


def test_the_mean_strain_is_that_of_the_file_and_what_the_focus_owes_to_it_is_taken_back():
    """1 Å of focus looks like 0.1 % of scale, 1 Å of astigmatism like 0.1 % of shear."""
    generator, tilts, active = torch.Generator().manual_seed(0), 8, torch.tensor([0, 1, 2, 3, 10, 12])
    true = torch.zeros(tilts, NUM_PARAMETERS).double()
    true[:, active] = torch.randn(tilts, 6, generator=generator).double() * torch.tensor([0.01] * 4 + [20.0] * 2)
    true[:, [0, 1, 3]] -= true[:, [0, 1, 3]].mean(0)
    covariances = torch.diag_embed(torch.full((NUM_PARAMETERS,), 1e-8).double()).repeat(tilts, 1, 1)
    measured = true.clone()
    for strain, focus, size in ((0, 10, 20), (3, 12, -10)):
        pull = torch.zeros(NUM_PARAMETERS).double()
        pull[strain], pull[focus] = 1e-3, -1.0
        covariances += pull[:, None] * pull
        measured += size * pull
    bound, _ = believed(measured, covariances, active, free_strain=False)
    assert (bound - true[:, active]).abs().amax(0)[-2:].max() < 1.0
    assert bound[:, [0, 1, 3]].mean(0).abs().max() < 1e-9
    assert (bound[:, :4] - true[:, :4]).abs().max() < 2e-3
    assert abs((bound - true[:, active])[:, 2].mean().item()) < 1e-4, "the mean rotation is found"
    free, _ = believed(measured, covariances, active, free_strain=True)
    torch.testing.assert_close(free.mean(0)[[0, 3]], torch.tensor([0.02, -0.01]).double(), rtol=0.05, atol=0)


def test_what_errors_explain_goes_back_to_the_nominal_value():
    values = torch.tensor([[0.5, 4.0, 0.4], [-0.4, 4.0, -6.0], [0.6, 4.0, 5.0], [-0.6, 4.0, 0.3]]).double()
    errors = torch.ones(4, 3).double()
    kept = significant(values, errors)
    assert torch.equal(kept[:, 0], torch.zeros(4).double())
    assert torch.equal(kept[:, 1:], values[:, 1:])
    assert significant(torch.tensor([[2.9]]).double(), torch.ones(1, 1).double()).item() == 0
    assert significant(torch.tensor([[3.5]]).double(), torch.ones(1, 1).double()).item() == 3.5

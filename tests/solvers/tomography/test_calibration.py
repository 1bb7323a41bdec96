"""Scan geometry, descan and focus are found beside the specimen, tilt by tilt."""

import math

import pytest
import torch
from small_series import GEOMETRY, Patterns, focused_probe, make_truth, run, scan
from solver_settings import calibration, refinement, regularisation, tomography_settings

from dptt.model.calibration import DESCAN, FOCUS, SCAN, ZERO_ANGLE, pattern_shifts, readable, scan_matrix
from dptt.model.forward import model_intensity
from dptt.simulation.experiment import scan_matrix as simulated_scan_matrix
from dptt.solvers.tomography.calibration import believed, significant
from dptt.solvers.tomography.minibatches import calibrating_positions, fitted_positions, split_held_out

DESCAN_MATRIX = torch.tensor([[0.25, 0.1], [-0.15, 0.2]], dtype=torch.float64)
FREE = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0, nonnegative_absorption=False)
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


def test_positions_move_by_the_matrix_about_their_centre(truth):
    state = truth.start()
    run(state, series(truth), epochs=3, calibration=calibration(start=0, epochs=2, descan=False, focus=False))
    for before, after, row in zip(truth.positions, state.positions, state.calibration, strict=True):
        expected = (before - before.mean(0)) @ scan_matrix(row).T + before.mean(0)
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)


def test_patterns_that_calibrate_are_not_fitted_meanwhile_and_never_held_out():
    settings = tomography_settings(calibration=calibration(start=1, epochs=2), validation_fraction=0.1)
    training, held_out = split_held_out(300, 3, settings)
    aside = calibrating_positions(300, 3, settings)
    assert len(aside) == 40
    for epoch in range(3):
        fitted = fitted_positions(300, 3, settings, epoch)
        assert torch.equal(torch.cat([fitted, aside, held_out]).sort().values, torch.arange(300))
    assert torch.equal(fitted_positions(300, 3, settings, 3), training)
    assert torch.equal(fitted_positions(300, 3, tomography_settings(validation_fraction=0.1), 0), training)


def test_a_matrix_turns_and_stretches_as_the_simulation_does():
    row = torch.zeros(13).double()
    row[SCAN] = torch.tensor([0.001, 0.002, math.radians(0.1), 0.0])
    expected = torch.from_numpy(simulated_scan_matrix((0.003, -0.001), 0.1, 0.0))
    torch.testing.assert_close(scan_matrix(row), expected, rtol=0, atol=1e-5)


def test_without_descan_nothing_is_displaced():
    assert pattern_shifts(torch.zeros(13).double(), torch.ones(3, 2).double()) is None


def test_tilts_are_believed_as_far_as_their_spread_exceeds_their_errors():
    generator = torch.Generator().manual_seed(3)
    errors = torch.full((4000, 3), 0.5).double()
    true = torch.tensor([2.0, 2.0, 0.0]) + torch.tensor([0.0, 1.0, 0.0]) * torch.randn(4000, 3, generator=generator)
    measured = true + errors * torch.randn(4000, 3, generator=generator)
    errors[:, 2] = 0
    found = believed(measured, errors)
    assert (found[:, 0] - 2).abs().max() < 0.1  # all tilts alike
    share = ((found - 2) * (measured - 2)).sum(0) / (measured - 2).square().sum(0)
    assert share[1].item() == pytest.approx(1 / 1.25, rel=0.1)
    assert torch.equal(found[:, 2], measured[:, 2])
    assert torch.equal(believed(measured[:3], errors[:3]), measured[:3])


def test_what_errors_explain_goes_back_to_the_nominal_value():
    values = torch.tensor([[0.5, 4.0, 0.4], [-0.4, 4.0, -6.0], [0.6, 4.0, 5.0], [-0.6, 4.0, 0.3]]).double()
    errors = torch.ones(4, 3).double()
    kept = significant(values, errors)
    assert torch.equal(kept[:, 0], torch.zeros(4).double())
    assert torch.equal(kept[:, 1:], values[:, 1:])
    assert significant(torch.tensor([[2.9]]).double(), torch.ones(1, 1).double()).item() == 0
    assert significant(torch.tensor([[3.5]]).double(), torch.ones(1, 1).double()).item() == 3.5

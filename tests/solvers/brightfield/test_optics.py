"""Optics and orientation are found from simulated bright fields that the tests make from the definition."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import weak_object
from weak_object import phase, scanned, turn

from dptt.physics.aberrations import to_cartesian
from dptt.solvers.brightfield.data import taper
from dptt.solvers.brightfield.estimate import choose_method, estimate_optics
from dptt.solvers.brightfield.evidence import defocus_slope, orientation_table, tilt_sign_sentence
from dptt.solvers.brightfield.image import phase_image
from dptt.solvers.brightfield.optical_estimate import OpticalEstimate
from dptt.solvers.brightfield.orientation import Orientation, wrapped


def assert_found(estimate: OpticalEstimate, rotation: float, aberrations: dict[str, float], tolerance: float):
    assert abs(wrapped(estimate.orientation.rotation - rotation)) < 2.0
    error = to_cartesian(estimate.aberrations, 1) - to_cartesian(aberrations, 1)
    assert error.norm() < tolerance


def test_a_focused_nyquist_scan_gives_defocus_astigmatism_and_rotation():
    aberrations = {"C10": -20.0, "C12": 15.0, "phi12": 30.0}
    data = scanned(turn(40), aberrations, (33, 29), (0.45, 0.5), electrons=3e4)
    estimate = estimate_optics(data)
    assert estimate.method == "weak-phase"
    assert not estimate.orientation.transposed
    assert estimate.orientation_known and estimate.sign_known
    assert_found(estimate, 40, aberrations, 3.0)


def test_a_transposed_detector_is_noticed():
    aberrations = {"C10": -60.0, "C12": 10.0, "phi12": -20.0}
    data = scanned(turn(-110, transposed=True), aberrations, (31, 27), (0.45, 0.5), electrons=3e4)
    estimate = estimate_optics(data)
    assert estimate.orientation.transposed
    assert_found(estimate, -110, aberrations, 4.0)
    rows = orientation_table(estimate)
    assert len(rows) == 8 and sum(row.recommended for row in rows) == 1 and sum(row.equivalent for row in rows) == 4
    assert rows[0].recommended and rows[0].transpose and abs(wrapped(rows[0].rotation + 110)) < 2
    assert min(row.energy for row in rows[:4]) > 1.2 * max(row.energy for row in rows[4:])
    for row in rows[:4]:  # in other words, the same: the positions in the turned detector frame agree
        frame = turn(row.rotation)
        flips = np.diag([-1.0 if row.flip_y else 1.0, -1.0 if row.flip_x else 1.0])
        detector = flips[:, ::-1] if row.transpose else flips
        np.testing.assert_allclose(detector.T @ frame, estimate.orientation.matrix().numpy(), atol=1e-9)


@pytest.mark.parametrize("defocus", [300.0, -200.0])
def test_a_coarse_scan_of_a_defocused_probe_goes_by_parallax(defocus):
    data = scanned(turn(130), {"C10": -defocus}, (25, 21), (1.0, 1.1), electrons=3e4)
    estimate = estimate_optics(data)
    assert estimate.method == "parallax" and "undersamples" in estimate.reason
    assert_found(estimate, 130, {"C10": -defocus}, 0.05 * abs(defocus))
    assert estimate.shifts.residual < 0.5


def test_only_the_sign_of_the_potential_tells_the_twins_apart(monkeypatch):
    """Turned by 180 degrees, all aberrations and the potential reversed: the images are the same to rounding."""
    aberrations = {"C10": -50.0, "C12": 12.0, "phi12": 30.0, "C21": 700.0, "phi21": 20.0}
    reversed_ = {name: value if name.startswith("phi") else -value for name, value in aberrations.items()}
    shape, step = (7, 5), (0.5, 0.45)

    first = scanned(turn(25), aberrations, shape, step)
    monkeypatch.setattr(weak_object, "phase", lambda points, seed, reach: phase(-points, seed, reach))
    twin = scanned(turn(205), reversed_, shape, step, sign=-1.0)
    torch.testing.assert_close(twin.images, first.images, rtol=1e-6, atol=1e-12)


def test_the_weak_phase_image_is_the_phase():
    shape, step = (35, 31), (0.45, 0.45)
    aberrations = {"C10": -60.0}
    data = scanned(turn(0), aberrations, shape, step)
    image = phase_image("weak-phase", data, Orientation(0.0, False), to_cartesian(aberrations, 1))
    i, j = ((np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, step, strict=True))
    points = np.stack(np.meshgrid(i, j, indexing="ij"), -1)
    true = torch.tensor(phase(points, 3, float(np.abs(points).max()) + 2))
    inside = taper(shape) > 0.99
    both = torch.stack([image[inside], true[inside]])
    assert torch.corrcoef(both)[0, 1] > 0.9
    assert 0.6 < (image[inside].std() / true[inside].std()).item() < 1.2


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_the_slope_of_defocus_across_a_tilted_specimen_has_its_sign(slope):
    data = scanned(turn(20), {"C10": -250.0}, (21, 27), (0.8, 0.8), slope=slope, electrons=1e5)
    estimate = estimate_optics(data, near=Orientation(20.0, False), refine_rotation=False)
    measured, error = defocus_slope(data, estimate, to_cartesian(estimate.aberrations, 1))
    assert 0.5 < measured * slope < 1.3 and error < 0.15
    sentence = tilt_sign_sentence([45.0], [(measured, error)])
    assert sentence.startswith(
        "the sign of the tilt is right" if slope > 0 else "the tilt angles seem to have the wrong"
    )


def test_patterns_of_noise_alone_claim_nothing():
    data = scanned(turn(40), {"C10": -100.0}, (17, 15), (0.5, 0.5), sign=0.0, electrons=1e4)
    assert not estimate_optics(data).orientation_known
    assert "cannot be determined" in tilt_sign_sentence([0.0], [(1.0, 0.1)])


def test_images_without_any_contrast_are_refused():
    data = scanned(turn(0), {"C10": -50.0}, (5, 4), (0.5, 0.5))
    with pytest.raises(ValueError, match="no contrast"):
        estimate_optics(replace(data, images=torch.ones_like(data.images)))


def test_the_method_follows_the_sampling():
    data = scanned(turn(0), {"C10": -50.0}, (5, 4), (0.45, 0.45))
    coarse = replace(data, step=(1.0, 1.0))
    focused, defocused = (torch.tensor([c, 0.0, 0.0], dtype=torch.float64) for c in (-2.0, -300.0))
    assert choose_method(data, focused)[0] == "single-sideband"
    assert choose_method(data, defocused)[0] == "weak-phase"
    assert choose_method(coarse, focused)[0] == "weak-phase"
    assert choose_method(coarse, defocused)[0] == "parallax"
    assert f"{data.wavelength / 2 / 20e-3:.3g} Å" in choose_method(data, focused)[1]
    assert math.isclose(data.weights().sum().item(), 1.0)

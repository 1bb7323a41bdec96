"""A sign that the data do not tell is the file's, and never what rounding makes it."""

import math

import pytest
import torch
from weak_object import scanned, turn

from dptt.physics.aberrations import to_cartesian
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.estimate import estimate_optics
from dptt.solvers.brightfield.orientation import Orientation
from dptt.solvers.brightfield.parallax import fit_shifts
from dptt.solvers.brightfield.search import Candidate, best_of
from dptt.solvers.brightfield.signs import BothSigns, SeriesSign, series_sign, twin_is_better

STORED = Orientation(0.0, False)


def setting(defocus: float, energy: float, orientation: Orientation = STORED) -> Candidate:
    return Candidate(orientation, torch.tensor([-defocus, 0.0, 0.0], dtype=torch.float64), energy)


def both(underfocus: float, overfocus: float, error: float = 0.01) -> BothSigns:
    return BothSigns(setting(40.0, underfocus), setting(-40.0, overfocus), error)


@pytest.mark.parametrize("rounding", [1e-13, -1e-13])
@pytest.mark.parametrize("near", [STORED, Orientation(35.0, True)])
def test_shifts_that_want_either_twin_as_much_keep_the_rotation_of_the_start(near, rounding):
    """A = a reflection, seen from either parity: the nearest orthogonal matrix is 90° or 180° of parity away."""
    k = 0.02 * torch.randn(40, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    quarter = torch.tensor([[0.0, -1.0 + rounding], [1.0 + rounding, 0.0]], dtype=torch.float64)
    measured = k @ (70 * quarter.T @ near.matrix())
    orientation, coefficients, _ = fit_shifts(k, measured, near, 1)
    assert orientation == near
    assert coefficients[0].abs() < 1e-6, "a rotation of the shifts is no defocus"


@pytest.mark.parametrize("defocus", [60.0, -60.0])
@pytest.mark.parametrize("near", [Orientation(25.0, False), Orientation(-70.0, True)])
def test_shifts_give_a_small_turn_and_the_signed_defocus_of_astigmatic_optics_for_either_parity(near, defocus):
    k = 0.02 * torch.randn(40, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    true = near.rotated(11.0)
    c = torch.tensor([[-defocus - 25.0, 90.0], [90.0, -defocus + 25.0]], dtype=torch.float64)
    measured = -(k @ c) @ true.matrix() + 3.0
    orientation, coefficients, fitted = fit_shifts(k, measured, near, 1)
    assert orientation.transposed == true.transposed and orientation.rotation == pytest.approx(true.rotation)
    torch.testing.assert_close(coefficients, torch.tensor([-defocus, 25.0, 90.0], dtype=torch.float64))
    torch.testing.assert_close(fitted, measured)
    kept, of_kept, _ = fit_shifts(k, measured, near, 1, rotation=False)
    assert kept == near and of_kept[0] == pytest.approx(-defocus * math.cos(math.radians(11.0)))


@pytest.mark.parametrize("rounding", [1e-13, -1e-13])
def test_astigmatism_alone_tells_neither_rotation_nor_a_defocus(rounding):
    k = 0.02 * torch.randn(40, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    c = torch.tensor([[80.0 + rounding, 10.0], [10.0 + rounding, -80.0]], dtype=torch.float64)
    orientation, coefficients, _ = fit_shifts(k, -(k @ c), STORED, 1)
    assert orientation == STORED
    torch.testing.assert_close(coefficients, torch.tensor([0.0, -80.0, 10.0], dtype=torch.float64))


def perturbed(data: BrightFieldData, seed: int) -> BrightFieldData:
    """Return the data with rounding errors, as another number of threads makes them."""
    noise = torch.randn(data.images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = vars(data) | {"images": data.images * (1 + 1e-14 * noise)}
    return BrightFieldData(**values)


@pytest.mark.parametrize("near", [STORED, None])
def test_rounding_errors_change_no_estimate_of_a_scan_too_small_to_tell(near):
    for seed in (3,) if near is None else (3, 4):
        data = scanned(turn(0), {"C10": -40.0}, (6, 5), (0.9, 1.0), electrons=1e3, seed=seed)
        one, other = (
            estimate_optics(noisy, near=near, refine_rotation=near is None)
            for noisy in (perturbed(data, 1), perturbed(data, 2))
        )
        largest = 6 / 3 / 0.02 * 1.001  # no shift by more than a third of the field
        assert abs(one.by_sign.underfocus.coefficients[0]) < largest
        torch.testing.assert_close(
            to_cartesian(one.aberrations, 1), to_cartesian(other.aberrations, 1), rtol=1e-4, atol=1e-2
        )
        assert one.orientation.transposed == other.orientation.transposed


def test_the_two_signs_of_a_defocus_are_told_apart_with_the_scan_orientation():
    for defocus in (60.0, -60.0):
        data = scanned(turn(0), {"C10": -defocus}, (15, 13), (0.6, 0.6), electrons=1e4)
        estimate = estimate_optics(data, near=STORED, refine_rotation=False)
        found = series_sign([estimate.by_sign], told=-1 if defocus > 0 else 1)
        assert found.known and found.sign == (1 if defocus > 0 else -1)
        twin = series_sign([estimate.twin().by_sign], told=0)
        assert twin.sign == -found.sign and twin.significance == pytest.approx(found.significance)


def test_the_energies_of_all_tilts_are_added():
    one, four = (series_sign([both(0.5, 0.3, 0.1)] * number, told=-1) for number in (1, 4))
    assert (one.sign, one.known) == (-1, False) and one.significance == pytest.approx(-2.0)
    assert (four.sign, four.known) == (1, True) and four.significance == pytest.approx(4.0)
    one_wrong = [both(0.5, 0.3, 0.02), both(0.5, 0.3, 0.02), both(0.2, 0.25, 0.02)]
    assert series_sign(one_wrong, told=0).sign == 1 and series_sign(one_wrong, told=0).known


@pytest.mark.parametrize("rounding", [1e-15, -1e-15])
def test_energies_that_are_equal_but_for_rounding_decide_nothing(rounding):
    tilts = [both(0.4 + rounding, 0.4, 0.0)] * 3
    assert series_sign(tilts, told=-1) == SeriesSign(-1, 0.0, False)
    assert series_sign(tilts, told=0) == SeriesSign(1, 0.0, False)
    first, second = setting(40.0, 0.4), setting(-40.0, 0.4 + rounding)
    assert best_of([first, second]) is first and best_of([second, first]) is second
    assert best_of([first, setting(0.0, 0.41)]).energy == 0.41


def test_where_the_potential_is_not_told_the_twin_is_the_files_by_defocus_or_else_by_rotation():
    shown, not_shown = SeriesSign(1, 9.0, True), SeriesSign(1, 1.0, False)
    found, elsewhere = Orientation(170.0, False), Orientation(80.0, False)

    def twin(significance: float, sign: SeriesSign, told: float, told_sign: int) -> bool:
        told_orientation = Orientation(told, False)
        return twin_is_better(significance, found, sign, told_orientation=told_orientation, told_sign=told_sign)

    for told in (elsewhere.rotation, -5.0, 175.0):
        assert twin(-3.5, shown, told, 1) and not twin(3.5, shown, told, -1), "positive potentials are known"
        assert twin(2.0, shown, told, -1) and not twin(-2.0, shown, told, 1), "the file's defocus"
    for sign, told_sign in ((shown, 0), (not_shown, -1), (not_shown, 1)):
        assert twin(2.0, sign, -5.0, told_sign) and not twin(-2.0, sign, 175.0, told_sign), "the file's rotation"
        assert twin(-2.0, sign, 80.0, told_sign) and not twin(2.0, sign, 80.0, told_sign), "the file tells nothing"
        assert not twin(-1e-14, sign, 80.0, told_sign), "underfocus rather than rounding"

"""A tilt that the volume cannot explain counts less; all others keep their full weight."""

import pytest
import torch
from small_series import make_truth, run

from dptt.model.shot_noise import Fit
from dptt.solvers.tomography.health import TOLERATED_EXCESS, TOLERATED_NOISE, tilt_weights


def fits(unexplained, scattering=1000.0, noise=10.0, sigma=0.0) -> list[Fit]:
    """Return fits with these shares of the scattering unexplained."""
    scatterings = scattering if isinstance(scattering, list) else [scattering] * len(unexplained)
    return [Fit(noise + u * s, noise, sigma**2, s, 1e4) for u, s in zip(unexplained, scatterings, strict=True)]


def test_tilts_that_are_explained_alike_keep_full_weight():
    assert tilt_weights(fits([0.10, 0.13, 0.08, 0.19, 0.11])).tolist() == [1.0] * 5


def test_the_weight_falls_with_the_square_of_the_excess_over_the_tolerated_one():
    weights = tilt_weights(fits([0.1, 0.1, 0.1, 0.1, 0.4 * TOLERATED_EXCESS]))
    torch.testing.assert_close(weights, torch.tensor([1, 1, 1, 1, 1 / 16], dtype=torch.float64))


def test_a_zone_axis_that_scatters_three_times_as_much_is_no_wrong_tilt():
    """Its loss is twice the others', and so is its share of shot noise: the share of its scattering is theirs."""
    assert tilt_weights(fits([0.1] * 5, [1000.0, 1000.0, 3000.0, 1000.0, 1000.0])).tolist() == [1.0] * 5


def test_a_tilt_in_which_little_is_illuminated_is_not_judged_by_its_scattering_alone():
    assert tilt_weights(fits([0.1, 0.1, 0.1, 0.4], [1000.0, 1000.0, 1000.0, 200.0])).tolist() == [1.0] * 4


def test_what_shot_noise_does_to_a_tilt_is_no_fault():
    noise = 10.0
    random = [(TOLERATED_NOISE - 1) * noise, 0.0, -noise, noise, 0.0]
    assert tilt_weights(fits([r / 1000 for r in random], sigma=noise)).tolist() == [1.0] * 5
    far = [3 * TOLERATED_NOISE * noise, 0.0, -noise, noise, 0.0]
    assert tilt_weights(fits([r / 1000 for r in far], sigma=noise))[0] < 0.2


def test_counts_with_less_than_poisson_noise_count_fully():
    assert tilt_weights(fits([-0.008, -0.007, -0.009, -0.008])).tolist() == [1.0] * 4


@pytest.mark.slow
def test_a_displaced_tilt_is_found_and_spoils_the_volume_less():
    truth = make_truth()
    wrong = truth.translations.clone()
    wrong[1, 1] += 2.0
    correlations = {}
    for weigh in (True, False):
        state = truth.start(translations=wrong, probes=[truth.probe * 10**0.5] * 5)
        series = truth.series()
        for patterns in series:
            patterns.data = torch.poisson(10 * patterns.data, torch.Generator().manual_seed(6))
        records = run(state, series, epochs=8, weigh_tilts=weigh, batches=2)
        pair = torch.stack([state.volume.flatten(), truth.volume.flatten()])
        correlations[weigh] = torch.corrcoef(pair)[0, 1].item()
        if weigh:
            weights = records[-1].tilt_weights
            assert min(range(5), key=weights.__getitem__) == 1
            assert weights[1] < 0.1
            assert sorted(weights)[1:] == [1.0] * 4
    assert correlations[True] > correlations[False]

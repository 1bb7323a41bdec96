"""A tilt that the volume cannot explain counts less; all others keep their full weight."""

import torch
from small_series import make_truth, run

from dptt.solvers.tomography.health import TOLERATED_EXCESS, tilt_weights


def test_tilts_that_are_explained_alike_keep_full_weight():
    losses = torch.tensor([1.0, 1.3, 0.8, 1.9, 1.1], dtype=torch.float64)
    assert tilt_weights(losses, torch.zeros(5, dtype=torch.float64)).tolist() == [1.0] * 5


def test_the_weight_falls_with_the_square_of_the_excess_over_the_tolerated_one():
    losses = torch.tensor([1.0, 1.0, 1.0, 1.0, 4 * TOLERATED_EXCESS], dtype=torch.float64)
    weights = tilt_weights(losses, torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([1, 1, 1, 1, 1 / 16], dtype=torch.float64))


def test_a_tilt_of_low_dose_is_not_mistaken_for_one_that_is_not_explained():
    noise = torch.tensor([0.1, 0.1, 0.1, 1.0], dtype=torch.float64)
    assert tilt_weights(noise + 0.02, noise).tolist() == [1.0] * 4


def test_counts_with_less_than_poisson_noise_count_fully():
    losses = torch.tensor([0.02, 0.03, 0.01, 0.02], dtype=torch.float64)
    assert tilt_weights(losses, torch.full((4,), 0.1, dtype=torch.float64)).tolist() == [1.0] * 4


def test_a_tilt_at_a_wrong_stage_angle_is_found_and_spoils_the_volume_less():
    truth = make_truth()
    wrong = truth.euler_angles.clone()
    wrong[1, 1] += 20.0
    correlations = {}
    for weigh in (True, False):
        state = truth.start(euler_angles=wrong)
        records = run(state, truth.series(), epochs=8, weigh_tilts=weigh, batches=2)
        pair = torch.stack([state.volume.flatten(), truth.volume.flatten()])
        correlations[weigh] = torch.corrcoef(pair)[0, 1].item()
        if weigh:
            weights = records[-1].tilt_weights
            assert min(range(5), key=weights.__getitem__) == 1
            assert weights[1] < 0.5
            assert sorted(weights)[1:] == [1.0] * 4
    assert correlations[True] > correlations[False]

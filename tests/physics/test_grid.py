import pytest
import torch

from dptt.physics.grid import centred_coordinates, spatial_frequencies


@pytest.mark.parametrize("shape", [(7, 4), (6, 9)])
def test_frequencies_count_whole_periods_in_the_window_from_the_corner(shape):
    sampling = (0.3, 0.25)
    for n, d, k in zip(shape, sampling, spatial_frequencies(shape, sampling), strict=True):
        periods = torch.tensor([i if i < (n + 1) // 2 else i - n for i in range(n)], dtype=torch.float64)
        torch.testing.assert_close(k.flatten(), periods / (n * d))


def test_frequencies_broadcast_as_y_down_and_x_across():
    ky, kx = spatial_frequencies((7, 4), (1.0, 1.0))
    assert (ky.shape, kx.shape) == ((7, 1), (1, 4))


@pytest.mark.parametrize("length", [6, 7])
def test_the_sample_at_half_the_length_is_the_origin(length):
    coordinates = centred_coordinates(length, 0.25)
    assert coordinates[length // 2] == 0
    torch.testing.assert_close(coordinates.diff(), torch.full((length - 1,), 0.25, dtype=torch.float64))

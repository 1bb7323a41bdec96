import numpy as np
import pytest
import torch
from checks import assert_adjoint, random_tensor

from dptt.physics.patches import accumulate_patches, extract_patches, split_positions

IMAGE, WINDOW, SAMPLING = (11, 14), (5, 6), (0.3, 0.2)
CORNERS = torch.tensor([[0, 0], [6, 8], [9, 12], [-3, 2], [4, -20], [9, 12]])  # inside, wrapped, and one twice


@pytest.mark.parametrize("image,window", [((11, 14), (5, 6)), ((12, 15), (6, 5)), ((12, 14), (7, 7))])
def test_position_zero_puts_the_window_centre_on_the_image_centre(image, window):
    corners, shifts = split_positions(torch.zeros(1, 2).double(), SAMPLING, image, window)
    assert (corners[0] + torch.tensor(window) // 2).tolist() == [n // 2 for n in image]
    assert (shifts == 0).all()


def test_corner_and_remainder_add_up_to_the_position():
    positions = 3 * random_tensor(200, 2, seed=1)
    corners, shifts = split_positions(positions, SAMPLING, IMAGE, WINDOW)
    centre = torch.tensor([n // 2 for n in IMAGE])
    window_centre = corners + torch.tensor(WINDOW) // 2
    torch.testing.assert_close((window_centre - centre + shifts) * torch.tensor(SAMPLING).double(), positions)
    assert shifts.abs().max() <= 0.5
    assert shifts.abs().amax(0).min() > 0.45  # remainders of either sign and any size occur


def test_patches_are_windows_of_the_periodic_image():
    image = random_tensor(3, *IMAGE, seed=2, dtype=torch.complex128)
    tiled = np.tile(image.numpy(), (1, 5, 5))
    patches = extract_patches(image, CORNERS, WINDOW)
    assert patches.shape == (len(CORNERS), 3, *WINDOW)
    for patch, (y, x) in zip(patches.numpy(), CORNERS.tolist(), strict=True):
        y, x = y + 2 * IMAGE[0], x + 2 * IMAGE[1]
        np.testing.assert_array_equal(patch, tiled[:, y : y + WINDOW[0], x : x + WINDOW[1]])


def test_a_point_at_the_scan_position_is_seen_at_the_window_centre():
    image = torch.zeros(1, *IMAGE).double()
    image[0, IMAGE[0] // 2 + 2, IMAGE[1] // 2 - 3] = 1.0
    corners, _ = split_positions(torch.tensor([[2 * 0.3, -3 * 0.2]]).double(), SAMPLING, IMAGE, WINDOW)
    patch = extract_patches(image, corners, WINDOW)[0, 0]
    assert patch.nonzero().tolist() == [[WINDOW[0] // 2, WINDOW[1] // 2]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_accumulate_is_the_adjoint_of_extract(dtype):
    assert_adjoint(
        lambda image: extract_patches(image, CORNERS, WINDOW),
        lambda patches: accumulate_patches(patches, CORNERS, IMAGE),
        random_tensor(3, *IMAGE, seed=3, dtype=dtype),
        rtol=1e-14,
    )

import numpy as np
import pytest
from report_contents import gaussian_atoms

from dptt.report.rendering import (
    block_means,
    composite,
    fourier_interpolate,
    opacity_levels,
    prepare,
    render,
    sample_view,
    views,
    visible_edge,
)

SHAPE, VOXEL_SIZE = (25, 21, 23), (0.4, 0.5, 0.45)


@pytest.mark.parametrize("view", views(), ids=lambda view: view.name)
def test_views_are_right_handed_frames(view):
    away, down, right = view.axes[:, ::-1]  # (x, y, z)
    assert np.allclose(view.axes @ view.axes.T, np.eye(3))
    assert np.allclose(np.cross(right, down), away)


@pytest.mark.parametrize("view", views(), ids=lambda view: view.name)
def test_a_nearer_atom_hides_a_farther(view):
    away = view.axes[0]
    potential = gaussian_atoms([-2.5 * away, 2.5 * away], [10.0, 10.0], SHAPE, VOXEL_SIZE)
    density, size = prepare(potential, VOXEL_SIZE)
    both = sample_view(density, size, view, 10.0, 60)

    def middle(kept):
        samples = both * kept[:, None, None]
        samples[0, 0, 0] = samples[-1, -1, -1] = 1.0  # the same range of depth, hence of colours, for all
        return composite(samples, 10.0 / 60)[28:32, 28:32].mean(axis=(0, 1))

    depth = np.arange(60)
    assert np.allclose(middle(depth >= 0), middle(depth < 30), atol=1e-3)
    assert np.abs(middle(depth >= 0) - middle(depth >= 30)).max() > 0.1


def test_nearer_is_lighter():
    samples = np.zeros((40, 20, 40), dtype=np.float32)
    samples[5:9, 5:15, 5:15] = 1.0
    samples[30:34, 5:15, 25:35] = 1.0
    image = composite(samples, 1.0)
    assert image[8:12, 8:12].sum() > 1.3 * image[8:12, 28:32].sum()
    assert image[2, 20].max() < 0.1  # nothing there: background


@pytest.mark.parametrize(("view", "down", "right"), [(0, 1, 2), (1, 0, 2)])
def test_atoms_appear_where_the_axes_say(view, down, right):
    place = np.array([1.5, -2.0, 1.0])
    density, size = prepare(gaussian_atoms([place], [10.0], SHAPE, VOXEL_SIZE), VOXEL_SIZE)
    edge, pixels = 12.0, 60
    brightness = render(density, size, views()[view], edge, pixels).sum(axis=2) - 0.15
    centre = [(brightness.sum(axis=1 - a) @ np.arange(pixels)) / brightness.sum() for a in (0, 1)]
    # pictures are centred on the box, whose centre is half a voxel before voxel n // 2 of an even edge
    expected = [(place[a] / edge) * pixels + (pixels - 1) / 2 for a in (down, right)]
    assert centre == pytest.approx(expected, abs=2.0)


def test_interpolation_goes_through_band_limited_values_and_keeps_the_edges():
    n, factor = 12, 3
    wave = np.cos(2 * np.pi * 2 * (np.arange(n) + 0.5) / n)
    fine = np.cos(2 * np.pi * 2 * (np.arange(n * factor) + 0.5) / (n * factor))
    volume = wave[None, :, None] * np.ones((2, 1, 3))
    assert np.allclose(fourier_interpolate(volume, 1, factor)[1, :, 2], fine)


def test_block_means_drop_the_remainder():
    volume = np.arange(7.0)[None, :, None] * np.ones((2, 1, 3))
    assert np.allclose(block_means(volume, 1, 3)[0, :, 0], [1.0, 4.0])


def test_prepared_grid_keeps_its_lengths():
    for shape in (SHAPE, (3, 140, 260)):
        density, size = prepare(np.random.default_rng(0).normal(size=shape), VOXEL_SIZE)
        lengths = np.multiply(density.shape, size)
        assert np.all(lengths <= np.multiply(shape, VOXEL_SIZE) * (1 + 1e-9))
        assert np.all(lengths > 0.98 * np.multiply(shape, VOXEL_SIZE))
        assert density.min() >= 0 and density.max() <= 1


def test_noise_is_not_seen():
    noise = np.random.default_rng(0).normal(0, 1, size=(64, 60, 66))
    noise[20:32, 20:32, 20:32] += 8.0
    low, high = opacity_levels(noise)
    assert 4 * 0.99 < low < 0.6 * 8 < high
    low, high = opacity_levels(gaussian_atoms([[0, 0, 0]], [10.0], SHAPE, VOXEL_SIZE))
    assert high - low == pytest.approx(0.35 * low / 0.15)


def test_visible_part_fills_the_picture():
    volume = gaussian_atoms([[0, 0, 3.0]], [10.0], (21, 21, 41), (0.4, 0.4, 0.4))
    assert 6.0 < visible_edge(volume / volume.max(), (0.4, 0.4, 0.4)) < 10.0
    assert visible_edge(np.zeros((4, 5, 6)), (1.0, 1.0, 2.0)) == 12.0

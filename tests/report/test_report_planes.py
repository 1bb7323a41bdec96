import io

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from report_contents import ATOMS, SHAPE, VOXEL_SIZE, gaussian_atoms

from dptt.report import planes
from dptt.report.drawing import STYLE, length_label, robust_limits, scale_bar_length, signed, to_png
from dptt.report.figures.atoms import atom_figure, atom_groups, detail
from dptt.report.figures.volume import projection_figure
from dptt.report.palette_png import palette_png


def bar_pixels(axes):
    """Length of the scale bar and of the image's two edges on the canvas."""
    bar = next(line for line in axes.lines if line.get_gid() == "scale-bar")
    image = axes.get_images()[0].get_window_extent()
    ends = axes.transData.transform(bar.get_xydata())
    return ends[1, 0] - ends[0, 0], image.width, image.height


@pytest.mark.parametrize("view", [0, 1, 2])
def test_scale_bar_is_as_long_as_it_says(view):
    figure, grid = planes.draw_rows([planes.Row("", planes.slices(np.zeros(SHAPE), (8, 10, 13)), "V")], VOXEL_SIZE)
    figure.canvas.draw()
    axes = grid[0][view]
    bar, width, height = bar_pixels(axes)
    names, size = planes.VIEWS[view], dict(zip("zyx", np.multiply(SHAPE, VOXEL_SIZE), strict=True))
    stated = scale_bar_length(size[names[1]])
    assert length_label(stated) in [text.get_text() for text in axes.texts]
    assert bar / width == pytest.approx(stated / size[names[1]])
    assert width / height == pytest.approx(size[names[1]] / size[names[0]], rel=1e-6)


def test_projections_of_reconstruction_and_truth_share_a_colour_scale_along_each_axis():
    truth = np.abs(np.random.default_rng(3).normal(size=SHAPE))
    figure = projection_figure(0.5 * truth, VOXEL_SIZE, truth)
    limits = [axes.images[0].get_clim() for axes in figure.axes if axes.images and axes.get_gid()]
    assert limits[:3] == limits[3:] and len(set(limits)) == 3
    along_z = robust_limits(np.concatenate([volume.sum(0).ravel() for volume in (0.5 * truth, truth)]))
    np.testing.assert_allclose(limits[0], np.multiply(along_z, VOXEL_SIZE[0]), rtol=1e-6)


def test_scale_bar_lengths_are_round_and_at_most_a_third():
    for extent, length in ((10.0, 2.0), (15.0, 5.0), (300.0, 100.0), (0.9, 0.2), (61.0, 20.0)):
        assert scale_bar_length(extent) == pytest.approx(length)
    assert [length_label(length) for length in (0.5, 5.0, 10.0, 200.0)] == ["0.5 Å", "5 Å", "1 nm", "20 nm"]


def test_minus_zero_is_zero():
    assert [signed(v) for v in (-0.01, -1.26, 1.26)] == ["0.0", "\u22121.3", "1.3"]


def test_planes_have_the_axes_that_their_labels_say():
    volume = np.zeros(SHAPE)
    volume[3, 5, 7] = 2.0
    across_z, across_y, across_x = planes.slices(volume, (3, 5, 7))
    assert (across_z[5, 7], across_y[3, 7], across_x[5, 3]) == (2.0, 2.0, 2.0)
    along_z, along_y, along_x = planes.projections(volume, VOXEL_SIZE)
    assert (along_z[5, 7], along_y[3, 7], along_x[5, 3]) == (2 * 0.6, 2 * 0.5, 2 * 0.4)


def test_rotation_centre_is_at_zero_on_the_axes():
    for n in (6, 7):
        left, right, bottom, top = planes.plane_extent((n, n + 1), (0.5, 0.25))
        assert left + (0.5 + (n + 1) // 2) * 0.25 == pytest.approx(0) and top + (0.5 + n // 2) * 0.5 == pytest.approx(
            0
        )
        assert (right - left, bottom - top) == pytest.approx(((n + 1) * 0.25, n * 0.5))


def test_densest_planes_cut_the_strongest_atom():
    volume = gaussian_atoms(ATOMS, [10.0, 50.0, 10.0])
    assert planes.densest_indices(volume) == (8 + 4, 10 + 2, 13 - 4)


def test_a_few_hot_pixels_do_not_set_the_contrast():
    values = np.linspace(0, 1, 10_000)
    values[:5] = 1e6, -1e6, np.nan, np.inf, -np.inf
    low, high = robust_limits(values)
    assert low == pytest.approx(0, abs=0.01) and high == pytest.approx(1, abs=0.01)
    assert robust_limits(np.full(4, 3.0)) == (2.5, 3.5)
    assert robust_limits(np.full(4, np.nan)) == (0.0, 1.0)


def test_three_atoms_in_a_large_empty_slice_set_the_contrast():
    values = gaussian_atoms(ATOMS * [0, 20, 20], [50.0] * 3, (1, 500, 600), (100.0, 0.4, 0.4))
    values += np.random.default_rng(0).normal(0, 0.5, values.shape)
    assert 10 < robust_limits(values)[1] < 50


def test_rings_lie_on_the_atoms_in_all_views():
    volume = gaussian_atoms(ATOMS, [30.0, 20.0, 25.0])
    figure = atom_figure(volume, VOXEL_SIZE, atom_groups({"positions": ATOMS.tolist()}))
    axes = [a for a in figure.axes if (a.get_gid() or "").startswith("across")]
    for a in axes[:3]:
        shown = a.get_images()[0]
        left, right, bottom, top = shown.get_extent()
        image = np.asarray(shown.get_array())
        assert a.get_xlim() == (left, right) and a.get_ylim() == (bottom, top)
        for x, y in a.collections[0].get_offsets():
            column = int((x - left) / (right - left) * image.shape[1])
            row = int((y - top) / (bottom - top) * image.shape[0])
            assert image[row, column] > 0.5 * image.max()


def test_atoms_are_grouped_by_the_match_whichever_way_it_is_told():
    found = [[0, 0, 0], [1, 1, 1], [5, 5, 5]]
    for match in ({"pairs": [[0, 1], [1, 0]]}, {"missed": [2], "false_positive": [2]}):
        groups = atom_groups({"positions": found, "match": match}, np.zeros((3, 3)))
        assert [(g.label, len(g.positions)) for g in groups] == [
            ("matched", 2),
            ("false", 1),
            ("missed", 1),
        ]
    assert [g.label for g in atom_groups({"positions": found, "match": {"recall": 1.0}})] == ["traced"]
    judged = {"positions": found, "significance": [None] + [2.0] * (len(found) - 1), "noise": {"level": 4.9}}
    counted = {group.label: len(group.positions) for group in atom_groups(judged)}
    assert counted == {"significant": 1, "not significant": len(found) - 1}
    assert atom_groups(None) == []


def test_many_atoms_are_shown_on_slices_and_larger_in_the_middle():
    volume = np.random.default_rng(0).normal(size=(61, 160, 121))
    positions = np.random.default_rng(1).uniform(-25, 25, size=(900, 3))
    groups = atom_groups({"positions": positions.tolist()})
    middle, inside = detail(volume, (0.9, 0.5, 0.5), groups)
    assert middle.shape == (45, 81, 81)
    assert np.array_equal(middle[22, 40, 40], volume[30, 80, 60])  # the rotation centre stays voxel n // 2
    assert np.all(np.abs(inside[0].positions) < (20.25, 20.25, 20.25)) and 300 < len(inside[0].positions) < 600
    views = [a for a in atom_figure(volume, (0.9, 0.5, 0.5), groups).axes if (a.get_gid() or "").startswith("across")]
    assert len(views) == 3  # no projections
    assert detail(volume, (0.9, 0.5, 0.5), atom_groups({"positions": positions[:100].tolist()})) is None


def test_a_palette_keeps_frequent_colours_exactly_and_others_nearly():
    ramp = (255 * matplotlib.colormaps["inferno"](np.linspace(0, 1, 120))[:, :3]).astype(np.uint8)
    image = np.full((90, 140, 3), 255, dtype=np.uint8)
    image[10:70, 10:130] = ramp
    image[80] = np.random.default_rng(0).integers(0, 256, size=(140, 3))
    back = matplotlib.image.imread(io.BytesIO(palette_png(image)), format="png")[..., :3] * 255
    assert back.shape == image.shape
    assert np.array_equal(np.rint(back[:10]), image[:10])
    assert np.abs(back[10:70] - image[10:70]).max() < 8
    assert np.abs(back[80] - image[80]).mean() < 40


def test_a_large_figure_is_written_in_a_palette():
    def draw():
        figure = Figure(figsize=(8, 8))
        figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).normal(size=(800, 800)))
        return figure

    data = to_png(draw)
    assert data[25] == 3  # colour type: indexed
    assert matplotlib.image.imread(io.BytesIO(data), format="png").shape[:2] == (864, 864)


def test_the_house_style_leaves_the_global_one_alone():
    before = dict(matplotlib.rcParams)
    to_png(lambda: Figure())
    assert dict(matplotlib.rcParams) == before and STYLE["font.size"] != before["font.size"]

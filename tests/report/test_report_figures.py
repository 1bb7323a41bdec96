import numpy as np
import pytest
from report_contents import full_content

from dptt.report.figures.convergence import loss_figure, tilt_loss_figure
from dptt.report.figures.experiment import experiment_figure, found_panels, found_sentences
from dptt.report.figures.fourier import wedge_figure, wedge_mean, wedge_section
from dptt.report.figures.geometry import pose_figure, position_figure
from dptt.report.figures.probe import complex_colours, mode_powers, probe_figure
from dptt.report.figures.resolution import directional_figure, fsc_figure, resolution_text

SHAPE, VOXEL_SIZE = (33, 20, 40), (0.5, 0.6, 0.4)


def wedge_volume(theta_range):
    """White noise without the frequencies outside ``kz / kx = tan(theta)`` of the tilts."""
    spectrum = np.fft.fftn(np.random.default_rng(0).normal(size=SHAPE))
    kz, _, kx = np.meshgrid(*map(np.fft.fftfreq, SHAPE, VOXEL_SIZE), indexing="ij")
    low, high = np.tan(np.radians(theta_range))
    slope = np.divide(kz, kx, out=np.full(SHAPE, np.inf), where=kx != 0)
    return np.fft.ifftn(spectrum * ((slope >= low) & (slope <= high))).real


def mean_power(power, theta):
    """Power on the ray at an angle [degrees] from +kx towards +kz."""
    (nz, nx), radius = power.shape, np.linspace(0.3, 0.9, 30)
    kz, kx = radius * np.sin(np.radians(theta)), radius * np.cos(np.radians(theta))
    rows = np.rint(kz * nz * VOXEL_SIZE[0]).astype(int) + nz // 2
    columns = np.rint(kx * nx * VOXEL_SIZE[2]).astype(int) + nx // 2
    return power[rows, columns].mean()


@pytest.mark.parametrize("power_of", [wedge_section, wedge_mean])
def test_missing_wedge_lies_along_kz(power_of):
    power = power_of(wedge_volume((-50.0, 50.0)))
    assert mean_power(power, 90) < 0.03 * mean_power(power, 0)


@pytest.mark.parametrize("power_of", [wedge_section, wedge_mean])
def test_a_one_sided_tilt_range_is_empty_on_the_other_side(power_of):
    power = power_of(wedge_volume((-10.0, 60.0)))
    assert mean_power(power, -40) < 0.03 * mean_power(power, 40)


def test_dashed_lines_enclose_what_was_sampled():
    figure = wedge_figure(wedge_volume((-10.0, 60.0)), VOXEL_SIZE, tilt_range=(-10.0, 60.0))
    slopes = [line.get_ydata()[1] / line.get_xdata()[1] for line in figure.axes[0].lines]
    assert np.degrees(np.arctan(slopes)) == pytest.approx([-10, 60])
    assert figure.axes[0].get_xlim() == pytest.approx((-20.5 / 16, 19.5 / 16))  # 1 / 16 Å is a Fourier pixel


def test_mean_over_ky_is_that_of_the_three_dimensional_transform():
    volume = np.random.default_rng(1).normal(size=(9, 6, 8))
    volume[:1] = volume[-1:] = volume[:, :, :1] = volume[:, :, -1:] = 0
    flat = volume - volume.mean()
    nz, nx = 9, 8
    z, x = (np.sin(np.pi / 2 * np.clip(np.minimum(i + 0.5, n - i - 0.5) / (0.1 * n), 0, 1)) ** 2
            for n in (nz, nx) for i in [np.arange(n)])  # fmt: skip
    spectrum = np.fft.fftn(flat * z[:, None, None] * x)
    assert np.allclose(np.fft.ifftshift(wedge_mean(volume)), np.mean(np.abs(spectrum) ** 2, axis=1))


def test_fsc_crossings_are_marked_where_the_resolution_says():
    axes = fsc_figure(full_content().analysis).axes[0]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert marks == pytest.approx([1 / 2.14])  # the others are at Nyquist or not resolved
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["FSC", "0.5: 2.14 Å", "0.143: ≤ 1.25 Å (voxel limit)", "one-bit: not resolved", "half-bit"]
    assert resolution_text(None) is None


def test_directions_make_a_fan_and_few_of_them_bars():
    entries = full_content().analysis["directional_fsc"]
    polar = directional_figure(entries).axes[1]
    assert polar.name == "polar"
    angles = np.degrees(np.asarray(polar.lines[1].get_xdata()))
    assert sorted(np.rint(angles)) == [0, 30, 60, 90, 120, 180, 210, 240, 270, 300]  # y lies outside, both ends count
    bars = directional_figure(entries[:3]).axes[1]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["z", "y", "x"]


def test_loss_axis_is_logarithmic_and_refined_parameters_have_their_own():
    loss, changes = loss_figure(full_content().epochs).axes
    assert loss.get_yscale() == "log" and [line.get_label() for line in loss.lines] == ["loss", "held-out loss"]
    assert [line.get_label() for line in changes.lines] == ["angles [°]", "scan positions [Å]"]  # no translations


def test_loss_by_tilt_is_in_order_of_angle_and_names_the_worst():
    tilts = [
        {"name": f"t{i}", "euler_angles": [0, a, 0], "loss": v} for i, (a, v) in enumerate([(9, 1), (-9, 3), (0, 2)])
    ]
    axes = tilt_loss_figure([], tilts).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[-9, 3], [0, 2], [9, 1]]
    assert axes.texts[0].get_text() == "worst: t1"


def test_pose_corrections_are_refined_minus_initial():
    axes = pose_figure(full_content().tilts).axes
    assert [line.get_ydata().tolist() for line in axes[0].lines[:9:3]] == [
        pytest.approx([value] * 3) for value in (0.1, 0.2, -0.1)
    ]
    assert axes[1].yaxis_inverted()


def test_scan_position_arrows_point_to_the_refined_positions():
    positions = full_content().scan_positions
    arrows = position_figure(positions).axes[0].collections[0]
    moved = positions[0].refined - positions[0].initial
    magnification = arrows.U / moved[:, 1]
    assert np.allclose(magnification, magnification[0]) and np.allclose(arrows.V, moved[:, 0] * magnification[0])
    assert f"arrows × {magnification[0]:g}" in position_figure(positions).axes[0].get_title()


def test_colour_of_the_probe_tells_amplitude_and_phase():
    phases = complex_colours(np.exp(1j * np.linspace(-np.pi, np.pi, 37)))
    assert np.allclose(phases[0], phases[-1])  # no jump at the branch cut
    assert phases.min() >= 0 and phases.max() <= 1
    grey = (phases**2.2) @ [0.2126, 0.7152, 0.0722]
    assert np.ptp(grey) < 0.12 * grey.mean()  # all phases are about equally light
    assert np.allclose(complex_colours(np.array([0j])), 0)
    assert np.all(np.diff(complex_colours(np.linspace(0, 1, 9) * 1j).sum(axis=1)) > 0)


def test_mode_powers_are_shares_and_stand_in_the_titles():
    probe = full_content().probes[0]
    powers = mode_powers(probe.modes * np.array([3.0, 1.0])[:, None, None])
    assert powers.sum() == pytest.approx(1) and powers[0] > 0.8
    titles = [axes.get_title() for axes in probe_figure([probe]).axes]
    assert titles[0] == "tilt_1, far field"
    assert titles[1] == f"tilt_1, mode 1: {100 * mode_powers(probe.modes)[0]:.1f} %"


def test_what_was_found_of_the_experiment_is_drawn_with_its_errors_and_said():
    tilts = [
        {"euler_angles": [0, theta, 0], "scan_rotation_deg": 1.0 + i, "scan_rotation_deg_error": 0.25}
        | {
            "C10_change_A": -5.0 * i,
            "C10_change_A_error": 0.5,
            "C12_cos_change_A": 0.0,
            "C12_cos_change_A_error": 1.0,
        }
        for i, theta in enumerate((10.0, -20.0, 30.0))
    ]
    assert found_panels(tilts) == ["Scan rotation", "Focus"] and found_panels([{"weight": 1.0}]) == []
    rotation, focus = experiment_figure(tilts).axes
    line, _, (bars,) = rotation.containers[0]
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 1.0, 3.0])
    np.testing.assert_allclose([b[1, 1] - b[0, 1] for b in bars.get_segments()], 0.5)
    assert len(focus.containers) == 1, "what is zero in all tilts is not drawn"
    said = found_sentences(tilts)
    assert "Scan rotation: 2 with a spread of 0.82 ° over the tilts, each ± 0.25." in said
    assert "Focus, C10: -5" in said and "C12" not in said


def test_a_mean_scale_that_was_not_looked_for_is_said_to_be_that_of_the_file():
    said = [
        found_sentences([{"scan_scale_percent": value + mean} for value in (-0.5, 0.2, 0.3)]) for mean in (0, 0.4)
    ]
    assert "mean scale of all tilts is that of the file" in said[0] and "of the file" not in said[1]
    assert "of the file" not in found_sentences([{"scan_rotation_deg": 1.0}])

"""What the solver is given for a series and a configuration."""

import math

import numpy as np
import pytest
import torch
from series_files import DETECTOR, disk, opened, raster, write_series

from dptt.assembly.brightfield import BrightFieldError, bright_field_data
from dptt.assembly.problem import build_problem, plan_series_geometry
from dptt.assembly.ptychography import build_tilt_problem, slice_geometry
from dptt.assembly.start import centre_plane_probe, series_start
from dptt.assembly.usable_pixels import electrons_summed
from dptt.config.reconstruction import PtychographyConfig
from dptt.io.errors import ProblemsError


@pytest.fixture
def path(tmp_path):
    return write_series(tmp_path / "series.h5")


def problem_of(path, **sections):
    with opened(path, **sections) as (config, series):
        return build_problem(config, series)


def electrons_of(probe) -> float:
    return probe.abs().square().sum().item()


@pytest.mark.parametrize("probe", [{}, {"amplitude": "aperture"}, {"modes": 3}], ids=str)
def test_the_starting_probe_has_the_electrons_of_the_mean_pattern(path, probe):
    problem = problem_of(path, reconstruction={"probe": probe})
    for modes in problem.state.probes:
        assert modes.shape == (probe.get("modes", 1), *problem.geometry.window_shape)
        assert electrons_of(modes) == pytest.approx(900.0, rel=1e-5)


def test_counts_are_turned_into_electrons(tmp_path):
    path = write_series(tmp_path / "series.h5", counts_per_electron=5.0)
    problem = problem_of(path)
    assert electrons_of(problem.state.probes[0]) == pytest.approx(180.0, rel=1e-5)
    assert problem.tilts[0].mean_electrons == pytest.approx(180.0, rel=1e-5)
    assert problem.tilts[0].scale == 0.2


def test_the_amplitude_of_the_starting_probe_is_that_of_the_mean_pattern(path):
    probe = problem_of(path).state.probes[0][0]
    pattern = torch.fft.fftshift(torch.fft.fft2(probe, norm="ortho").abs().square()).numpy()
    bright = disk() > 0
    assert pattern[bright].sum() > 0.9 * 900
    assert np.corrcoef(pattern.ravel(), disk().ravel())[0, 1] > 0.9


def test_the_probe_of_the_centre_plane_has_the_defocus_of_the_series(path):
    """The solver's probe is in front of the first slice; brought back it is in focus at minus the defocus."""
    problem = problem_of(path, volume={"thickness": 30.0})
    geometry, front = problem.geometry, problem.state.probes[0]
    centre = centre_plane_probe(front, geometry)
    assert geometry.first_slice_depth < -5
    sharpness = {}
    for distance in np.arange(-120.0, 121.0, 20.0):
        spectrum = torch.fft.fft2(centre) * geometry.propagator(float(distance), centre.dtype)
        sharpness[distance] = torch.fft.ifft2(spectrum).abs().max().item()
    assert max(sharpness, key=sharpness.get) == 60.0, "underfocus of 60 Å: the focus lies 60 Å further along the beam"


def test_the_probe_of_the_file_is_taken_as_it_is(tmp_path):
    generator = np.random.default_rng(4)
    stored = (generator.normal(size=(2, *DETECTOR)) + 1j * generator.normal(size=(2, *DETECTOR))).astype(np.complex64)
    stored *= np.sqrt(1.1 * 900 / np.sum(np.abs(stored) ** 2))
    problem = problem_of(write_series(tmp_path / "series.h5", probe=stored), reconstruction={"probe": {"modes": 5}})
    centre = centre_plane_probe(problem.state.probes[1], problem.geometry)
    np.testing.assert_allclose(centre.numpy(), stored, atol=1e-4 * np.abs(stored).max())


def test_a_probe_in_other_units_is_scaled_to_the_electrons_of_the_patterns(tmp_path):
    stored = np.ones((1, *DETECTOR), np.complex64)
    problem = problem_of(write_series(tmp_path / "series.h5", probe=stored))
    assert problem.state.probes[0].abs().square().sum().item() == pytest.approx(900.0, rel=1e-4)


def test_poses_and_positions_are_those_of_the_file(path):
    state = problem_of(path).state
    assert state.euler_angles.tolist() == [[0, -30, 0], [0, 0, 0], [0, 40, 0]]
    assert state.translations.tolist() == [[0.1, -0.2]] * 3
    np.testing.assert_array_equal(state.positions[2].numpy(), raster())
    assert not state.volume.any() and state.epoch == 0


@pytest.mark.parametrize(
    ("kind", "precision", "dtype"),
    [
        ("complex", "single", torch.complex64),
        ("complex", "double", torch.complex128),
        ("real", "single", torch.float32),
        ("real", "double", torch.float64),
    ],
)
def test_kind_and_precision_of_the_volume_are_those_chosen(path, kind, precision, dtype):
    state = problem_of(path, volume={"kind": kind}, reconstruction={"precision": precision}).state
    assert state.volume.dtype == state.velocity.dtype == dtype
    assert state.probes[0].dtype == (torch.complex128 if precision == "double" else torch.complex64)
    assert state.positions[0].dtype == torch.float64


def test_every_nth_pattern_is_used_with_its_position(tmp_path):
    positions = raster((5, 4))
    path = write_series(tmp_path / "series.h5", positions=positions)
    problem = problem_of(path, reconstruction={"every": 3, "offset": 2})
    np.testing.assert_array_equal(problem.state.positions[0].numpy(), positions[2::3])
    with opened(path, reconstruction={"every": 3, "offset": 2}) as (config, series):
        asked: list[int] = []
        original = series.tilts[0].read
        object.__setattr__(series.tilts[0], "read", lambda numbers: (asked.extend(numbers), original(numbers))[1])
        problem = build_problem(config, series)
        asked.clear()
        problem.tilts[0].read(torch.tensor([1, 4]))
    assert asked == [5, 14]


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_half_sets_share_the_grid_of_the_whole_series(path, offset):
    """Half-sets are compared voxel by voxel, so their grids may not follow the patterns that each happens to use."""
    whole = problem_of(path).geometry
    assert problem_of(path, reconstruction={"every": 3, "offset": offset}).geometry == whole


def test_masked_pixels_add_nothing_to_the_mean_pattern(tmp_path):
    pattern, mask = disk(), np.ones(DETECTOR, bool)
    pattern[3, 4], mask[3, 4] = 1e6, False
    problem = problem_of(write_series(tmp_path / "series.h5", pattern=pattern, mask=mask))
    assert problem.tilts[0].mean_electrons == pytest.approx(900.0, rel=1e-5)


def test_a_masked_hot_pixel_leaves_no_pattern_out(tmp_path):
    pattern, mask = disk(), np.ones(DETECTOR, bool)
    pattern[3, 4], mask[3, 4] = 65535, False
    path = write_series(tmp_path / "series.h5", pattern=pattern, mask=mask)
    with opened(path) as (config, series):
        tilt = build_problem(config, series).tilts[0]
        indices = torch.arange(series.tilts[0].num_positions)
        tilt.read(indices)
    assert tilt.usable(indices).all() and tilt.num_left_out == 0


def test_epochs_are_counted_from_one_in_the_file_and_from_zero_in_the_solver(path):
    settings = problem_of(
        path,
        reconstruction={"angles": {"from_epoch": 3, "step": 0.5}, "regularisation": {"l1_from_epoch": 2}},
    ).settings
    assert [settings.angles.active(epoch) for epoch in (1, 2, 3)] == [False, True, True]
    assert settings.angles.step == 0.5
    assert settings.regularisation.l1_start == 1
    assert not any(settings.positions.active(epoch) for epoch in range(100))
    assert [settings.probe.active(epoch) for epoch in (0, 1)] == [False, True], "the default"


def test_patterns_are_kept_only_where_all_of_a_rank_fit_in_the_memory(path):
    kept_bytes = 3 * 20 * DETECTOR[0] * DETECTOR[1] * 4
    for memory, ranks, kept in ((1.01, 1, True), (0.99, 1, False), (0.51, 2, True), (0.49, 2, False)):
        choices = {"data_memory": memory * kept_bytes / 2**20}
        with opened(path, reconstruction=choices) as (config, series):
            problem = build_problem(config, series, num_ranks=ranks)
            first = problem.tilts[0].read(torch.tensor([0, 1]))
            assert (problem.tilts[0].read(torch.tensor([0, 1])) is first) == kept


def test_every_dark_tilt_is_named(tmp_path):
    with pytest.raises(ProblemsError) as failure:
        problem_of(write_series(tmp_path / "series.h5", pattern=np.zeros(DETECTOR)))
    *tilts, verdict = failure.value.problems
    assert tilts == [f"tilt {name} is left out: its patterns hold no electrons." for name in ("0000", "0001", "0002")]
    assert "no tilt is left" in verdict


def test_a_mask_without_the_bright_disk_is_refused_unless_the_optics_make_the_probe(tmp_path):
    pattern = disk() + 0.01
    path = write_series(tmp_path / "series.h5", pattern=pattern, mask=disk(semiangle=25.0) == 0)
    with pytest.raises(ProblemsError, match="no electrons within 15.0 mrad; expected.*Check the mask"):
        problem_of(path)
    problem = problem_of(path, reconstruction={"probe": {"amplitude": "aperture"}})
    assert torch.isfinite(problem.state.probes[0]).all()


@pytest.mark.parametrize(("value", "intensity"), [(0.0, "0.0"), (np.nan, "nan"), (np.inf, "nan")])
def test_a_stored_probe_without_a_finite_intensity_is_refused(tmp_path, value, intensity):
    stored = np.full((1, *DETECTOR), value, np.complex64)
    with pytest.raises(ProblemsError, match=f"stored probe has the intensity {intensity}; expected a finite"):
        problem_of(write_series(tmp_path / "series.h5", probe=stored))


def test_a_sampling_in_radians_leaves_no_bright_disk_to_measure(tmp_path):
    path = write_series(tmp_path / "series.h5", sampling=(0.0025, 0.0028), scan_shape=(5, 4))
    with opened(path) as (_, series), pytest.raises(BrightFieldError, match="Check semiangle_cutoff and angular_s"):
        bright_field_data(series.tilts[0], series)


@pytest.mark.parametrize(("shape", "every", "start"), [((15, 14), 1, 1), ((15, 13), 1, None), ((20, 20), 3, None)])
def test_a_calibration_unasked_is_that_of_the_patterns_of_a_tilt(tmp_path, shape, every, start):
    """A half-set does as the whole does, though it has half of the patterns."""
    path = write_series(tmp_path / "series.h5", angles=(0.0,), positions=raster(shape))
    for half in (None, 1):
        with opened(path, half=half, reconstruction={"every": every}) as (config, series):
            assert build_problem(config, series).settings.calibration.start == start


@pytest.mark.parametrize("masked_rows", [0, 3])
@pytest.mark.parametrize(
    ("loss", "kind", "below", "above"),
    [
        ("auto", np.uint16, "poisson", "amplitude"),
        ("auto", np.float32, "amplitude", "amplitude"),  # no counts: in whatever unit
        ("amplitude", np.uint16, "amplitude", "amplitude"),
        ("poisson", np.uint16, "poisson", "poisson"),
    ],
)
def test_few_electrons_are_counted_and_many_have_amplitudes(tmp_path, masked_rows, loss, kind, below, above):
    bright, valid = disk() > 0, np.ones(DETECTOR, bool)
    valid[:masked_rows] = False
    share = bright[valid].mean()
    for electrons, expected in ((math.floor(2 / share), below), (math.ceil(2 / share), above)):
        path = write_series(tmp_path / "series.h5", pattern=(electrons * bright).astype(kind), mask=valid)
        with opened(path, reconstruction={"loss": loss}) as (config, series):
            assert build_problem(config, series).settings.loss == expected
            choice = PtychographyConfig(loss=loss)
            geometry = slice_geometry(choice, plan_series_geometry(config, series), series.semiangle_cutoff)
            tilt, start = series.tilts[0], series_start(series)[series.tilts[0].name]
            alone = build_tilt_problem(
                choice,
                series,
                tilt,
                kind="complex",
                start=start,
                geometry=geometry,
                selection=np.arange(tilt.num_positions),
            )
            assert alone.settings.loss == expected


@pytest.mark.parametrize(
    ("gain", "told", "summed"), [(1, 1.0, 20.0), (7, 7.0, 20.0), (7, 1.0, 20 / 7), (1, 3.0, 20.0)]
)
def test_an_electron_of_an_untold_gain_counts_once_where_faulty_pixels_are_looked_for(tmp_path, gain, told, summed):
    pattern = (gain * (disk() > 0)).astype(np.uint16)
    path = write_series(tmp_path / "series.h5", pattern=pattern, positions=raster((5, 4)), counts_per_electron=told)
    with opened(path) as (_, series):
        tilt = series.tilts[0]
        assert electrons_summed(tilt.read(slice(None)), tilt) == pytest.approx(summed)

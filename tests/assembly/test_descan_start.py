"""What the patterns themselves show, descan and bad pixels, is where bright field, ptychography and loop start."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from series_files import SAMPLING, SEMIANGLE, disk, opened, raster

from dptt.assembly import descan
from dptt.assembly.brightfield import bright_field_data
from dptt.assembly.descan import find_descan, starts_with_descan
from dptt.assembly.problem import build_problem
from dptt.assembly.start import sample_patterns, series_start
from dptt.assembly.usable_pixels import moved_back, usable_pixels
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData
from dptt.model.calibration import DESCAN

MATRIX = np.array([[0.5, -0.2], [0.3, 0.4]])
POSITIONS = raster((9, 8))
HOT, DEAD = (3, 5), (14, 9)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a series of two tilts in vacuum: one with descan, one with bad pixels instead."""
    still = np.repeat(disk(9000.0)[None], len(POSITIONS), 0)
    moved = moved_back(still, torch.from_numpy(-POSITIONS @ MATRIX.T))
    generator = np.random.default_rng(0)
    moved, still = (generator.poisson(patterns).astype(np.uint16) for patterns in (moved, still))
    still[(slice(None), *HOT)], still[(slice(None), *DEAD)] = 500, 0
    tilts = [TiltData(moved, POSITIONS, (0.0, -10.0, 0.0)), TiltData(still, POSITIONS, (0.0, 10.0, 0.0))]
    tilts = [replace(tilt, scan_shape=(9, 8)) for tilt in tilts]
    file = tmp_path_factory.mktemp("descan") / "series.h5"
    write_tilt_series(file, SeriesHeader(300e3, SEMIANGLE, SAMPLING, {"C10": -60.0}), tilts)
    return file


def test_the_descan_is_found_where_there_is_one_and_goes_into_the_state(path):
    with opened(path) as (config, series):
        found = starts_with_descan(series_start(series), series)
        rows = [found[tilt.name].calibration[DESCAN].reshape(2, 2).numpy() for tilt in series.tilts]
        np.testing.assert_allclose(rows[0], MATRIX, atol=0.04)
        assert not rows[1].any()
        state = build_problem(config, series, starts=found).state
        np.testing.assert_allclose(state.calibration[0, DESCAN].reshape(2, 2).numpy(), rows[0])
        assert not build_problem(config, series).state.calibration.any()
        known = replace(found["0000"], calibration=2 * found["0000"].calibration)
        again = starts_with_descan(found | {"0000": known}, series)
        assert torch.equal(again["0000"].calibration, known.calibration), "a known one is kept"


def test_one_that_nothing_refines_is_used_only_if_it_is_large(path, monkeypatch):
    with opened(path) as (_, series):
        starts = series_start(series)
        used = starts_with_descan(starts, series, refined=False)
        assert used["0000"].calibration[DESCAN].any() and not used["0001"].calibration.any()
        largest = (
            find_descan(series.tilts[0], series, POSITIONS).shifts(torch.from_numpy(POSITIONS)).norm(dim=1).max()
        )
        monkeypatch.setattr(descan, "PLAIN", 1.01 * largest.item())
        assert not starts_with_descan(starts, series, refined=False)["0000"].calibration.any()
        assert starts_with_descan(starts, series)["0000"].calibration[DESCAN].any()


def test_in_turned_positions_it_is_turned(path):
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    with opened(path) as (_, series):
        found = find_descan(series.tilts[0], series, POSITIONS @ turn.T)
    np.testing.assert_allclose(found.matrix.numpy(), MATRIX @ turn.T, atol=0.04)


def test_it_is_undone_in_the_mean_pattern_and_in_the_virtual_images(path):
    with opened(path) as (_, series):
        tilt = series.tilts[0]
        every = np.arange(tilt.num_positions)
        blurred = sample_patterns(tilt, series, every).mean
        sharp = sample_patterns(tilt, series, every, starts_with_descan(series_start(series), series)["0000"]).mean
        error = [np.abs(mean - disk(9000.0)).sum() / 9000 for mean in (blurred, sharp)]
        assert error[1] < 0.7 * error[0], "what is left is interpolation"
        centres = bright_field_data(tilt, series).centre_of_mass
        assert centres.std((1, 2)).max() < 0.15, "mrad; the descan alone makes more than 1"


def test_hot_and_dead_pixels_are_masked_in_the_tilt_that_has_them(path):
    with opened(path) as (config, series):
        assert usable_pixels(series.tilts[0], series) is None
        mask = usable_pixels(series.tilts[1], series)
        assert sorted(map(tuple, np.argwhere(~mask).tolist())) == [HOT, DEAD]
        problem = build_problem(config, series)
        assert problem.left_out == ["up to 2 hot or dead detector pixels are left out, found in 1 of 2 tilts."]
        first, second = problem.tilts
        assert first.mask is None or first.mask.all()
        assert (~second.mask).sum() == 2
        assert second.mean_electrons == pytest.approx(9000 * (1 - 1 / (disk() > 0).sum()), rel=0.01)

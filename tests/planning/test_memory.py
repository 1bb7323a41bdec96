"""Memory per rank: what was measured, and how it falls."""

from dataclasses import replace

import pytest
from workloads import ODD, TELLURIUM, cube

from dptt.planning.bands import bands
from dptt.planning.layout import Layout
from dptt.planning.memory import keeps_patterns, peak_memory

MEASURED = {
    (192, 0.5, 1, 1): 142,
    (192, 0.5, 1, 2): 86,
    (192, 0.5, 1, 4): 63,
    (192, 0.5, 2, 1): 144,
    (256, 0.5, 1, 1): 317,
    (256, 0.0, 1, 2): 152,
    (256, 0.0, 1, 4): 81,
    (256, 0.5, 1, 2): 169,
    (256, 0.5, 1, 4): 125,
}
"""Voxels along each axis, degrees off axis, scan ranks, slabs -> largest peak [MiB] above Python, torch and compiled
kernels: complex64, by `scripts/measure_slabs.py`."""


@pytest.mark.parametrize("run", MEASURED, ids=lambda run: "{} voxels, {}°, {} scan x {} slabs".format(*run))
def test_the_prediction_is_within_15_percent_of_what_was_measured(run):
    size, off_axis, scan, slabs = run
    predicted = peak_memory(cube(size, off_axis), Layout(scan=scan, slabs=slabs)).total / 2**20
    assert predicted == pytest.approx(MEASURED[run], rel=0.15)


def test_slabs_share_the_volume_and_scan_ranks_do_not():
    alone, scan, slabs = (peak_memory(TELLURIUM, Layout(scan=s, slabs=n)).volume for s, n in ((1, 1), (4, 1), (1, 4)))
    assert alone == scan == 2 * 296**3 * 8
    assert slabs == alone / 4


def test_patterns_are_kept_while_they_fit_into_all_ranks():
    small = replace(TELLURIUM, data_bytes=2 << 30)
    assert not keeps_patterns(small, Layout(scan=4))
    assert keeps_patterns(small, Layout(scan=8))
    assert peak_memory(small, Layout(scan=4)).patterns < peak_memory(small, Layout(scan=8)).patterns / 10


def test_the_parts_sum_to_the_peak():
    peak = peak_memory(ODD, Layout(slabs=2), baseline=1000)
    assert peak.total == peak.baseline + peak.volume + peak.working + peak.patterns + peak.probes


def test_refining_poses_costs_a_copy_of_the_volume():
    posed = replace(ODD, refines_pose=True)
    assert peak_memory(posed, Layout()).volume == peak_memory(ODD, Layout()).volume * 1.5


def test_padded_waves_need_larger_slices_but_no_larger_volume():
    padded = replace(TELLURIUM, window_shape=(99, 99), pixels_per_voxel=2.25)
    plain, finer = peak_memory(TELLURIUM, Layout(scan=4)), peak_memory(padded, Layout(scan=4))
    assert finer.volume == plain.volume
    assert 1.5 < finer.working / plain.working < 2.5
    assert bands(padded, Layout(slabs=4)).largest == 296, "whole slices are interpolated"

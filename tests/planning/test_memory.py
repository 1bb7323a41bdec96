"""Memory per rank: what was measured, and how it falls."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from workloads import ODD, TELLURIUM, cube

from dptt.assembly.workload import simulation_workload
from dptt.config import load_config
from dptt.kernels.rotation import PLANS, all_rows, plan_of
from dptt.physics.rotation import sampling_map
from dptt.planning.bands import bands
from dptt.planning.gpu import on_gpu
from dptt.planning.layout import Layout
from dptt.planning.memory import KEPT_PLANS, keeps_patterns, peak_memory, turning_tables

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
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


def test_a_copy_of_the_volume_that_undoes_an_epoch_is_counted_where_no_checkpoint_does():
    kept = {}
    for interval in ("1", "2", "auto", "30 min"):
        config = load_config(CONFIGS / "00_minimal.yaml", [f"distribution.checkpoint_every={interval}"])
        kept[interval] = peak_memory(simulation_workload(config), Layout()).volume
    assert {kept[interval] / kept["1"] for interval in ("2", "auto", "30 min")} == {2.0}


@pytest.mark.parametrize("angles", [(2.0, 44.0, 3.0), (0.0, 10.0, -4.0)])
def test_the_tables_of_skewed_turnings_are_counted(angles):
    shape = (24, 90, 80)
    map_ = sampling_map(torch.tensor(angles), torch.zeros(2), (1.0, 1.0, 1.0))
    turned = plan_of(map_, shape, all_rows(shape[1]), torch.zeros(1))
    tables = [table for table in (*turned.gathered, *turned.shared) if table is not None]
    bytes_ = KEPT_PLANS * sum(part.nbytes for table in tables for part in table)
    skewed = on_gpu(replace(ODD, volume_shape=shape, skewed=True), 1 << 40)
    assert 0.7 < turning_tables(skewed, Layout()) / bytes_ < 1.6 and KEPT_PLANS == PLANS
    added = peak_memory(skewed, Layout()).total - peak_memory(replace(skewed, skewed=False), Layout()).total
    assert added == turning_tables(skewed, Layout())
    assert turning_tables(replace(skewed, gpu_bytes=None), Layout()) == 0, "code for CPUs keeps none"


def test_padded_waves_need_larger_slices_but_no_larger_volume():
    padded = replace(TELLURIUM, window_shape=(99, 99), pixels_per_voxel=2.25)
    plain, finer = peak_memory(TELLURIUM, Layout(scan=4)), peak_memory(padded, Layout(scan=4))
    assert finer.volume == plain.volume
    assert 1.5 < finer.working / plain.working < 2.5
    assert bands(padded, Layout(slabs=4)).largest == 296, "whole slices are interpolated"

"""What a plan says that ranks send is what the communicators count, and follows from the modes."""

from dataclasses import replace

import pytest
from workloads import ODD, TELLURIUM

from dptt.planning.layout import Layout
from dptt.planning.traffic import bytes_per_update, messages
from dptt.planning.workload import halo


def test_one_rank_sends_nothing():
    assert bytes_per_update(ODD, Layout()) == 0


def test_scan_mode_sums_slices_and_not_the_volume():
    sent = bytes_per_update(TELLURIUM, Layout(scan=4))
    slices = 8 * 296 * 296
    probe = 3 * 66 * 66
    held_out = 8 / 5  # a loss in double precision, once a tilt of five updates
    assert sent == pytest.approx(slices * 8 + 296 * 296 * 4 + probe * 8 + 4 + held_out)
    assert sent < TELLURIUM.voxels * TELLURIUM.voxel_bytes / 30


@pytest.mark.parametrize("ranks", [2, 3, 64])
def test_the_bytes_of_scan_mode_do_not_depend_on_the_number_of_ranks(ranks):
    assert bytes_per_update(ODD, Layout(scan=ranks)) == bytes_per_update(ODD, Layout(scan=2))


def test_slabs_on_the_axis_need_no_halo_and_send_no_rows_of_the_volume():
    assert not [m for m in messages(ODD, Layout(slabs=3)) if m.content.startswith("halo")]


def test_off_axis_angles_cost_a_halo_that_grows_with_the_volume():
    small, large = (halo((1.0, 40.0, 0.0), 0.0, (n, n, n), (1.0, 1.0, 1.0)) for n in (64, 256))
    assert halo((0.0, 70.0, 0.0), 0.0, (64, 64, 64), (1.0, 1.0, 1.0)) == 0
    between = 2 * 2 * 12  # rows are interpolated twice, from 12 at either side
    assert large - between == pytest.approx(4 * (small - between), abs=3)
    assert large - between == 2 * 4, "256/2 · (sin 1° cos 40° + sin 1° sin 40°) = 3.1 rows at either side, rounded up"


def test_a_fractional_translation_needs_the_rows_that_are_interpolated():
    shape, voxel = (8, 9, 7), (1.0, 1.0, 1.0)
    assert halo((0.0, 30.0, 0.0), 0.4, shape, voxel) == 1 + 2 * 12
    assert halo((0.0, 30.0, 0.0), 2.0, shape, voxel) == 2


def test_refining_positions_and_poses_is_counted():
    plain, refining = ODD, replace(ODD, refines_positions=True, refines_pose=True, halo_rows=2.0)
    for layout in (Layout(scan=2), Layout(slabs=2)):
        assert bytes_per_update(refining, layout) > bytes_per_update(plain, layout)


def test_tilt_groups_send_the_volume_and_averages_send_it_less_often():
    every, seldom = (bytes_per_update(ODD, Layout(tilt_groups=2), interval) for interval in (1, 8))
    assert every > ODD.voxels * ODD.voxel_bytes > seldom

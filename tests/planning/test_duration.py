"""Seconds of an epoch: limits that any model must keep, and published figures."""

from dataclasses import replace

import pytest
from workloads import ODD, TELLURIUM

from dptt.planning.duration import epoch_duration, message_seconds
from dptt.planning.layout import Layout
from dptt.planning.machine import KNOWN
from dptt.planning.traffic import Message, messages

H100 = KNOWN["h100"]


def test_the_experiment_of_the_paper_takes_what_it_took_on_an_h200():
    """3.2 to 3.6 s an epoch, seven epochs in one process with all patterns on the GPU (docs/gpu.md)."""
    resident = replace(TELLURIUM, gpu_bytes=KNOWN["h200"].memory, resident=True)
    assert 2.9 < epoch_duration(resident, Layout(), KNOWN["h200"]).total < 3.6


def test_ranks_share_the_patterns_and_only_slabs_share_the_volume():
    alone, scan, slabs = (epoch_duration(TELLURIUM, one, H100) for one in (Layout(), Layout(scan=4), Layout(slabs=4)))
    assert scan.patterns == pytest.approx(alone.patterns / 4, rel=0.01)
    assert slabs.patterns == pytest.approx(alone.patterns / 4, rel=0.01)
    assert scan.volume == pytest.approx(alone.volume, rel=0.01)
    assert slabs.volume < 0.5 * alone.volume


def test_no_layout_is_faster_than_its_ranks_allow():
    alone = epoch_duration(ODD, Layout(), H100).total
    for layout in (Layout(scan=3), Layout(slabs=3), Layout(3, 1, 1), Layout(scan=2, slabs=2)):
        assert epoch_duration(ODD, layout, H100).total >= 0.999 * alone / layout.ranks, layout


def test_more_ranks_than_cores_gain_nothing():
    crowded = H100.changed(ranks_per_node=8, full_speed=2)
    two, four = (epoch_duration(TELLURIUM, Layout(slabs=n), crowded) for n in (2, 4))
    assert four.patterns == pytest.approx(two.patterns, rel=0.01)


def test_an_all_reduce_costs_two_messages_a_doubling_and_twice_the_bytes():
    machine = replace(H100, latency=1.0, bandwidth=10.0, ranks_per_node=8)
    sum_ = Message("slice gradient", "scan", "sum", 1, 100.0)
    assert message_seconds(sum_, Layout(scan=2), machine) == pytest.approx(2 * 1 + 100 / 10)
    assert message_seconds(sum_, Layout(scan=8), machine) == pytest.approx(2 * 3 + 2 * 7 / 8 * 100 / 10)


def test_a_message_between_nodes_takes_the_slower_network():
    machine = replace(H100, ranks_per_node=2, bandwidth=10.0, bandwidth_between=1.0, latency=0.0, latency_between=0.0)
    sum_ = Message("slice gradient", "group", "sum", 1, 100.0)
    inside, outside = (message_seconds(sum_, Layout(scan=n), machine) for n in (2, 4))
    assert inside == pytest.approx(10.0)
    assert outside == pytest.approx(150.0)


def test_patterns_that_are_not_kept_are_read_while_others_are_computed():
    small = replace(TELLURIUM, data_bytes=1 << 20)
    fast, slow = (epoch_duration(small, Layout(), H100.changed(reading=rate)).read for rate in (1e12, 1e8))
    assert fast == 0.0
    assert slow > 60.0, "11 GB at 100 MB/s take 110 s, the epoch 4"


def test_slabs_thinner_than_a_probe_window_exchange_with_many_peers():
    def peers(slabs: int) -> int:
        return next(m.peers for m in messages(TELLURIUM, Layout(slabs=slabs)) if m.content == "band of slices")

    assert peers(4) == 1 + (75 > 74), "a window and its part of the scan, 66 + 11 rows, on slabs of 74"
    assert peers(128) == 23, "67 rows on slabs of 3"

"""What stays on a GPU: everything where there is room, less of it step by step where there is not."""

from dataclasses import replace

import pytest
from workloads import ODD, TELLURIUM

from dptt.planning.gpu import ENOUGH_WAVES, LEAST_WAVES, MOST_WAVES, host_memory, on_gpu, placed, shortage
from dptt.planning.layout import Layout
from dptt.planning.machine import GIBIBYTE, KNOWN
from dptt.planning.memory import pattern_memory, peak_memory
from dptt.planning.recommendation import forecast

ONE = Layout()
ALL_PATTERNS = 26 * 220 * 220 * 66 * 66 * 2


def on(gigabytes: float, workload=TELLURIUM, layout=ONE):
    """Return what is placed on a GPU with so much for a rank; it fits."""
    chosen, fits = placed(on_gpu(workload, round(gigabytes * 1e9)), layout)
    assert fits and peak_memory(chosen, layout).total <= gigabytes * 1e9
    return chosen


def test_the_experiment_of_the_paper_takes_less_than_4_gb_beyond_its_data():
    """[P] needed 24 GB with them."""
    for gigabytes, resident, held in ((24, True, ALL_PATTERNS), (4, False, 2 * ALL_PATTERNS * 0.98 / 130)):
        chosen = on(gigabytes)
        memory = peak_memory(chosen, ONE)
        assert chosen.resident == resident and chosen.chunk_bytes == MOST_WAVES
        assert memory.total - memory.patterns < 4e9
        assert memory.patterns == pytest.approx(held, rel=1e-3)


def test_waves_give_way_first_then_patterns_then_waves_again():
    budgets = [16 * 0.985**n for n in range(250)]
    chosen = [placed(on_gpu(TELLURIUM, round(one * 1e9)), ONE) for one in budgets]
    kept = [(one.resident, one.chunk_bytes) for one, fits in chosen if fits]
    distinct = list(dict.fromkeys(kept))
    assert distinct == sorted(distinct, reverse=True), "less memory never means more of anything"
    assert [chunk for resident, chunk in distinct if resident][-1] == ENOUGH_WAVES
    assert (False, MOST_WAVES) in distinct and not chosen[-1][1]


def test_a_few_bytes_more_or_less_change_nothing():
    """Chunks of waves decide how sums are rounded: the free memory of a GPU must not."""
    assert on(20.0) == replace(on(20.01), gpu_bytes=round(20e9))
    assert on(3.0).chunk_bytes == on(3.01).chunk_bytes


@pytest.mark.parametrize("layout", [Layout(scan=4), Layout(slabs=4), Layout(4, 1, 1)], ids=str)
def test_ranks_share_the_patterns_that_stay(layout):
    assert not on(8).resident
    assert on(8, layout=layout).resident
    assert pattern_memory(on(8, layout=layout), layout) < 0.27 * ALL_PATTERNS


def test_what_does_not_fit_says_how_much_would_and_that_much_does():
    chosen, fits = placed(on_gpu(TELLURIUM, 300 << 20), ONE)
    assert not fits and not chosen.resident and chosen.chunk_bytes == LEAST_WAVES
    needed = peak_memory(chosen, ONE)
    said = shortage(needed, 300 << 20)
    assert "distribution.memory: a rank may use 300 MiB" in said and "396 MiB for volume and momentum" in said
    assert f"at least {-(-needed.total // 2**20)} MiB" in said and "distribution.slabs" in said
    assert not on(needed.total / 1e9).resident
    assert not placed(on_gpu(TELLURIUM, needed.total - 1), ONE)[1]


def test_on_a_cpu_nothing_is_placed():
    assert placed(ODD, ONE) == (ODD, True)


def test_single_precision_has_kernels_of_its_own_on_a_gpu_and_double_has_not():
    assert on_gpu(replace(ODD, compiled=False), 1).compiled
    assert not on_gpu(replace(ODD, real_bytes=8), 1).compiled


def test_the_host_holds_the_patterns_that_are_streamed_if_it_may():
    resident, streamed = on(24), on(4)
    assert host_memory(resident, ONE, 0) < 1e9
    assert host_memory(streamed, ONE, 0) < 1e9, "8 GiB are not enough for 11 GB: read every epoch"
    assert host_memory(replace(streamed, data_bytes=16 << 30), ONE, 0) > ALL_PATTERNS


def test_a_forecast_for_a_gpu_counts_what_stays_there_and_asks_the_host_for_the_rest():
    h100 = KNOWN["h100"]
    large, small = (forecast(on_gpu(TELLURIUM, size << 30), ONE, h100) for size in (70, 4))
    assert large.resident and large.fits and small.fits and not small.resident
    assert large.memory.patterns == ALL_PATTERNS > 10 * GIBIBYTE > small.memory.total
    assert large.host == small.host < 4 * GIBIBYTE
    assert not forecast(on_gpu(TELLURIUM, 300 << 20), ONE, h100).fits


def test_streaming_costs_time_only_where_computing_is_faster():
    kept = replace(TELLURIUM, data_bytes=16 << 30)
    h100, faster = KNOWN["h100"], KNOWN["h100"].changed(gradients=1e15, losses=1e15, turning=1e15)
    assert forecast(on_gpu(kept, 4 << 30), ONE, h100).duration.read == 0
    assert 0 < forecast(on_gpu(kept, 4 << 30), ONE, faster).duration.read < ALL_PATTERNS / 16e9
    assert forecast(on_gpu(kept, 24 << 30), ONE, faster).duration.read == 0
    assert forecast(on_gpu(TELLURIUM, 4 << 30), ONE, faster).duration.read > 10, "11 GB from the file at 1 GB/s"

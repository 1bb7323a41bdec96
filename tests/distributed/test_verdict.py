"""Who is dead, hangs or failed follows from signs of life alone."""

import pytest

from dptt.distributed.verdict import (
    ALONE,
    ENDED,
    FAILED,
    LEFT,
    LOST,
    WAITS,
    WORKS,
    Limits,
    Seen,
    Sign,
    lost_store,
    verdict,
)

LIMITS = Limits.of(patience=300.0, period=1.0)
NOW = 10_000.0


def seen(rank: int, state: str = WAITS, silent: float = 0.5, still: float = 0.5, **more) -> Seen:
    """Return a rank that was last heard `silent` seconds ago and has not moved for `still` seconds."""
    host = more.pop("host", "n1" if rank < 2 else "n2")
    sign = Sign(rank, host, 70 + rank, state, **more)
    return Seen(sign, NOW - silent, NOW - max(still, silent))


def judged(*ranks: Seen, me: int = 0) -> str | None:
    return verdict(ranks, me, NOW, LIMITS)


def test_ranks_that_wait_and_work_are_left_alone():
    assert judged(seen(0), seen(1, WORKS), seen(2, WORKS)) is None


def test_a_long_computation_for_which_nobody_waits_long_is_no_hang():
    assert judged(seen(0, WAITS, still=299), seen(1, WORKS, still=5000), seen(2, WORKS, still=5000)) is None
    assert judged(*(seen(rank, WORKS, still=5000) for rank in range(3))) is None


def test_silence_of_a_tenth_of_the_patience_is_death():
    assert LIMITS.dead_after == 30
    assert judged(seen(0), seen(1), seen(2), seen(3, silent=29)) is None
    assert judged(seen(0), seen(1), seen(2), seen(3, silent=31)) == (
        "rank 3 (host n2, pid 73) died: no sign of life for 30 s; the last checkpoint is intact; run the same "
        "command to resume"
    )


@pytest.mark.parametrize(("patience", "expected"), [(20.0, 5.0), (50.0, 5.0), (600.0, 60.0)])
def test_silence_is_never_judged_before_five_seconds(patience, expected):
    assert Limits.of(patience, period=1.0).dead_after == expected


def test_signs_that_come_seldom_are_waited_for_longer():
    limits = Limits.of(20.0, period=16.0)
    assert (limits.dead_after, limits.suspected_after) == (80.0, 80.0)


def test_a_broken_connection_anywhere_makes_silence_suspicious():
    assert "rank 1 (host n1, pid 71) died: no sign of life for 5 s" in str(
        judged(seen(0), seen(1, silent=6), seen(2, LOST))
    )
    assert judged(seen(0), seen(1), seen(2, silent=6)) is None


def test_all_ranks_of_another_host_may_be_cut_off_instead():
    text = judged(seen(0), seen(1), seen(2, silent=31), seen(3, silent=29.5))
    assert str(text).startswith(
        "rank 2 (host n2, pid 72), rank 3 (host n2, pid 73) died, or the connection to n2 is lost: no sign of life"
    )
    alone = judged(seen(0), seen(1), seen(2, silent=31), seen(3))
    assert str(alone).startswith("rank 2 (host n2, pid 72) died: no sign")


def test_many_dead_ranks_are_counted_not_listed():
    ranks = [seen(rank, host="n1") for rank in range(3)] + [seen(r, silent=40, host="n9") for r in range(3, 11)]
    assert "rank 6 (host n9, pid 76) and 4 more died" in str(judged(*ranks))


@pytest.mark.parametrize("me", [0, 1, 2])
def test_who_keeps_the_others_waiting_hangs_in_the_judgement_of_all(me):
    doing = "reading tilt 0003"
    text = judged(seen(0, still=301), seen(1, WORKS, still=302, moves=17, doing=doing), seen(2, still=301), me=me)
    assert str(text).startswith(
        "rank 1 (host n1, pid 71) hangs: no progress for 300 s since its step 17, reading tilt 0003; the last"
    )


def test_a_rank_that_has_just_moved_does_not_hang_while_others_wait_long():
    assert judged(seen(0, still=400), seen(1, WORKS, still=2), seen(2, still=400)) is None


def test_who_works_alone_may_take_as_long_as_it_likes():
    assert judged(seen(0, still=90_000), seen(1, ALONE, still=90_000), seen(2, still=90_000)) is None


def test_a_rank_that_waits_elsewhere_than_all_others_is_named():
    text = judged(seen(0, still=301, moves=9), seen(1, still=301, moves=8, doing="in a"), seen(2, still=301, moves=9))
    assert str(text).startswith("rank 1 (host n1, pid 71) hangs")


def test_a_rank_that_fails_alone_ends_the_others_after_five_seconds():
    failed = {"state": FAILED, "doing": "OSError: No space left on device"}
    assert judged(seen(0), seen(1), seen(2, still=4, **failed)) is None
    assert str(judged(seen(0), seen(1), seen(2, still=6, **failed))).startswith(
        "rank 2 (host n2, pid 72) failed: OSError: No space left on device"
    )


def test_who_has_failed_and_then_gone_is_said_to_have_failed_not_died():
    assert " failed: x" in str(judged(seen(0), seen(1), seen(2, FAILED, silent=400, doing="x")))


@pytest.mark.parametrize("state", [FAILED, LEFT, ENDED])
def test_who_is_leaving_judges_nobody(state):
    assert judged(seen(0, state), seen(1, silent=1000), me=0) is None


def test_a_rank_that_said_goodbye_is_not_dead():
    assert judged(seen(0, WORKS), seen(1, LEFT, silent=1000)) is None
    assert judged(seen(0, WAITS, still=299), seen(1, LEFT, silent=1000)) is None


def test_a_rank_that_ended_while_the_others_wait_for_it_is_named():
    text = judged(seen(0, still=301), seen(1, LEFT, silent=1000), seen(2, still=301))
    assert "rank 1 (host n1, pid 71) has ended, but the others wait for it" in str(text)


def test_a_new_sign_is_life_and_a_new_message_is_progress():
    rank = seen(1, silent=50, still=60, moves=3, beat=7)
    rank.update(Sign(1, "n1", 71, WAITS, moves=3, beat=7), NOW)
    assert (rank.alive_at, rank.moved_at) == (NOW - 50, NOW - 60)
    rank.update(Sign(1, "n1", 71, WAITS, moves=3, beat=8), NOW + 1)
    assert (rank.alive_at, rank.moved_at) == (NOW + 1, NOW - 60)
    rank.update(Sign(1, "n1", 71, WAITS, moves=4, beat=9), NOW + 2)
    assert (rank.alive_at, rank.moved_at) == (NOW + 2, NOW + 2)


def test_a_sign_survives_its_storage():
    sign = Sign(3, "n2", 77, WORKS, 17, "in read (dptt/model/patterns.py:88), Å", 5)
    assert Sign.of_text(sign.as_text(5).encode()) == sign


def test_the_loss_of_the_store_names_who_kept_it():
    rank = Sign(0, "n1", 70)
    assert lost_store(rank, "n1", 5.0).startswith(
        "rank 0 (host n1, pid 70) died, or the connection to n1 is lost: no answer for 5 s; the last checkpoint"
    )
    assert lost_store(None, "n1", 30.0).startswith(
        "the connection to n1, where torchrun keeps the store of the ranks, is"
    )

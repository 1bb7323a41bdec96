"""From signs of life to a verdict: a pure function, the same on every rank.

    dead        no sign of life for `dead_after`; for `SUSPECTED` seconds once a connection has broken somewhere
    hangs       neither waits nor says that it works alone, while it and those who wait for it have not moved for
                `patience`
    failed      raised an exception that the others did not
    gone        ended in order while the others wait for it
    lost        the store, and with it everybody else, does not answer

Times are those at which this rank saw a change, and `now` is when it last looked: clocks of hosts are not compared,
and a rank that was itself suspended judges nobody for it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

SUSPECTED = 5.0
"""Least time without a sign of life that is taken for death [s]."""
WORKS, WAITS, ALONE, LOST, FAILED, LEFT, ENDED = "works", "waits", "alone", "lost", "failed", "left", "ended"
"""States of a rank: computing, in a message, exempt, connection broken, exception, done, ended by a verdict."""
GONE = (FAILED, LEFT, ENDED)
RESUMES = "the last checkpoint is intact, the same command resumes"


@dataclass(frozen=True)
class Sign:
    """What a rank posts about itself, about once a second."""

    rank: int
    host: str
    pid: int
    state: str = WORKS
    moves: int = 0
    """Messages and named pieces of work that it has begun so far."""
    doing: str = ""
    """Where its main thread is, or what it says that it does; why, if it failed."""
    beat: int = 0

    def as_text(self, beat: int = 0) -> str:
        """Return the sign as it is stored, as the number `beat` of this rank."""
        return json.dumps(asdict(self) | {"beat": beat})

    @classmethod
    def of_text(cls, text: str | bytes) -> "Sign":
        """Return the sign that `as_text` gave."""
        return cls(**json.loads(text))

    @property
    def name(self) -> str:
        """Which rank, for a message."""
        return f"rank {self.rank} (host {self.host}, pid {self.pid})"


@dataclass
class Seen:
    """A rank's last sign, and when this rank saw it change [s]."""

    sign: Sign
    alive_at: float
    moved_at: float

    def update(self, sign: Sign, now: float) -> None:
        """Take a newer sign."""
        if sign.beat != self.sign.beat:
            self.alive_at = now
        if (sign.state, sign.moves) != (self.sign.state, self.sign.moves):
            self.moved_at = now
        self.sign = sign


@dataclass(frozen=True)
class Limits:
    """When silence becomes a verdict [s]."""

    patience: float
    dead_after: float
    suspected_after: float

    @classmethod
    def of(cls, patience: float, period: float) -> "Limits":
        """Return the limits for signs that come every `period`."""
        suspected_after = max(SUSPECTED, 5 * period)
        return cls(patience, max(suspected_after, patience / 10), suspected_after)

    def silence(self, states: Iterable[str]) -> float:
        """Return how long a rank may be silent; less once a connection has broken."""
        return self.suspected_after if LOST in states else self.dead_after


def verdict(ranks: Sequence[Seen], me: int, now: float, limits: Limits) -> str | None:
    """Return why the run must end, or None; `ranks` are all ranks, in order, `now` is when they were looked at."""
    if ranks[me].sign.state in GONE:
        return None
    others = [r for r in ranks if r.sign.rank != me]
    failed = [r for r in others if r.sign.state == FAILED and now - r.moved_at > SUSPECTED]
    if failed:
        return f"{failed[0].sign.name} failed: {failed[0].sign.doing}; {RESUMES}"
    silence = limits.silence(r.sign.state for r in ranks)
    present = [r for r in others if r.sign.state not in GONE]
    if any(now - r.alive_at > silence for r in present):
        # those of the same host die together, but may have been seen at different moments
        dead = [r.sign for r in present if now - r.alive_at > 0.6 * silence]
        return _death(dead, [r.sign for r in ranks], ranks[me].sign.host, silence)
    present = [r for r in ranks if r.sign.state not in GONE]
    return _ended(ranks, present, now, limits.patience) or _hang(present, now, limits.patience)


def lost_store(keeper: Sign | None, host: str, silence: float) -> str:
    """Return the verdict of a rank that hears nothing of anybody; `keeper` is the rank that keeps the store."""
    who = (
        f"{keeper.name} died, or the connection to {host} is lost"
        if keeper
        else f"the connection to {host}, where torchrun keeps the store of the ranks, is lost"
    )
    return f"{who}: no answer for {silence:.0f} s; {RESUMES}"


def _death(dead: list[Sign], everyone: list[Sign], here: str, silence: float) -> str:
    hosts = {sign.host for sign in dead}
    whole = len(hosts) == 1 and hosts != {here} and all(s in dead or s.host not in hosts for s in everyone)
    names = ", ".join(sign.name for sign in dead[:4]) + (f" and {len(dead) - 4} more" if len(dead) > 4 else "")
    cause = f"died, or the connection to {dead[0].host} is lost" if whole else "died"
    return f"{names} {cause}: no sign of life for {silence:.0f} s; {RESUMES}"


def _hang(ranks: list[Seen], now: float, patience: float) -> str | None:
    """Return who keeps the others waiting."""
    stuck = [r for r in ranks if now - r.moved_at > patience]
    waiting = [r for r in stuck if r.sign.state == WAITS]
    if not waiting:
        return None
    keeping = [r.sign for r in stuck if r.sign.state == WORKS]
    if not keeping and len(waiting) == len(ranks) > 1:
        keeping = [min((r.sign for r in waiting), key=lambda sign: sign.moves)]
    if not keeping:
        return None
    more = f"; so do {len(keeping) - 1} more" if len(keeping) > 1 else ""
    return (
        f"{keeping[0].name} hangs: no progress for {patience:.0f} s since its step {keeping[0].moves}, "
        f"{keeping[0].doing}{more}; {RESUMES}"
    )


def _ended(ranks: Sequence[Seen], present: list[Seen], now: float, patience: float) -> str | None:
    """Return who left before the others had done with it."""
    left = [r.sign for r in ranks if r.sign.state == LEFT]
    if left and all(r.sign.state == WAITS and now - r.moved_at > patience for r in present):
        return f"{left[0].name} has ended, but the others wait for it; {RESUMES}"
    return None

"""From signs of life to a verdict: a pure function, the same on every rank.

    dead        no sign of life for `dead_after`, or for `SUSPECTED` once any connection has broken
    hangs       has made no progress for `patience` while others wait for it, and neither waits nor works alone
    failed      raised an exception that the others did not raise
    ended       ended in order while the others wait for it
    lost        the store does not answer, so nothing is known of the other ranks

Times are when this rank saw a change, and `now` is when it last looked. So clocks of different hosts are never
compared, and a rank that was suspended itself does not blame the others.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

SUSPECTED = 5.0
"""Minimum time without a sign of life before a rank counts as dead [s]."""
WORKS, WAITS, ALONE, LOST, FAILED, LEFT, ENDED = "works", "waits", "alone", "lost", "failed", "left", "ended"
"""States of a rank: computing, in a message, exempt, connection broken, exception, done, ended by a verdict."""
GONE = (FAILED, LEFT, ENDED)
RESUMES = "the last checkpoint is intact; run the same command to resume"


@dataclass(frozen=True)
class Sign:
    """What a rank posts about itself about once a second."""

    rank: int
    host: str
    pid: int
    state: str = WORKS
    moves: int = 0
    """Number of messages and named pieces of work that it has begun."""
    doing: str = ""
    """Its named piece of work, or where its main thread is; the reason if it failed."""
    beat: int = 0

    def as_text(self, beat: int = 0) -> str:
        """Return the sign as stored text, with the number `beat`."""
        return json.dumps(asdict(self) | {"beat": beat})

    @classmethod
    def of_text(cls, text: str | bytes) -> "Sign":
        """Return the sign from the text of `as_text`."""
        return cls(**json.loads(text))

    @property
    def name(self) -> str:
        """Name of the rank in messages."""
        return f"rank {self.rank} (host {self.host}, pid {self.pid})"


@dataclass
class Seen:
    """A rank's last sign, and when this rank saw it change [s]."""

    sign: Sign
    alive_at: float
    moved_at: float

    def update(self, sign: Sign, now: float) -> None:
        """Replace the sign by a newer one."""
        if sign.beat != self.sign.beat:
            self.alive_at = now
        if (sign.state, sign.moves) != (self.sign.state, self.sign.moves):
            self.moved_at = now
        self.sign = sign


@dataclass(frozen=True)
class Limits:
    """Time limits [s]."""

    patience: float
    dead_after: float
    suspected_after: float

    @classmethod
    def of(cls, patience: float, period: float) -> "Limits":
        """Return the limits for signs that are posted every `period` [s]."""
        suspected_after = max(SUSPECTED, 5 * period)
        return cls(patience, max(suspected_after, patience / 10), suspected_after)

    def silence(self, states: Iterable[str]) -> float:
        """Return how long a rank may be silent [s]; shorter once a connection has broken."""
        return self.suspected_after if LOST in states else self.dead_after


def verdict(ranks: Sequence[Seen], me: int, now: float, limits: Limits) -> str | None:
    """Return why the run must end, or None; `ranks` are all ranks in order, last read at `now`."""
    if ranks[me].sign.state in GONE:
        return None
    others = [r for r in ranks if r.sign.rank != me]
    failed = [r for r in others if r.sign.state == FAILED and now - r.moved_at > SUSPECTED]
    if failed:
        return f"{failed[0].sign.name} failed: {failed[0].sign.doing}; {RESUMES}"
    silence = limits.silence(r.sign.state for r in ranks)
    present = [r for r in others if r.sign.state not in GONE]
    if any(now - r.alive_at > silence for r in present):
        # ranks of the same host die together, but were not last seen at the same moment
        dead = [r.sign for r in present if now - r.alive_at > 0.6 * silence]
        return _death(dead, [r.sign for r in ranks], ranks[me].sign.host, silence)
    present = [r for r in ranks if r.sign.state not in GONE]
    return _ended(ranks, present, now, limits.patience) or _hang(present, now, limits.patience)


def lost_store(keeper: Sign | None, host: str, silence: float) -> str:
    """Return the verdict of a rank that gets no answer from the store, which the rank `keeper` keeps."""
    cause = (
        f"{keeper.name} died, or the connection to {host} is lost"
        if keeper
        else f"the connection to {host}, where torchrun keeps the store of the ranks, is lost"
    )
    return f"{cause}: no answer for {silence:.0f} s; {RESUMES}"


def _death(dead: list[Sign], everyone: list[Sign], own_host: str, silence: float) -> str:
    hosts = {sign.host for sign in dead}
    whole_host = len(hosts) == 1 and hosts != {own_host} and all(s in dead or s.host not in hosts for s in everyone)
    names = ", ".join(sign.name for sign in dead[:4]) + (f" and {len(dead) - 4} more" if len(dead) > 4 else "")
    cause = f"died, or the connection to {dead[0].host} is lost" if whole_host else "died"
    return f"{names} {cause}: no sign of life for {silence:.0f} s; {RESUMES}"


def _hang(ranks: list[Seen], now: float, patience: float) -> str | None:
    """Return which rank keeps the others waiting."""
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
    """Return which rank ended while the others still wait for it."""
    left = [r.sign for r in ranks if r.sign.state == LEFT]
    if left and all(r.sign.state == WAITS and now - r.moved_at > patience for r in present):
        return f"{left[0].name} has ended, but the others wait for it; {RESUMES}"
    return None

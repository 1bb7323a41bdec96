"""The ranks of one start meet at a store, or learn why they cannot: one list of them, made by rank 0 and read by all.

    rank r      posts a random number
    rank 0      answers every number that it reads with the name of this start and of its secret
    rank r      reads the secret, and joins: what it is, or why it cannot take part
    rank 0      posts the roster when all have joined, or a few seconds after one has said that it cannot

A store that torchrun keeps over restarts has numbers of ranks that died; nobody reads the answers to these. A rank
reads two messages, and rank 0 two for each rank, so that the work grows with the number of ranks only.
"""

import json
import socket
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from torch.distributed import Store

from dptt.distributed.failures import say
from dptt.distributed.launch import JoinError, LaunchError
from dptt.distributed.seal import ForgedError, Seal, Secrets, unsealed
from dptt.distributed.verdict import Sign

SAME_FAILURE = 3.0
"""Time that rank 0 waits for other ranks to fail like the first [s]; most failures are the same on all ranks."""
LATE = 30.0
"""Time for which a rank that cannot take part tells the others so [s]."""
MAX_SHOWN = 8


class NotReadyError(LaunchError):
    """Ranks cannot take part, or did not come; the message, which rank 0 has printed, is the same on all ranks."""


@dataclass(frozen=True)
class Member:
    """A rank of this start."""

    rank: int
    host: str
    pid: int
    backend: str = ""
    problem: str = ""
    """Why it cannot take part."""

    @property
    def name(self) -> str:
        """Name of the rank in messages."""
        return f"rank {self.rank} (host {self.host})"


@dataclass(frozen=True)
class Roster:
    """All ranks of a start, in order."""

    start: str
    """Prefix of its keys in the store."""
    seal: Seal
    members: list[Member]


def meet(store: Store, own: Member, size: int, patience: float, secrets: Secrets) -> Roster:
    """Return the roster when all `size` ranks have joined within `patience` [s].

    Raises
    ------
    NotReadyError
        On all ranks that have joined; rank 0 has printed the message.
    JoinError
        Rank 0 does not answer.
    """
    if own.rank > 0:
        return _join(store, own, size, patience, secrets)
    start, token, seal = f"dptt/{uuid.uuid4().hex}", "", Seal(b"")
    if not own.problem:
        try:
            token, secret = secrets.create()
            seal = Seal(secret)
        except (OSError, ValueError, LaunchError) as error:
            own = replace(own, problem=str(error))
    host, problem = _Host(store, start, json.dumps([start, token, bool(own.problem)]), size), "rank 0 failed"
    try:
        host.wait_for_all(patience, failing=bool(own.problem))
        members = [own, *host.members(seal)]
        problem = _problems(members, size) or host.missing(members, patience)
    finally:  # before the others know: a launcher may end this rank as soon as another one has ended
        if token:
            secrets.remove(token, refused=bool(problem))
    if problem:
        say(f"error: {problem}")
    _post_first_sign(store, start, seal, own)
    store.set(f"{start}/verdict", "")
    text = json.dumps([problem, [asdict(member) for member in members]])
    store.set(f"{start}/roster", seal.close(f"{start}/roster", text))
    if problem:
        late_ones_come = any(member.problem for member in members)
        host.wait_until_heard(size - 1 if late_ones_come else len(members) - 1)
        raise NotReadyError(problem)
    return Roster(start, seal, members)


def _join(store: Store, own: Member, size: int, patience: float, secrets: Secrets) -> Roster:
    number = uuid.uuid4().hex
    store.set(f"dptt/arrival/{store.add('dptt/arrivals', 1)}", number)
    failure = JoinError(
        f"{own.name} waited {patience:.0f} s for rank 0 and the other {size - 2} rank(s) without an answer. Check "
        "that the launcher started all of them"
    )
    start, token, failing = json.loads(_waited_for(store, f"dptt/answer/{number}", patience, failure))
    seal = Seal(b"")
    if not (own.problem or failing):
        try:
            seal = Seal(secrets.read(token))
        except (OSError, ValueError, LaunchError) as error:
            own = replace(own, problem=str(error))
    _post_first_sign(store, start, seal, own)
    key = f"{start}/joined/{own.rank}"
    store.set(key, seal.close(key, json.dumps(asdict(own))))
    if own.problem:
        store.add(f"{start}/failed", 1)
    store.add(f"{start}/joined", 1)
    message = _waited_for(store, f"{start}/roster", patience + SAME_FAILURE, failure)
    problem, members = json.loads(unsealed(message)[1])
    if problem:
        store.add(f"{start}/heard", 1)
        raise NotReadyError(problem)
    try:
        seal.open(f"{start}/roster", message)
    except ForgedError as forged:
        raise JoinError(f"{own.name} was answered by another program than rank 0: {forged}") from None
    return Roster(start, seal, [Member(**member) for member in members])


def _waited_for(store: Store, key: str, patience: float, failure: JoinError) -> bytes:
    try:
        store.wait([key], timedelta(seconds=patience))
    except RuntimeError:
        raise failure from None
    return bytes(store.get(key))


def _post_first_sign(store: Store, start: str, seal: Seal, own: Member) -> None:
    """Post a sign of life, so that the other ranks find one as soon as they have the roster."""
    key = f"{start}/sign/{own.rank}"
    store.set(key, seal.close(key, Sign(own.rank, own.host, own.pid).as_text()))


class _Host:
    """What rank 0 does while the others join."""

    def __init__(self, store: Store, start: str, answer: str, size: int) -> None:
        self._store, self._start, self._answer, self._size = store, start, answer, size
        self._num_listed = 0
        self._unread: list[int] = []

    def wait_for_all(self, patience: float, failing: bool) -> None:
        """Answer arrivals until all have joined, `patience` [s] is over, or some have failed and others could too."""
        end, failed_at = time.monotonic() + patience, time.monotonic() if failing else None
        while self._store.add(f"{self._start}/joined", 0) < self._size - 1:
            self._answer_arrivals()
            now = time.monotonic()
            if failed_at is None and self._store.add(f"{self._start}/failed", 0):
                failed_at = now
            if now > end or (failed_at is not None and now - failed_at > SAME_FAILURE):
                return
            time.sleep(0.02)

    def wait_until_heard(self, ranks: int) -> None:
        """Answer arrivals until so many `ranks` have read why they cannot go on, but not longer than `LATE`."""
        end = time.monotonic() + LATE
        while self._store.add(f"{self._start}/heard", 0) < ranks and time.monotonic() < end:
            self._answer_arrivals()
            time.sleep(0.02)

    def _answer_arrivals(self) -> None:
        arrivals = self._store.add("dptt/arrivals", 0)
        self._unread += range(self._num_listed + 1, arrivals + 1)
        self._num_listed = arrivals
        for arrival in [a for a in self._unread if self._store.check([f"dptt/arrival/{a}"])]:
            self._store.set(f"dptt/answer/{self._store.get(f'dptt/arrival/{arrival}').decode()}", self._answer)
            self._unread.remove(arrival)

    def members(self, seal: Seal) -> list[Member]:
        """Return the ranks that have joined, in order."""
        keys = {rank: f"{self._start}/joined/{rank}" for rank in range(1, self._size)}
        complete = self._store.add(f"{self._start}/joined", 0) >= self._size - 1
        present = [rank for rank, key in keys.items() if complete or self._store.check([key])]
        return [_member(seal, keys[rank], rank, bytes(self._store.get(keys[rank]))) for rank in present]

    def missing(self, members: list[Member], patience: float) -> str:
        """Return which ranks are missing from `members`; empty if none."""
        missing = sorted(set(range(self._size)) - {member.rank for member in members})
        if not missing:
            return ""
        numbers = ", ".join(map(str, missing[:MAX_SHOWN])) + (" ..." if len(missing) > MAX_SHOWN else "")
        return (
            f"{len(members)} of {self._size} ranks joined within {patience:.0f} s; missing: rank {numbers}. Check "
            f"that they started, and that they can reach the host of rank 0, {socket.gethostname()}"
        )


def _member(seal: Seal, key: str, rank: int, message: bytes) -> Member:
    """Return the rank that sent `message`; with a problem if it has none but cannot know the secret."""
    try:
        member = Member(**json.loads(unsealed(message)[1]))
    except (TypeError, ValueError):
        return Member(rank, "unknown", 0, problem="another program wrote its message to the store of the ranks")
    if not member.problem:
        try:
            seal.open(key, message)
        except ForgedError:
            return replace(member, problem="does not know the secret of rank 0")
    return member


def _problems(members: Iterable[Member], size: int) -> str:
    """Return what keeps ranks from taking part, each problem once with its ranks; empty if there is none."""
    by_problem: dict[str, list[str]] = {}
    for member in members:
        if member.problem:
            by_problem.setdefault(member.problem, []).append(member.name)
    if not by_problem:
        return ""
    if [len(names) for names in by_problem.values()] == [size]:
        return next(iter(by_problem))
    return "; ".join(
        f"{', '.join(names[:MAX_SHOWN])}{f' and {len(names) - MAX_SHOWN} more' if len(names) > MAX_SHOWN else ''}: "
        f"{problem}"
        for problem, names in by_problem.items()
    )

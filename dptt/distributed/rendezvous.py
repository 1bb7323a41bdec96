"""How the ranks find each other: a store of names that all reach, and a name of this start that nobody else uses.

The store is that of torchrun where there is one; else rank 0 keeps it, at the host and port that the launcher tells
everybody, or that rank 0 tells by MPI.

torchrun keeps its store over restarts, with the addresses of the ranks that died; the restarts that its agents count
differ between hosts. So the ranks agree on a name of this start: each posts a number drawn at random, rank 0
answers to every number that it finds, and whoever finds its own answered has met the present rank 0.
"""

import socket
import time
import uuid
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore

from dptt.distributed.launch import JoinError, Placement

NEVER = timedelta(days=30)
"""Time-out of messages: the watch decides who hangs, and nobody hangs longer than its patience."""


class Meeting:
    """The store of this start of the ranks, and how to reach it a second time."""

    def __init__(self, placement: Placement, mpi: Any, patience: float) -> None:
        self.placement, self._patience = placement, timedelta(seconds=patience)
        self.keeps_store = placement.rank == 0 and not placement.launcher_store
        self.host, self.port = placement.host, placement.port
        if mpi is not None and not placement.launcher_store:
            store = self._by_mpi(mpi)
        else:
            store = self._tcp_store(self.keeps_store)
        self._tcp = store  # the server ends with this object
        self.start = _agree_on_start(store, placement, patience)

    def store(self) -> Store:
        """Return the store of this start."""
        return PrefixStore(self.start, self._tcp)

    def store_of_its_own(self) -> Store:
        """Return the same store through another connection, which no message of another thread holds up."""
        return PrefixStore(self.start, self._tcp_store(False))

    def _by_mpi(self, mpi: Any) -> TCPStore:
        """Let rank 0 open the store at a free port and tell all where."""
        hosts = mpi.allgather(socket.gethostname())
        self.host = hosts[0] if len(set(hosts)) > 1 else "127.0.0.1"
        store = None
        if self.keeps_store:
            self.port = 0
            store = self._tcp_store(True)
            self.port = store.port
        self.port = mpi.bcast(self.port)
        return store or self._tcp_store(False)

    def _tcp_store(self, keep: bool) -> TCPStore:
        try:
            return TCPStore(
                self.host,
                self.port,
                self.placement.size,
                is_master=keep,
                timeout=self._patience,
                wait_for_workers=False,
                multi_tenant=True,
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            if keep:
                raise JoinError(
                    f"rank 0 cannot listen at port {self.port} of {self.host} ({reason}). Another job may use it: "
                    "set MASTER_PORT to a free port above 1024 in the environment of all ranks"
                ) from None
            raise JoinError(
                f"rank {self.placement.rank} on {socket.gethostname()} does not reach rank 0 at {self.host}:"
                f"{self.port} within {self._patience.total_seconds():.0f} s ({reason}). Check that rank 0 runs, that "
                f"the name {self.host} is known on this host, and that no firewall is between; MASTER_ADDR and "
                "MASTER_PORT choose another way under srun and torchrun"
            ) from None


def _agree_on_start(store: Store, placement: Placement, patience: float) -> str:
    """Return a name that the ranks of this start share."""
    if placement.rank > 0:
        number = uuid.uuid4().hex
        store.set(f"dptt/arrival/{store.add('dptt/arrivals', 1)}", number)
        try:
            store.wait([f"dptt/answer/{number}"], timedelta(seconds=patience))
        except RuntimeError:
            raise JoinError(
                f"rank {placement.rank} on {socket.gethostname()} waited {patience:.0f} s for rank 0 and the other "
                f"{placement.size - 2} rank(s) in vain. Check that {placement.launcher} started all of them"
            ) from None
        start = store.get(f"dptt/answer/{number}").decode()
        store.set(f"{start}/joined/{placement.rank}", "")
        store.add(f"{start}/joined", 1)
        return start
    start = f"dptt/{uuid.uuid4().hex}"
    _answer_all(store, start, placement.size, patience)
    return start


def _answer_all(store: Store, start: str, size: int, patience: float) -> None:
    """Answer every arrival, also those of ranks that died since, until all ranks of this start have joined."""
    end, seen = time.monotonic() + patience, 0
    unread: list[int] = []
    while store.add(f"{start}/joined", 0) < size - 1:
        arrivals = store.add("dptt/arrivals", 0)
        unread += range(seen + 1, arrivals + 1)
        seen = arrivals
        for arrival in [a for a in unread if store.check([f"dptt/arrival/{a}"])]:
            store.set(f"dptt/answer/{store.get(f'dptt/arrival/{arrival}').decode()}", start)
            unread.remove(arrival)
        if time.monotonic() > end:
            missing = [str(rank) for rank in range(1, size) if not store.check([f"{start}/joined/{rank}"])]
            raise JoinError(
                f"{size - len(missing)} of {size} ranks came within {patience:.0f} s; missing: rank "
                f"{', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}. Check that they started, and that "
                f"they reach the host of rank 0, {socket.gethostname()}"
            )
        time.sleep(0.02)

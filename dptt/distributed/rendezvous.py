"""How the ranks find each other: through a key-value store, under a name that is unique to this start.

The store is that of torchrun if there is one. Otherwise rank 0 keeps it, at the host and port that the launcher sets
or that rank 0 announces by MPI.

torchrun keeps its store over restarts, with the addresses of ranks that died, and its agents on different hosts may
count restarts differently. So the ranks agree on a name for this start: each rank posts a random number, rank 0
answers every number that it reads, and a rank whose number is answered has met the present rank 0.
"""

import socket
import time
import uuid
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore

from dptt.distributed.launch import JoinError, Placement

NEVER = timedelta(days=30)
"""Time-out of messages, practically none: the watch ends ranks that hang."""


class Meeting:
    """The store of this start of the ranks."""

    def __init__(self, placement: Placement, mpi: Any, patience: float) -> None:
        self.placement, self._patience = placement, timedelta(seconds=patience)
        self.keeps_store = placement.rank == 0 and not placement.launcher_store
        self.host, self.port = placement.host, placement.port
        if mpi is not None and not placement.launcher_store:
            store = self._by_mpi(mpi)
        else:
            store = self._tcp_store(self.keeps_store)
        self._tcp = store  # the server stops when this object is deleted
        self.start = _agree_on_start(store, placement, patience)

    def store(self) -> Store:
        """Return the store of this start."""
        return PrefixStore(self.start, self._tcp)

    def store_of_its_own(self) -> Store:
        """Return the same store over a separate connection, which other threads cannot block."""
        return PrefixStore(self.start, self._tcp_store(False))

    def _by_mpi(self, mpi: Any) -> TCPStore:
        """Let rank 0 open the store at a free port, and announce the address by MPI."""
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
                    f"rank 0 cannot listen on port {self.port} of {self.host} ({reason}). Another job may use it. "
                    "Set MASTER_PORT to a free port above 1024 in the environment of all ranks"
                ) from None
            raise JoinError(
                f"rank {self.placement.rank} on {socket.gethostname()} could not reach rank 0 at {self.host}:"
                f"{self.port} within {self._patience.total_seconds():.0f} s ({reason}). Check that rank 0 runs, "
                f"that this host can resolve the name {self.host}, and that no firewall blocks the port. Under srun "
                "and torchrun, MASTER_ADDR and MASTER_PORT set another address"
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
                f"{placement.size - 2} rank(s) without an answer. Check that {placement.launcher} started all of them"
            ) from None
        start = store.get(f"dptt/answer/{number}").decode()
        store.set(f"{start}/joined/{placement.rank}", "")
        store.add(f"{start}/joined", 1)
        return start
    start = f"dptt/{uuid.uuid4().hex}"
    _answer_all(store, start, placement.size, patience)
    return start


def _answer_all(store: Store, start: str, size: int, patience: float) -> None:
    """Answer every arrival, including those of ranks that have died, until all ranks of this start have joined."""
    end, num_listed = time.monotonic() + patience, 0
    unread: list[int] = []
    while store.add(f"{start}/joined", 0) < size - 1:
        arrivals = store.add("dptt/arrivals", 0)
        unread += range(num_listed + 1, arrivals + 1)
        num_listed = arrivals
        for arrival in [a for a in unread if store.check([f"dptt/arrival/{a}"])]:
            store.set(f"dptt/answer/{store.get(f'dptt/arrival/{arrival}').decode()}", start)
            unread.remove(arrival)
        if time.monotonic() > end:
            missing = [str(rank) for rank in range(1, size) if not store.check([f"{start}/joined/{rank}"])]
            raise JoinError(
                f"{size - len(missing)} of {size} ranks joined within {patience:.0f} s; missing: rank "
                f"{', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}. Check that they started, and that "
                f"they can reach the host of rank 0, {socket.gethostname()}"
            )
        time.sleep(0.02)

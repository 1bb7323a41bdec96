"""How the ranks find each other: through a key-value store, under a name that is unique to this start.

The store is that of torchrun if there is one. Otherwise rank 0 keeps it, at the host and port that the launcher sets
or that rank 0 announces by MPI, and listens only at the address that the host's name stands for.
"""

import errno
import os
import socket
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore

from dptt.distributed.launch import JoinError, Placement
from dptt.distributed.roster import Member, meet
from dptt.distributed.seal import NoSecret, Secrets
from dptt.distributed.texts import gather_by_mpi

NEVER = timedelta(days=30)
"""Time-out of messages, practically none: the watch ends ranks that hang."""


class Meeting:
    """The store of this start of the ranks, and the list of them.

    Parameters
    ----------
    mpi
        An mpi4py communicator of all ranks, or None.
    patience
        How long to wait for the other ranks [s].
    secrets
        Where the ranks get the secret with which they seal their messages.
    backend, problem
        What this rank tells the others: how it would send messages, and why it cannot take part.

    Raises
    ------
    JoinError, NotReadyError
        As `roster.meet`.
    """

    def __init__(
        self,
        placement: Placement,
        mpi: Any,
        patience: float,
        *,
        secrets: Secrets | None = None,
        backend: str = "",
        problem: str = "",
    ) -> None:
        self.placement, self._patience = placement, timedelta(seconds=patience)
        self.keeps_store = placement.rank == 0 and not placement.launcher_store
        self.host, self.port = placement.host, placement.port
        if mpi is not None and not placement.launcher_store:
            store = self._by_mpi(mpi)
        else:
            store = self._tcp_store(self.keeps_store)
        self._tcp = store  # the server stops when this object is deleted
        own = Member(placement.rank, socket.gethostname(), os.getpid(), backend, problem)
        roster = meet(store, own, placement.size, patience, secrets or NoSecret())
        self.start, self.seal, self.members = roster.start, roster.seal, roster.members

    def store(self) -> Store:
        """Return the store of this start."""
        return PrefixStore(self.start, self._tcp)

    def store_of_its_own(self) -> Store:
        """Return the same store over a separate connection, which other threads cannot block."""
        return PrefixStore(self.start, self._tcp_store(False))

    def _by_mpi(self, mpi: Any) -> TCPStore:
        """Let rank 0 open the store at a free port, and announce the address by MPI."""
        hosts = gather_by_mpi(mpi, socket.gethostname())
        self.host = hosts[0] if len(set(hosts)) > 1 else "127.0.0.1"
        store = None
        if self.keeps_store:
            self.port = 0
            store = self._tcp_store(True)
            self.port = store.port
        self.port = int(gather_by_mpi(mpi, str(self.port))[0])
        return store or self._tcp_store(False)

    def _tcp_store(self, keep: bool) -> TCPStore:
        try:
            listener = listening_socket(self.host, self.port) if keep else None
            if listener:
                self.port = listener.getsockname()[1]
            return TCPStore(
                self.host,
                self.port,
                self.placement.size,
                is_master=keep,
                timeout=self._patience,
                wait_for_workers=False,
                multi_tenant=True,
                master_listen_fd=listener.detach() if listener else None,
            )
        except (RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            if keep:
                raise JoinError(
                    f"rank 0 cannot listen on port {self.port} of {self.host} ({reason}). Another job may use it. "
                    "Set MASTER_PORT to a free port above 1024 in the environment of all ranks"
                ) from None
            raise JoinError(
                f"rank {self.placement.rank} on {socket.gethostname()} could not reach rank 0 at {self.host}:"
                f"{self.port} within {self._patience.total_seconds():.0f} s ({reason}). Check that rank 0 runs, "
                f"that {self.host} is the same address on this host as on its own, and that no firewall blocks the "
                "port. Under srun and torchrun, MASTER_ADDR and MASTER_PORT set another address"
            ) from None


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address of `host`, at a free port if `port` is 0.

    It listens at all addresses where no other host could use that of the name: it is a loopback address under a name
    that does not say so, as some systems give to their own, or it does not belong to this host.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    misleading = ip_address(str(address[0]).split("%")[0]).is_loopback and not _says_loopback(host)
    everywhere = ("::" if family == socket.AF_INET6 else "0.0.0.0", port)
    for place in (everywhere,) if misleading else (address, everywhere):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen(4096)
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRNOTAVAIL or place == everywhere:
                raise
    raise AssertionError("not reached")


def _says_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""Open files and connections of a process: rank 0 has some for every other rank, and a system allows often 1024 only.

The store takes two connections from every rank, one of them for the signs of life, which must not wait. gloo connects
only ranks that exchange messages: with the ring of a sum, two for each group of ranks.
"""

import os
import resource

from dptt.distributed.launch import LaunchError

PER_RANK = 2
"""Connections of the store, measured: rank 0 had 145 descriptors more with 64 ranks, 49 with 16."""
OWN = 64
"""Files, libraries and neighbours of any rank; 17 were measured, before files are opened."""
ENOUGH = 65536
"""More are never asked for: some programs visit all descriptors that are allowed."""


def needed_descriptors(ranks: int) -> int:
    """Return how many descriptors rank 0 of `ranks` needs."""
    return OWN + PER_RANK * ranks


def allowed_descriptors() -> int:
    """Return to how many this host lets a process raise its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)


def allow_descriptors(rank: int, ranks: int) -> None:
    """Raise the limit of this process as far as it may; let gloo connect ranks only when they exchange messages.

    Raises
    ------
    LaunchError
        The system does not allow as many as rank 0 certainly needs.
    """
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = allowed_descriptors()
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if rank == 0 and allowed < PER_RANK * ranks:
        raise LaunchError(
            f"rank 0 of {ranks} needs about {needed_descriptors(ranks)} open files and connections, but this host "
            f"allows {allowed}. Have the hard limit raised (`ulimit -Hn` shows it, LimitNOFILE of slurmd sets it), "
            "or use fewer ranks"
        )

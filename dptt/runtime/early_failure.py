"""A rank that fails before the ranks have joined tells the others, so that they do not wait for it.

Most such failures are the same on all ranks, a typing error in the configuration for example: one of them prints it.
What only some ranks have, such as a file that one host lacks, is printed with their names.
"""

import os
import socket
import threading

from dptt.distributed.failures import say
from dptt.distributed.launch import JoinError, Placement
from dptt.runtime.failures import exit_code, explain

LONGEST = 60.0
"""Time after which a rank that cannot tell the others ends [s]."""


def say_early_failure(error: BaseException, placement: Placement) -> None:
    """Print `error` once over all ranks if they can be reached, and on this rank if they cannot."""
    if isinstance(error, KeyboardInterrupt):
        say(explain(error) if placement.rank == 0 else "")
        return
    if isinstance(error, JoinError):
        say(explain(error) if placement.local_rank == 0 else "")  # each host says what it cannot reach
        return
    own = explain(error, f"rank {placement.rank} (host {socket.gethostname()})")

    def give_up() -> None:
        say(own)
        os._exit(exit_code(error))

    timer = threading.Timer(LONGEST, give_up)
    timer.daemon = True
    timer.start()
    try:
        from dptt.distributed.joining import tell_the_others

        said = tell_the_others(placement, explain(error).removeprefix("error: "))
    except Exception:  # torch, for example, cannot be imported, or that is the failure itself
        said = False
    timer.cancel()
    say("" if said else own)

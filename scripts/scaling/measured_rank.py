"""One rank of a measured run: runs `dptt ARGUMENTS`, then writes its peak memory and CPU time to a file.

measured_rank.py FOLDER ARGUMENTS ...

CPU time is taken whenever rank 0 logs an epoch. On a shared machine it measures the cost of an epoch, while wall time
also depends on the other users.
"""

import json
import logging
import os
import resource
import sys
import time
from pathlib import Path

from dptt.cli import main

RANK_VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")


class EpochClock(logging.Filter):
    """Records the CPU time of this process whenever an epoch is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every line, and record the time of those of an epoch."""
        if record.getMessage().startswith("epoch "):
            self.seconds.append(time.process_time())
        return True


def rank() -> int:
    """Return the rank that the launcher gave this process."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if name in os.environ), 0)


def peak_bytes() -> int:
    """Return the peak memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    clock = EpochClock()
    logging.getLogger("dptt").addFilter(clock)
    imported = peak_bytes()
    code = main(sys.argv[2:])
    measured = {"peak_bytes": peak_bytes(), "imported_bytes": imported, "cpu_seconds": clock.seconds}
    (Path(sys.argv[1]) / f"peak-{rank()}.json").write_text(json.dumps(measured) + "\n")
    sys.exit(code)

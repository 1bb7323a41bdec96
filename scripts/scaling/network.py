"""Latency and bandwidth between ranks. Start it with a launcher on two or more ranks; rank 0 prints JSON."""

import json
import os
import time

import torch

from dptt.distributed.comm import Communicator
from dptt.distributed.launch import detect_placement

SIZES = (4, 1 << 12, 1 << 16, 1 << 20, 1 << 23, 1 << 25)
"""Bytes."""
REPEATS = 12


def sum_seconds(communicator: Communicator, size: int) -> float:
    """Return the shortest time of an all-reduce of `size` bytes."""
    tensor = torch.zeros(size // 4)
    times = []
    for _ in range(REPEATS):
        communicator.any(False)  # all ranks start together
        start = time.perf_counter()
        communicator.sum_(tensor)
        times.append(time.perf_counter() - start)
    return min(times)


def fitted(ranks: int, seconds: dict[int, float]) -> tuple[float, float]:
    """Return latency alpha [s] and bandwidth beta [byte/s] of t = 2 log2(n) alpha + 2 (n-1)/n B/beta.

    alpha is fitted to the smallest message and beta to the largest.
    """
    smallest, largest = min(seconds), max(seconds)
    steps = 2 * max(1, (ranks - 1).bit_length())
    latency = seconds[smallest] / steps
    bandwidth = 2 * (ranks - 1) / ranks * largest / max(seconds[largest] - seconds[smallest], 1e-9)
    return latency, bandwidth


def main() -> None:
    """Measure, and print the result on rank 0."""
    from dptt.distributed.joining import open_communicator

    with open_communicator(detect_placement(os.environ)) as communicator:
        seconds = {size: sum_seconds(communicator, size) for size in SIZES}
        if communicator.rank == 0:
            latency, bandwidth = fitted(communicator.size, seconds)
            result = {"ranks": communicator.size, "latency": latency, "bandwidth": bandwidth, "seconds": seconds}
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

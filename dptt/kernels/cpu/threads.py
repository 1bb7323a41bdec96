"""Threads of this process, each with its own stretch of the work.

No thread of PyTorch, OpenMP or MKL runs inside: those spin while they wait, which on shared cores costs more than
the work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def stretches(length: int) -> list[slice]:
    """Cut `length` items into one stretch a thread, as equal as can be; fewer if there are fewer items."""
    number = max(1, min(torch.get_num_threads(), length))
    bounds = [length * i // number for i in range(number + 1)]
    return [slice(low, high) for low, high in zip(bounds, bounds[1:], strict=False)]


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return the results of `work` in the order of `parts`; the first part is done by the calling thread."""
    if len(parts) == 1:
        return [work(parts[0])]
    with ThreadPoolExecutor(len(parts) - 1, thread_name_prefix="dptt") as pool:
        others = [pool.submit(work, part) for part in parts[1:]]
        return [work(parts[0]), *(other.result() for other in others)]

"""Threads of this process, each with a range of the work.

No thread of PyTorch, OpenMP or MKL runs inside: these spin while they wait, which costs more than the work on shared
cores.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def stretches(length: int) -> list[slice]:
    """Cut `length` items into one range per thread, of about equal length; fewer ranges if there are fewer items."""
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

"""Divide an axis over ranks: pure arithmetic, no communication."""


def block_range(length: int, size: int, rank: int) -> range:
    """Return the indices of `range(length)` owned by `rank` of `size`; lengths differ by at most one."""
    if not 0 <= rank < size:
        raise ValueError(f"rank must be in [0, {size}), got {rank}")
    base, extra = divmod(length, size)
    start = rank * base + min(rank, extra)
    return range(start, start + base + (rank < extra))

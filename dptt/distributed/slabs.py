"""Rows of an axis, cut into one block a rank: fetched from their owners, and given back to them.

`fetch` and `give_back` are an exact adjoint pair. All ranks know what everybody wants (pure arithmetic on poses and
scan positions), so nobody has to ask: each message is one contiguous block of the rows that one rank has and another
wants. Wanted rows are counted periodically and may therefore begin before 0 or end beyond the axis.

Sums are formed in the order of the ranks, so a result does not depend on which message came first.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range


class Rows:
    """The rows of one axis of length `length`, owned in blocks by the ranks of `communicator`."""

    def __init__(self, length: int, communicator: Communicator) -> None:
        self.length, self._communicator = length, communicator
        self.blocks = [block_range(length, communicator.size, rank) for rank in range(communicator.size)]

    @property
    def own(self) -> range:
        """Rows of this rank."""
        return self.blocks[self._communicator.rank]

    def fetch(self, block: Tensor, wanted: Sequence[range]) -> Tensor:
        """Return the rows `wanted[rank]` of the tensor (n, y, x) of which every rank holds its `block` of rows."""
        mine = wanted[self._communicator.rank]
        if mine == self.own and all(w == b for w, b in zip(wanted, self.blocks, strict=True)):
            return block
        result = block.new_empty((block.shape[0], len(mine), *block.shape[2:]))
        outgoing, incoming = {}, {}
        for peer in range(self._communicator.size):
            out = _gathered(block, [s for _, s in overlaps(wanted[peer], self.own, self.length)])
            if peer == self._communicator.rank:
                self._place(result, out, mine, peer)
                continue
            if out.numel():
                outgoing[peer] = out
            count = sum(
                len(range(*s.indices(self.length))) for s, _ in overlaps(mine, self.blocks[peer], self.length)
            )
            if count:
                incoming[peer] = block.new_empty((block.shape[0], count, *block.shape[2:]))
        self._communicator.exchange(outgoing, incoming)
        for peer, received in incoming.items():
            self._place(result, received, mine, peer)
        return result

    def give_back(self, part: Tensor, wanted: Sequence[range]) -> Tensor:
        """Return the sum over ranks of the rows that fall into this rank's block; `part` holds `wanted[rank]`."""
        rank, mine = self._communicator.rank, wanted[self._communicator.rank]
        if mine == self.own and all(w == b for w, b in zip(wanted, self.blocks, strict=True)):
            return part
        parts, outgoing, incoming = {}, {}, {}
        for peer in range(self._communicator.size):
            out = _gathered(part, [s for s, _ in overlaps(mine, self.blocks[peer], self.length)])
            count = sum(s.stop - s.start for _, s in overlaps(wanted[peer], self.own, self.length))
            if peer == rank:
                parts[peer] = out
            else:
                if out.numel():
                    outgoing[peer] = out
                if count:
                    incoming[peer] = part.new_empty((part.shape[0], count, *part.shape[2:]))
        self._communicator.exchange(outgoing, incoming)
        parts |= incoming
        result = part.new_zeros((part.shape[0], len(self.own), *part.shape[2:]))
        for peer in sorted(parts):
            start = 0
            for _, rows in overlaps(wanted[peer], self.own, self.length):
                count = rows.stop - rows.start
                result[:, rows] += parts[peer][:, start : start + count]
                start += count
        return result

    def whole(self, block: Tensor) -> Tensor:
        """Return all rows on every rank: for small tensors only."""
        return self.fetch(block, [range(self.length)] * self._communicator.size)

    def turned(self, block: Tensor) -> tuple[Tensor, range]:
        """Return the tensor (z, y, x) cut along x instead of y, and the columns of this rank."""
        columns = [block_range(block.shape[2], self._communicator.size, r) for r in range(self._communicator.size)]
        mine = columns[self._communicator.rank]
        if self._communicator.size == 1:
            return block, mine
        outgoing = {r: block[:, :, c.start : c.stop].contiguous() for r, c in enumerate(columns)}
        result = block.new_empty((block.shape[0], self.length, len(mine)))
        incoming = {r: block.new_empty((block.shape[0], len(b), len(mine))) for r, b in enumerate(self.blocks)}
        incoming[self._communicator.rank] = outgoing.pop(self._communicator.rank)
        own = incoming.pop(self._communicator.rank)
        self._communicator.exchange(outgoing, incoming)
        for rank, part in {**incoming, self._communicator.rank: own}.items():
            result[:, self.blocks[rank].start : self.blocks[rank].stop] = part
        return result, mine

    def turned_back(self, columns: Tensor, width: int) -> Tensor:
        """Return what `turned` was given: the tensor (z, y, x) of `width` columns, cut along y."""
        if self._communicator.size == 1:
            return columns
        outgoing = {r: columns[:, b.start : b.stop].contiguous() for r, b in enumerate(self.blocks)}
        ranges = [block_range(width, self._communicator.size, r) for r in range(self._communicator.size)]
        incoming = {r: columns.new_empty((columns.shape[0], len(self.own), len(c))) for r, c in enumerate(ranges)}
        own = outgoing.pop(self._communicator.rank)
        del incoming[self._communicator.rank]
        self._communicator.exchange(outgoing, incoming)
        parts = {**incoming, self._communicator.rank: own}
        return torch.cat([parts[rank] for rank in range(self._communicator.size)], dim=2)

    def _place(self, result: Tensor, received: Tensor, mine: range, peer: int) -> None:
        start = 0
        for rows, _ in overlaps(mine, self.blocks[peer], self.length):
            count = rows.stop - rows.start
            result[:, rows] = received[:, start : start + count]
            start += count


def overlaps(wanted: range, block: range, length: int) -> Iterator[tuple[slice, slice]]:
    """Yield where `wanted`, counted periodically, meets `block`: rows from the start of either."""
    if not len(wanted) or not len(block):
        return
    first, last = wanted.start // length, (wanted.stop - 1) // length
    for turn in range(first, last + 1):
        low = max(wanted.start, block.start + turn * length)
        high = min(wanted.stop, block.stop + turn * length)
        if low < high:
            start = low - turn * length - block.start
            yield slice(low - wanted.start, high - wanted.start), slice(start, start + high - low)


def _gathered(block: Tensor, rows: list[slice]) -> Tensor:
    """Return the rows as one contiguous tensor."""
    if not rows:
        return block[:, :0].contiguous()
    return torch.cat([block[:, r] for r in rows], dim=1).contiguous()

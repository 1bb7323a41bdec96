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
        if list(wanted) == self.blocks:
            return block
        mine = wanted[self._communicator.rank]
        asked = [[rows for _, rows in self._overlaps(rows, self.own)] for rows in wanted]
        places = [[place for place, _ in self._overlaps(mine, owned)] for owned in self.blocks]
        received = self._swap([_gathered(block, rows) for rows in asked], [_length(place) for place in places])
        result = block.new_empty((block.shape[0], len(mine), *block.shape[2:]))
        for part, place in zip(received, places, strict=True):
            for rows, piece in _pieces(part, place):
                result[:, rows] = piece
        return result

    def give_back(self, part: Tensor, wanted: Sequence[range], into: Tensor | None = None) -> Tensor:
        """Return the sum over ranks of the rows that fall into this rank's block; `part` holds `wanted[rank]`.

        It is added to `into`, this rank's block, if that is given.
        """
        if into is None and list(wanted) == self.blocks:
            return part
        mine = wanted[self._communicator.rank]
        places = [[place for place, _ in self._overlaps(mine, owned)] for owned in self.blocks]
        asked = [[rows for _, rows in self._overlaps(rows, self.own)] for rows in wanted]
        received = self._swap([_gathered(part, place) for place in places], [_length(rows) for rows in asked])
        result = part.new_zeros((part.shape[0], len(self.own), *part.shape[2:])) if into is None else into
        for given, rows_of_peer in zip(received, asked, strict=True):
            for rows, piece in _pieces(given, rows_of_peer):
                result[:, rows] += piece
        return result

    def whole(self, block: Tensor) -> Tensor:
        """Return all rows on every rank: for small tensors only."""
        return self.fetch(block, [range(self.length)] * self._communicator.size)

    def turned(self, block: Tensor) -> tuple[Tensor, range]:
        """Return the tensor (z, y, x) cut along x instead of y, and the columns of this rank."""
        columns = self._columns(block.shape[2])
        mine = columns[self._communicator.rank]
        if self._communicator.size == 1:
            return block, mine
        received = self._swap(
            [block[:, :, c.start : c.stop] for c in columns], [len(b) for b in self.blocks], len(mine)
        )
        return torch.cat(received, dim=1), mine

    def turned_back(self, columns: Tensor, width: int) -> Tensor:
        """Return what `turned` was given: the tensor (z, y, x) of `width` columns, cut along y."""
        if self._communicator.size == 1:
            return columns
        outgoing = [columns[:, b.start : b.stop] for b in self.blocks]
        widths = [len(c) for c in self._columns(width)]
        return torch.cat(self._swap(outgoing, [len(self.own)] * len(widths), widths), dim=2)

    def _columns(self, width: int) -> list[range]:
        size = self._communicator.size
        return [block_range(width, size, rank) for rank in range(size)]

    def _overlaps(self, wanted: range, block: range) -> Iterator[tuple[slice, slice]]:
        return overlaps(wanted, block, self.length)

    def _swap(
        self, outgoing: list[Tensor], heights: Sequence[int], widths: int | Sequence[int] | None = None
    ) -> list[Tensor]:
        """Send `outgoing[r]` to rank r; return what the ranks sent, (n, heights[r], ...), one's own part unsent.

        `widths` are those of the last dimension, if they are not what is sent.
        """
        rank, like = self._communicator.rank, outgoing[self._communicator.rank]
        if widths is None or isinstance(widths, int):
            widths = [like.shape[2] if widths is None else widths] * len(outgoing)
        received = [
            like.new_empty((like.shape[0], height, width, *like.shape[3:]))
            for height, width in zip(heights, widths, strict=True)
        ]
        self._communicator.exchange(
            {peer: tensor.contiguous() for peer, tensor in enumerate(outgoing) if peer != rank},
            {peer: tensor for peer, tensor in enumerate(received) if peer != rank},
        )
        received[rank] = like
        return received


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
    """Return the rows as one tensor; of one stretch, without a copy: a rank's own part is as large as its block."""
    return block[:, rows[0]] if len(rows) == 1 else torch.cat([block[:, :0], *(block[:, r] for r in rows)], dim=1)


def _pieces(gathered: Tensor, rows: list[slice]) -> Iterator[tuple[slice, Tensor]]:
    """Yield every slice of rows with its part of the tensor that they were gathered in."""
    return zip(rows, gathered.split([r.stop - r.start for r in rows], dim=1), strict=True) if rows else iter(())


def _length(rows: list[slice]) -> int:
    return sum(r.stop - r.start for r in rows)

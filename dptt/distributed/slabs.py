"""Rows of an axis, divided into one block per rank: fetched from their owners, and scattered to their owners.

`fetch` and `give_back` are an exact adjoint pair. All ranks can compute which rows every rank needs, from poses and
scan positions, so they send no requests: each message is one contiguous block of rows that one rank owns and another
needs. Row numbers are periodic, so that wanted rows may begin before 0 or end beyond the axis.

Sums are formed in the order of the ranks, so a result does not depend on the order in which messages arrive.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range


class Rows:
    """The rows of an axis of `length`, owned in blocks by the ranks of `communicator`."""

    def __init__(self, length: int, communicator: Communicator) -> None:
        self.length, self._communicator = length, communicator
        self.blocks = [block_range(length, communicator.size, rank) for rank in range(communicator.size)]

    @property
    def own(self) -> range:
        """Rows of this rank."""
        return self.blocks[self._communicator.rank]

    def fetch(self, block: Tensor, wanted: Sequence[range]) -> Tensor:
        """Return the rows `wanted[rank]` of the tensor (n, y, x), of which every rank owns a `block` of rows."""
        if list(wanted) == self.blocks:
            return block
        needed = wanted[self._communicator.rank]
        by_peer = [[rows for _, rows in self._overlaps(rows, self.own)] for rows in wanted]
        by_owner = [[place for place, _ in self._overlaps(needed, owned)] for owned in self.blocks]
        received = self._swap([_gathered(block, rows) for rows in by_peer], [_length(place) for place in by_owner])
        result = block.new_empty((block.shape[0], len(needed), *block.shape[2:]))
        for message, place in zip(received, by_owner, strict=True):
            for rows, piece in _pieces(message, place):
                result[:, rows] = piece
        return result

    def give_back(self, fetched: Tensor, wanted: Sequence[range], into: Tensor | None = None) -> Tensor:
        """Return the sum over ranks of the rows in the block of this rank: the adjoint of `fetch`.

        `fetched` holds the rows `wanted[rank]`. The sum is added to `into`, the block of this rank, if not None.
        """
        if into is None and list(wanted) == self.blocks:
            return fetched
        held = wanted[self._communicator.rank]
        by_owner = [[place for place, _ in self._overlaps(held, owned)] for owned in self.blocks]
        by_peer = [[rows for _, rows in self._overlaps(rows, self.own)] for rows in wanted]
        received = self._swap([_gathered(fetched, place) for place in by_owner], [_length(rows) for rows in by_peer])
        result = fetched.new_zeros((fetched.shape[0], len(self.own), *fetched.shape[2:])) if into is None else into
        for message, rows_of_peer in zip(received, by_peer, strict=True):
            for rows, piece in _pieces(message, rows_of_peer):
                result[:, rows] += piece
        return result

    def whole(self, block: Tensor) -> Tensor:
        """Return all rows on every rank: for small tensors only."""
        return self.fetch(block, [range(self.length)] * self._communicator.size)

    def turned(self, block: Tensor) -> tuple[Tensor, range]:
        """Return the tensor (z, y, x) divided along x instead of y, and the columns of this rank."""
        columns = self._columns(block.shape[2])
        own = columns[self._communicator.rank]
        if self._communicator.size == 1:
            return block, own
        received = self._swap(
            [block[:, :, c.start : c.stop] for c in columns], [len(b) for b in self.blocks], len(own)
        )
        return torch.cat(received, dim=1), own

    def turned_back(self, columns: Tensor, width: int) -> Tensor:
        """Return the inverse of `turned`: the tensor (z, y, x) of `width` columns, divided along y."""
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
        """Send `outgoing[r]` to rank r; return the tensors (n, heights[r], ...) from all ranks, by rank.

        A rank does not send to itself. `widths` are the lengths of the third dimension of the received tensors, by
        default those of `outgoing`.
        """
        rank, kept = self._communicator.rank, outgoing[self._communicator.rank]
        if widths is None or isinstance(widths, int):
            widths = [kept.shape[2] if widths is None else widths] * len(outgoing)
        received = [
            kept.new_empty((kept.shape[0], height, width, *kept.shape[3:]))
            for height, width in zip(heights, widths, strict=True)
        ]
        self._communicator.exchange(
            {peer: tensor.contiguous() for peer, tensor in enumerate(outgoing) if peer != rank},
            {peer: tensor for peer, tensor in enumerate(received) if peer != rank},
        )
        received[rank] = kept
        return received


def overlaps(wanted: range, block: range, length: int) -> Iterator[tuple[slice, slice]]:
    """Yield the overlaps of the periodic rows `wanted` with `block`: slices from the start of either."""
    if not len(wanted) or not len(block):
        return
    first, last = wanted.start // length, (wanted.stop - 1) // length
    for period in range(first, last + 1):
        low = max(wanted.start, block.start + period * length)
        high = min(wanted.stop, block.stop + period * length)
        if low < high:
            start = low - period * length - block.start
            yield slice(low - wanted.start, high - wanted.start), slice(start, start + high - low)


def _gathered(block: Tensor, rows: list[slice]) -> Tensor:
    """Return the rows as one tensor, without a copy if they are contiguous: they may be the whole block of a rank."""
    return block[:, rows[0]] if len(rows) == 1 else torch.cat([block[:, :0], *(block[:, r] for r in rows)], dim=1)


def _pieces(gathered: Tensor, rows: list[slice]) -> Iterator[tuple[slice, Tensor]]:
    """Yield every slice of rows with its piece of the gathered tensor."""
    return zip(rows, gathered.split([r.stop - r.start for r in rows], dim=1), strict=True) if rows else iter(())


def _length(rows: list[slice]) -> int:
    return sum(r.stop - r.start for r in rows)

"""Groups of ranks that work on different tilts at once: approximate, for more ranks than one tilt can keep busy.

1. own      the tilts are sorted by stage angle and cut into one sector a group; a group only reads its own tilts.
            In every round all groups take the tilt at the same place in their sectors: simultaneous angles are far
            apart, and their Fourier planes overlap little.
2. updates  `updates`:  every minibatch, the volume updates of all groups are summed and multiplied by `gain`;
                        all groups hold the same volume at all times.
            `averages`: groups work alone for `interval` updates; then the mean change of their volumes, times
                        `gain` and with an outer momentum, is applied to the volume from which they started.
3. end      at the end of an epoch all groups hold the same volume, and receive the probes, positions and poses that
            the others refined.

One group is the exact algorithm: nothing is sent, and nothing is multiplied.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.model.state import TomographyState
from dptt.solvers.tomography.settings import TiltGroupSettings


class TiltGroups:
    """What one group shares with the others in an epoch."""

    def __init__(
        self, communicator: Communicator, settings: TiltGroupSettings, state: TomographyState, num_tilts: int
    ) -> None:
        self._communicator, self._settings, self._state = communicator, settings, state
        of_groups = sectors(state.euler_angles[:num_tilts, 1], communicator.size)
        self.rounds, self.own = max(map(len, of_groups)), of_groups[communicator.rank]
        self._alone = communicator.size == 1
        self._averages = settings.synchronise == "averages" and not self._alone
        self._since_average = 0
        if self._averages:
            self._anchor = state.volume.clone()
            self._momentum = torch.zeros_like(state.volume)

    def schedule(self, order: Sequence[int]) -> list[int | None]:
        """Return the tilts of this group, one per round, or None. `order` permutes the rounds."""
        return [self.own[i] if i < len(self.own) else None for i in order]

    def angles_of_round(self, tilt: int | None) -> list[Tensor]:
        """Return the Euler angles of the tilts of this round, of all groups that share this group's volume."""
        if not self.adds_updates:
            return [] if tilt is None else [self._state.euler_angles[tilt]]
        table = torch.zeros((self._communicator.size, 4), dtype=torch.float64)
        if tilt is not None:
            table[self._communicator.rank, 0] = 1
            table[self._communicator.rank, 1:] = self._state.euler_angles[tilt]
        return [row[1:] for row in self._communicator.sum_(table) if row[0] > 0]

    @property
    def adds_updates(self) -> bool:
        """Return whether every update of the volume is made by all groups together."""
        return not (self._alone or self._averages)

    def combined(self, update: Tensor) -> Tensor:
        """Return the update of the volume that all groups make; changes `update`."""
        if not self.adds_updates:
            return update
        return self._communicator.sum_(update).mul_(self._settings.gain)

    def after_update(self) -> None:
        """Average the volumes if it is time. Every group calls this after every minibatch, also without a tilt."""
        if self._averages:
            self._since_average += 1
            if self._since_average == self._settings.interval:
                self._average()

    def end_epoch(self) -> None:
        """Make all groups hold the same volume, velocity and parameters of all tilts."""
        if self._alone:
            return
        state, sum_ = self._state, self._communicator.sum_
        if self._averages:
            if self._since_average:
                self._average()
            sum_(state.velocity).div_(self._communicator.size)
        for tensor in (state.euler_angles, state.translations):
            self.shared(tensor)
        for tilt in range(len(state.probes)):
            for parameters in (state.probes, state.positions):
                sum_(parameters[tilt] if tilt in self.own else parameters[tilt].zero_())

    def shared(self, rows: Tensor) -> Tensor:
        """Return one row per tilt, each from the group that owns the tilt; changes `rows`."""
        if self._alone:
            return rows
        foreign = torch.ones(len(rows), dtype=torch.bool)
        foreign[self.own] = False
        rows[foreign] = 0
        return self._communicator.sum_(rows)

    def _average(self) -> None:
        volume = self._state.volume
        change = self._communicator.sum_(volume - self._anchor).mul_(self._settings.gain / self._communicator.size)
        self._momentum.mul_(self._settings.outer_momentum).add_(change)
        self._anchor.add_(self._momentum)
        volume.copy_(self._anchor)
        self._since_average = 0


def sectors(theta: Tensor, count: int) -> list[list[int]]:
    """Return the tilts of every group: contiguous in stage angle `theta` [degrees]; one group keeps file order."""
    if count == 1:
        return [list(range(len(theta)))]
    ascending = torch.argsort(theta, stable=True).tolist()
    blocks = [block_range(len(theta), count, group) for group in range(count)]
    return [ascending[block.start : block.stop] for block in blocks]

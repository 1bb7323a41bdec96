"""The ranks as a mesh: tilt groups × scan ranks × slabs. One process is the mesh 1 × 1 × 1.

    rank = (tilt group · scan ranks + scan rank) · slabs + slab

Ranks with neighbouring numbers share a host, so they are the ones that communicate most: slabs exchange rows of the
volume at every update, scan ranks sum slice gradients, and tilt groups sum or average volumes.
"""

from dataclasses import dataclass

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.launch import LaunchError
from dptt.distributed.partition import block_range


@dataclass(frozen=True)
class Mesh:
    """Communicators of this rank along and across the axes of the mesh."""

    world: Communicator
    """All ranks."""
    group: Communicator
    """The ranks of this tilt group: they share the scan positions of every minibatch."""
    scan: Communicator
    """The ranks of this tilt group that hold the same rows of the volume."""
    slab: Communicator
    """The ranks of this tilt group that hold one volume together."""
    tilt: Communicator
    """The ranks at the same place in every tilt group."""

    @classmethod
    def serial(cls) -> "Mesh":
        """Return the mesh of one process."""
        one = SerialCommunicator()
        return cls(one, one, one, one, one)

    @classmethod
    def of(cls, world: Communicator, tilt_groups: int = 1, slabs: int = 1) -> "Mesh":
        """Divide the ranks of `world` into `tilt_groups` × scan ranks × `slabs`.

        Raises
        ------
        LaunchError
            On every rank, if the number of ranks is not a multiple of `tilt_groups` × `slabs`.
        """
        if world.size % (tilt_groups * slabs):
            raise LaunchError(
                f"{world.size} rank(s) cannot be divided into {tilt_groups} tilt group(s) of {slabs} slab(s). Start "
                f"a multiple of {tilt_groups * slabs}, or change distribution.slabs or distribution.tilt_groups.count"
            )
        in_group = world.size // tilt_groups
        tilt_group, place = divmod(world.rank, in_group)
        scan_rank, slab = divmod(place, slabs)
        group = world if tilt_groups == 1 else world.split(tilt_group)
        return cls(
            world,
            group,
            group if slabs == 1 else group.split(slab),
            SerialCommunicator() if slabs == 1 else group.split(scan_rank),
            SerialCommunicator() if tilt_groups == 1 else world.split(place),
        )

    def rows(self, height: int) -> range:
        """Return the rows of the volume along the tilt axis that this rank holds."""
        return block_range(height, self.slab.size, self.slab.rank)

    def check(self, height: int, tilts: int) -> None:
        """Raise LaunchError, on every rank, if any rank has no row of the volume or no tilt."""
        problems = []
        if self.slab.size > height:
            problems.append(
                f"distribution.slabs: got {self.slab.size}, but the volume has {height} rows along the tilt axis; "
                f"expected at most {height}"
            )
        if self.tilt.size > tilts:
            problems.append(
                f"distribution.tilt_groups.count: got {self.tilt.size}, but {tilts} tilt(s) take part; expected at "
                f"most {tilts}"
            )
        if problems:
            raise LaunchError(". ".join(problems))

    @property
    def bytes_sent(self) -> int:
        """Payload sent so far by this rank [bytes]."""
        return sum(one.bytes_sent for one in self._communicators())

    @property
    def seconds_communicating(self) -> float:
        """Time that this rank has waited for messages so far [s]."""
        return sum(one.seconds_communicating for one in self._communicators())

    def _communicators(self) -> list[Communicator]:
        """Return the communicators of this mesh, each once: some axes share one."""
        return list({id(one): one for one in (self.world, self.group, self.scan, self.slab, self.tilt)}.values())

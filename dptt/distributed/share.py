"""A share of independent work for a process that has no peers to talk to, such as a task of a SLURM array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dptt.distributed.launch import LaunchError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Share `number` of `count`, counted from 0; the ranks of a launcher divide a share further."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Share":
        """Return the share that ``K/N`` names; all there is if `text` is None.

        Raises
        ------
        LaunchError
            `text` names no share.
        """
        if text is None:
            return cls()
        number, slash, count = (part.strip() for part in text.partition("/"))
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise LaunchError(f"--share is {text!r}; expected K/N, share K of N counted from 0, such as 0/8")
        if not int(number) < int(count):
            raise LaunchError(
                f"--share {text}: there is no share {number} of {count}; shares count from 0 to N - 1, so with N "
                "tasks a SLURM array is --array=0-(N-1)"
            )
        return cls(int(number), int(count))

    @property
    def whole(self) -> bool:
        """Whether this is all there is."""
        return self.count == 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of this share: every `count`-th, so that shares differ by at most one."""
        return list(items[self.number :: self.count])


WHOLE = Share()

"""A share of independent work for a process without peers, such as a task of a SLURM array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dptt.distributed.launch import LaunchError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Share `number` of `count`, counted from 0; ranks of a launcher divide it further."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Share":
        """Return the share that ``K/N`` names, the whole if `text` is None.

        Raises
        ------
        LaunchError
            `text` is not a share.
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
        """Whether this share is all of the work."""
        return self.count == 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return every `count`-th item, so that the lengths of shares differ by at most one."""
        return list(items[self.number :: self.count])


WHOLE = Share()

"""One line of the table of `dptt validate`, and the table as text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

RIGHT: Literal["right"] = "right"
WRONG: Literal["wrong"] = "wrong"
UNKNOWN: Literal["cannot be told"] = "cannot be told"


@dataclass(frozen=True)
class Check:
    """What the file says about one item, what its data say, and who is right.

    Parameters
    ----------
    item
        Short name, such as ``"scan rotation"``.
    told
        What file and configuration say.
    measured
        What the data say, or why they say nothing.
    verdict
        Whether `told` agrees with the data.
    cure
        What to change, or what to check where the verdict is open; empty if nothing needs to be.
    meaningless
        Whether a reconstruction with this fault means nothing, so that the series is refused.
    """

    item: str
    told: str
    measured: str
    verdict: Literal["right", "wrong", "cannot be told"]
    cure: str = ""
    meaningless: bool = False

    @property
    def sentence(self) -> str:
        """The fault and its cure."""
        return f"{self.item}: told {self.told}, measured {self.measured}. {self.cure}"


def judged(item: str, told: str, measured: str, *, right: bool, cure: str, meaningless: bool = False) -> Check:
    """Return a check that the data decide; `cure` and `meaningless` count only if it is not right."""
    if right:
        return Check(item, told, measured, RIGHT)
    return Check(item, told, measured, WRONG, cure, meaningless)


def table(checks: Sequence[Check]) -> list[str]:
    """Return the checks as aligned lines under a heading."""
    rows = [("item", "told", "measured", "verdict")]
    rows += [(check.item, check.told, check.measured, check.verdict) for check in checks]
    item, told, measured = (max(len(row[column]) for row in rows) for column in range(3))
    return [f"{a:{item}}  {b:{told}}  {c:{measured}}  {d}" for a, b, c, d in rows]


def as_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as dictionaries, in order."""
    return [asdict(check) for check in checks]

"""Reading text files of other programs: UTF-8 whatever the locale, with any line ends."""

import math
from collections.abc import Sequence
from pathlib import Path

from dptt.io.errors import ProblemsError

LARGEST_FILE = 2**26
"""[bytes] Tables of a tilt series have kilobytes; anything larger is another file."""


def read_lines(path: str | Path, error: type[ProblemsError]) -> list[str]:
    """Return the lines of a text file; a byte-order mark and zero bytes at the end are left out.

    Raises
    ------
    ProblemsError
        Of the class `error`: the file cannot be read or is not text in UTF-8.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as failure:
        raise error(path, [f"cannot be read ({failure}). Check the path."]) from failure
    if len(data) > LARGEST_FILE:
        raise error(path, [f"is larger than {LARGEST_FILE // 2**20} MiB; expected a table as text. Check the path."])
    try:
        text = data.rstrip(b"\0\r\n").decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = data[: failure.start].count(b"\n") + 1
        problem = f"cannot be read: line {line} is not UTF-8 text ({failure.reason}). Save it as UTF-8."
        raise error(path, [problem]) from failure
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def as_number(word: str) -> float:
    """Return the number that a word of a table is, or NaN; `1_0` and digits of other scripts are no numbers."""
    try:
        return float(word) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        return math.nan


def some_of(problems: Sequence[str], most: int = 10) -> list[str]:
    """Return the problems, of very many only the first and how many more there are."""
    more = len(problems) - most
    return [*problems[:most], *([f"{more} more of this kind."] if more > 0 else [])]

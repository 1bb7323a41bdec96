"""Errors that list every problem of a file or a description at once. Each says what, got, expected, and the cure."""

import re
from collections.abc import Sequence

FEWEST_ALIKE = 3
"""Problems of one kind that are said in one line."""
MOST_NAMED = 6
_WHO = re.compile(r"(?:(?:tilt|line|row|pattern) )?\S+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class ProblemsError(ValueError):
    """Everything that is wrong with a file or a description.

    Parameters
    ----------
    subject
        The file or description, usually a path.
    problems
        One text per problem, of one or more sentences.
    """

    def __init__(self, subject: object, problems: Sequence[str]):
        self.subject = str(subject)
        self.problems = tuple(problems)
        super().__init__(self.subject, self.problems)

    def __str__(self) -> str:
        said = self.said()
        if len(said) == 1:
            return f"{self.subject}: {said[0]}"
        lines = "".join(f"\n  - {problem}" for problem in said)
        return f"{self.subject}: {len(said)} problems:{lines}"

    def said(self) -> list[str]:
        """Return the lines of the message."""
        return one_of_each_kind(self.problems)


def one_of_each_kind(problems: Sequence[str]) -> list[str]:
    """Return problems that differ in nothing but who has them and in numbers as one: the first, and who else has it.

    A fault of the whole series is then one line, not one for each of its tilts or files.
    """
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(_NUMBER.sub("#", _WHO.sub("", problem, count=1)), []).append(problem)
    said = []
    for alike in kinds.values():
        names = list(dict.fromkeys(_who(problem) for problem in alike[1:]))
        if len(alike) < FEWEST_ALIKE or len(names) < len(alike) - 1:
            said += alike
            continue
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        said.append(f"{alike[0]} Likewise {', '.join(names[:MOST_NAMED])}{more}.")
    return said


def _who(problem: str) -> str:
    match = _WHO.match(problem)
    return match[0].rstrip(":;,") if match else problem


class DatasetError(ProblemsError):
    """A tilt-series file cannot be read or written."""


class CheckpointError(ProblemsError):
    """A checkpoint is missing, truncated or corrupted."""


class ChangedSettingsError(ProblemsError):
    """A checkpoint belongs to a run with other settings."""

    def said(self) -> list[str]:
        """Return every problem: how a setting has changed is the point, however alike the sentences are."""
        return list(self.problems)


class VolumeError(ProblemsError):
    """A volume file cannot be read or written."""


class ImportDescriptionError(ProblemsError):
    """A description of foreign arrays contradicts the arrays or itself."""


class WriteError(ProblemsError):
    """A result or checkpoint cannot be written. The run fails; files that were complete before are unchanged."""

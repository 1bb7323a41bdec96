"""Errors that list every problem of a file or a description at once. Each says what, got, expected, and the cure."""

from collections.abc import Sequence


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
        if len(self.problems) == 1:
            return f"{self.subject}: {self.problems[0]}"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{self.subject}: {len(self.problems)} problems:{lines}"


class DatasetError(ProblemsError):
    """A tilt-series file cannot be read or written."""


class CheckpointError(ProblemsError):
    """A checkpoint is missing, truncated or corrupted."""


class VolumeError(ProblemsError):
    """A volume file cannot be read or written."""


class ImportDescriptionError(ProblemsError):
    """A description of foreign arrays contradicts the arrays or itself."""


class WriteError(ProblemsError):
    """A result or checkpoint cannot be written. The run fails; files that were complete before are unchanged."""

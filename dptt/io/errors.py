"""Errors that list every problem of a file or a description at once, each as what, got, expected, cure."""

from collections.abc import Sequence


class ProblemsError(ValueError):
    """A subject (a file, a description) and everything that is wrong with it.

    Parameters
    ----------
    subject
        What is wrong, usually a path.
    problems
        One sentence or more per problem.
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
    """A tilt-series file cannot be read or written as asked."""


class CheckpointError(ProblemsError):
    """A checkpoint is missing, truncated or corrupted."""


class VolumeError(ProblemsError):
    """A volume file cannot be read or written as asked."""


class ImportDescriptionError(ProblemsError):
    """A description of foreign arrays does not fit the arrays, or itself."""


class WriteError(ProblemsError):
    """A result or checkpoint cannot be written: the run failed, what was complete before is left as it was."""

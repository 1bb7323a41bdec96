"""`dptt compare`: several runs on one self-contained page."""

from collections.abc import Sequence
from pathlib import Path

from dptt.io.atomic_write import replace_text
from dptt.io.errors import ProblemsError
from dptt.logs import log
from dptt.showing.comparison import comparison_page


def compare(runs: Sequence[Path], output: Path) -> Path:
    """Write a page of several `runs` to `output` and return it.

    Raises
    ------
    ProblemsError
        Fewer than two runs are named, or one holds no result; all problems are listed.
    """
    if len(runs) < 2:
        raise ProblemsError(runs[0], ["is the only run; expected two or more to compare. Name another one."])
    if missing := [run for run in runs if not run.is_dir()]:
        raise ProblemsError(missing[0], [f"{run}: there is no such folder." for run in missing])
    replace_text(output, comparison_page(runs))
    log.info(f"wrote {output}")
    return output

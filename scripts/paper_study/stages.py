"""A study is a list of stages. Each prints a table with the paper's numbers, saves a figure, and runs only once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from dptt.config import Config, config_yaml
from dptt.io.atomic_write import write_beside
from dptt.logs import log
from dptt.report.drawing import to_png


@dataclass(frozen=True)
class Row:
    """One line of a table: a quantity, its value in this study, and the paper's."""

    quantity: str
    here: str
    paper: str = "-"


@dataclass(frozen=True)
class Outcome:
    """Result of a stage: its table, and a function that draws its figure if it has one."""

    rows: Sequence[Row]
    draw: Callable[[], Figure] | None = None


@dataclass(frozen=True)
class Stage:
    """A named part of a study, such as one panel of a figure."""

    name: str
    title: str
    work: Callable[[Config], Outcome]


def run_stages(stages: Sequence[Stage], config: Config, figures: Path | None) -> None:
    """Run the stages in order; print the stored table of a stage that has finished with the same configuration.

    Parameters
    ----------
    figures
        Folder for copies of the figures; the originals are in `config.run`/study.
    """
    folder = config.run / "study"
    folder.mkdir(parents=True, exist_ok=True)
    identity = hashlib.sha256(config_yaml(config).encode()).hexdigest()
    for stage in stages:
        rows = finished_rows(folder, stage, identity)
        if rows is None:
            log.info(f"== {stage.title}")
            outcome = stage.work(config)
            rows = list(outcome.rows)
            _save(folder, stage, outcome, identity)
        picture = folder / f"{stage.name}.png"
        if figures is not None and picture.exists():
            figures.mkdir(parents=True, exist_ok=True)
            (figures / f"{config.run.name}_{picture.name}").write_bytes(picture.read_bytes())
        print(f"\n### {stage.title}\n\n{table(rows)}", flush=True)


def finished_rows(folder: Path, stage: Stage, identity: str) -> list[Row] | None:
    """Return the table of a stage that has finished with the same configuration, else None."""
    path = folder / f"{stage.name}.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    return [Row(**row) for row in document["rows"]] if document.get("identity") == identity else None


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| | dptt | [P] |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row.quantity} | {row.here} | {row.paper} |" for row in rows])


def _save(folder: Path, stage: Stage, outcome: Outcome, identity: str) -> None:
    """Write the figure first, because the table marks the stage as finished."""
    if outcome.draw is not None:
        with write_beside(folder / f"{stage.name}.png", overwrite=True) as partial:
            partial.write_bytes(to_png(outcome.draw))
    with write_beside(folder / f"{stage.name}.json", overwrite=True) as partial:
        rows = [asdict(row) for row in outcome.rows]
        partial.write_text(json.dumps({"identity": identity, "rows": rows}, ensure_ascii=False))

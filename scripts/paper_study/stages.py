"""A study is a list of stages; each prints a table beside the paper's numbers, saves a figure, and is done once."""

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
    """One line of a table: a quantity, what was measured here, what the paper says."""

    quantity: str
    here: str
    paper: str = "-"


@dataclass(frozen=True)
class Outcome:
    """What a stage found: its table, and what draws its figure if it has one."""

    rows: Sequence[Row]
    draw: Callable[[], Figure] | None = None


@dataclass(frozen=True)
class Stage:
    """A named part of a study, such as one panel of a figure."""

    name: str
    title: str
    work: Callable[[Config], Outcome]


def run_stages(stages: Sequence[Stage], config: Config, figures: Path | None) -> None:
    """Do the stages in order, or print what an earlier run of the same configuration found.

    Parameters
    ----------
    figures
        Where copies of the figures go, besides `config.run`/study.
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
    """Return the table of a stage that was finished with the same configuration, None if there is none."""
    path = folder / f"{stage.name}.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    return [Row(**row) for row in document["rows"]] if document.get("identity") == identity else None


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| | here | [P] |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row.quantity} | {row.here} | {row.paper} |" for row in rows])


def _save(folder: Path, stage: Stage, outcome: Outcome, identity: str) -> None:
    """Write the figure first: the table says that the stage is done."""
    if outcome.draw is not None:
        with write_beside(folder / f"{stage.name}.png", overwrite=True) as partial:
            partial.write_bytes(to_png(outcome.draw))
    with write_beside(folder / f"{stage.name}.json", overwrite=True) as partial:
        rows = [asdict(row) for row in outcome.rows]
        partial.write_text(json.dumps({"identity": identity, "rows": rows}, ensure_ascii=False))

"""`dptt init`: a commented configuration for somebody's data, with only what is needed."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dptt.config import ConfigError
from dptt.config.schema import NAME, schema_text
from dptt.config.settings import nearest_setting
from dptt.config.starter import QUESTIONS, Question, answer, starter_text, unanswered
from dptt.io.atomic_write import replace_text, write_beside
from dptt.io.importers.survey import Survey, survey
from dptt.logs import log

Ask = Callable[[str], str]


def init(
    data: Path | None,
    overrides: Iterable[str] = (),
    *,
    output: Path | None = None,
    overwrite: bool = False,
    ask: Ask | None = None,
) -> Path:
    """Write a configuration for the file or folder `data`, and return its path.

    Parameters
    ----------
    data
        If it is None, a person is asked for it.
    overrides
        Answers as `section.key=value`.
    output
        File to write; by default named after the data, in the current folder.
    ask
        Asks a person one question and returns what was typed; None if nobody can be asked. What nobody answers is
        left to be filled in.

    Raises
    ------
    ConfigError
        An answer is wrong, or there are no data and nobody can be asked.
    ImportDescriptionError
        The data cannot be read.
    FileExistsError
        The configuration exists and `overwrite` is false.
    """
    if data is None:
        typed = ask("File or folder of your data: ").strip() if ask else ""
        if not typed:
            raise ConfigError(
                "no data named. Write `dptt init FILE` or `dptt init FOLDER`; `dptt example` lists series to try"
            )
        data = Path(typed)
    output = output or Path(f"{data.resolve().stem or 'data'}.yaml")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; choose another file with -o, or give --overwrite to replace it")
    found = survey(data)
    log.info(_what_was_found(data, found))
    settings = found.settings | _answers(overrides)
    for question in unanswered(settings):
        value = _asked(question, ask) if ask else None
        if value is not None:
            settings[question.setting] = value
    text = starter_text(output.stem, settings, found.origin, tilts=found.num_tilts)
    with write_beside(output, overwrite) as partial:
        partial.write_text(text, encoding="utf-8")
    replace_text(output.with_name(NAME), schema_text())
    log.info(f"wrote {output}, and {NAME}, by which editors explain it")
    missing = [question.setting for question in unanswered(settings) if not question.optional]
    if missing:
        log.info(f"fill in {', '.join(missing)}; then `dptt run {output}`")
    else:
        log.info(f"next: `dptt run {output}`, or step by step: `dptt import`, `dptt validate`, `dptt run`")
    return output


def _what_was_found(data: Path, found: Survey) -> str:
    if found.is_series:
        return f"{data}: a tilt series of dptt"
    axes = " x ".join(f"{size} {axis}" for size, axis in zip(found.shape, found.settings["import.axes"], strict=True))
    files = len(found.settings["import.data"])
    told = ", ".join(f"{name} from {source}" for name, source in found.origin.items() if name != "import.axes")
    return f"{data}: {files} file{'s' * (files > 1)} of {axes}" + (f"; {told}" if told else "")


def _answers(overrides: Iterable[str]) -> dict[str, Any]:
    known = {question.setting: question for question in QUESTIONS}
    answers, problems = {}, []
    for override in overrides:
        setting, _, text = override.partition("=")
        if setting not in known:
            nearest = nearest_setting(setting, list(known))
            meant = f"did you mean {nearest}={text}?" if nearest else f"expected one of {', '.join(known)}"
            problems.append(f"{setting} is not asked here; {meant}")
            continue
        try:
            answers[setting] = answer(known[setting], text)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n  - ".join(["answers:", *problems]) if len(problems) > 1 else problems[0])
    return answers


def _asked(question: Question, ask: Ask) -> Any:
    """Return the answer of a person, asked again until it can be used; None if it is left open."""
    later = "leave out" if question.optional else "fill in later"
    while True:
        typed = ask(f"{question.meaning} [{question.unit}], as in {question.example} (Enter: {later}): ").strip()
        if not typed:
            return None
        try:
            return answer(question, typed)
        except ConfigError as error:
            print(f"  {error}", file=sys.stderr)

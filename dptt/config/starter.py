"""The configuration that `dptt init` writes: only what is needed, each setting with its unit and meaning."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dptt.config import config_from_yaml
from dptt.config.errors import ConfigError
from dptt.config.paths import literal_path
from dptt.config.schema import FIRST_LINE
from dptt.config.yaml_text import EMPTY, parse_yaml


@dataclass(frozen=True)
class Question:
    """A setting that only a person knows, unless the files say it."""

    setting: str
    meaning: str
    unit: str
    example: str
    optional: bool = False


QUESTIONS = (
    Question("import.tilt_angles", "stage angle of every tilt, or a file of them", "degrees", "[-30, 0, 30]"),
    Question("import.energy", "beam energy", "eV", "300e3"),
    Question("import.semiangle_cutoff", "convergence semi-angle", "mrad", "21"),
    Question("import.aberrations.defocus", "defocus, positive for underfocus", "Å", "100", optional=True),
    Question("import.scan.step", "distance between scan positions", "Å", "0.9"),
    Question("import.detector.angular_sampling", "angle between detector pixels", "mrad", "1.5"),
    Question("import.detector.counts_per_electron", "detector counts per electron", "counts", "1", optional=True),
    Question("import.detector.binning", "pixels to sum into one", "pixels", "2", optional=True),
    Question("volume.thickness", "depth along the beam, a little more than the specimen", "Å", "200"),
)
FILL_IN = "<- fill in"


def unanswered(settings: Mapping[str, Any]) -> list[Question]:
    """Return the questions that have no answer among `settings`; of a series, only those about the volume."""
    asked = [question for question in QUESTIONS if "series" not in settings or question.setting.startswith("volume.")]
    return [question for question in asked if question.setting not in settings]


def answer(question: Question, text: str) -> Any:
    """Return the value that a person typed; a word for `tilt_angles` is the path of a file.

    Raises
    ------
    ConfigError
        It is not a value of this setting.
    """
    value, problems = parse_yaml(text)
    if question.setting == "import.tilt_angles":
        value = {"path": value} if isinstance(value, str) else [value] if isinstance(value, int | float) else value
    problems += problems_with({question.setting: value})
    if problems or value is EMPTY:
        problem = problems[0] if problems else f"{question.setting}: nothing"
        raise ConfigError(f"{problem}; {question.meaning} [{question.unit}], as in {question.example}")
    return float(value) if isinstance(value, str) else value  # YAML takes 300e3 for text


def problems_with(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with these settings themselves, whatever else is missing."""
    try:
        config_from_yaml(starter_text("check", settings))
    except ConfigError as error:
        lines = [line.removeprefix("  - ") for line in str(error).splitlines()[1:]]
        return [line for line in lines if line.startswith(tuple(settings))]
    return []


def starter_text(
    name: str, settings: Mapping[str, Any], origin: Mapping[str, str] | None = None, *, tilts: int | None = None
) -> str:
    """Return the text of a configuration.

    Parameters
    ----------
    name
        Of series and results: the folder is `runs/NAME`.
    settings
        Full name -> value, of the data and of the questions that are answered. The others are left to be filled in.
    origin
        Full name of a setting -> where its value comes from.
    tilts
        Number of tilts; 1 for a single view, None if it is not known.
    """
    told = Settings(settings, origin or {})
    head = [FIRST_LINE, "# Lines that are left out have good defaults: `dptt schema` lists all settings."]
    if "series" in settings:
        head.append(_line(f"series: {_value(settings['series'])}", "the data"))
        section = []
    else:
        head.append(_line(f"series: {_value(f'runs/{name}/series.h5')}", "written by the import"))
        section = [*_import_section(told), ""]
    lines = [*head, _line(f"run: {_value(f'runs/{name}')}", "folder of all results"), "", *section]
    lines += [*_volume_section(told, tilts), "", *_steps(settings, tilts)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Settings:
    """Settings with their origin, as lines of a configuration."""

    values: Mapping[str, Any]
    origin: Mapping[str, str]

    def line(self, setting: str) -> str:
        """Return the line of a setting that is needed, to be filled in if it has no value."""
        question = next(one for one in QUESTIONS if one.setting == setting)
        *above, key = setting.split(".")
        indent = "  " * len(above)
        if setting not in self.values:
            return _line(
                f"{indent}{key}:", f"{FILL_IN}: {question.meaning} [{question.unit}], as in {question.example}"
            )
        comment = f"from {self.origin[setting]}" if setting in self.origin else question.meaning
        return _line(f"{indent}{key}: {_value(self.values[setting])}", f"{question.unit}: {comment}")

    def optional(self, setting: str, text: str, comment: str, example: str) -> str:
        """Return `text` with the value of a setting in it, as a comment with an example if it has none."""
        if setting in self.values:
            return _line(text.format(_value(self.values[setting])), comment)
        indent = text[: len(text) - len(text.lstrip())]
        return _line(f"{indent}# {text.lstrip().format(example)}", comment)


def _import_section(told: Settings) -> list[str]:
    origin = told.origin.get("import.axes")
    return [
        "import:",
        "  data:",
        *(f"    - {_value(entry)}" for entry in told.values.get("import.data", ())),
        _line(
            f"  axes: {_value(told.values.get('import.axes', []))}", f"from {origin}" if origin else "of each array"
        ),
        told.line("import.tilt_angles"),
        "  # tilt_sign: -1             # if positive angles turn the other way, see docs/conventions.md",
        told.line("import.energy"),
        told.line("import.semiangle_cutoff"),
        told.optional(
            "import.aberrations.defocus",
            "  aberrations: {{defocus: {}}}",
            "Å, positive for underfocus; the bright field tells it too",
            "100",
        ),
        "  scan:",
        told.line("import.scan.step"),
        "  detector:",
        told.line("import.detector.angular_sampling"),
        told.optional(
            "import.detector.counts_per_electron", "    counts_per_electron: {}", "counts of one electron", "1"
        ),
        told.optional("import.detector.binning", "    binning: {}", "pixels to sum into one, before all else", "2"),
    ]


def _volume_section(told: Settings, tilts: int | None) -> list[str]:
    plane = _line("  num_slices: 1", "one view: one slice, or more for a thick specimen")
    return ["volume:", told.line("volume.thickness"), *([plane] if tilts == 1 else [])]


def _steps(settings: Mapping[str, Any], tilts: int | None) -> list[str]:
    lines = [
        _line("brightfield: {}", "measures defocus, astigmatism and scan rotation"),
        _line("ptychography: {}", "every tilt alone: its probe, scan positions and projection"),
        _line("alignment: {}", "poses from the projections; leave out if the series is aligned"),
    ]
    return lines[: 2 if tilts == 1 else 3]


def _line(text: str, comment: str) -> str:
    return f"{text:29} # {comment}"


def _value(value: Any) -> str:
    """Return a value as YAML in one line, with paths that stand for themselves."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if not isinstance(value, str):
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
    text = literal_path(Path(value))
    return text if re.fullmatch(r"[\w./-]+", text) and parse_yaml(text)[0] == text else json.dumps(text)

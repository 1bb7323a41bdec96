"""The YAML configuration: the only part of dptt that knows pydantic and YAML.

One file per run. `load_config` reports all errors at once, each with its path, its value and what was expected.
Config objects stop at `assembly`; below it, functions take numbers, tensors and small dataclasses.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError

from dptt.config.alignment import AlignmentConfig
from dptt.config.base import ExpandedPath, OutputFile, Section
from dptt.config.brightfield import BrightFieldConfig
from dptt.config.distribution import DistributionConfig
from dptt.config.errors import ConfigError
from dptt.config.importing import ImportConfig
from dptt.config.paths import expand_path
from dptt.config.reconstruction import AnalysisConfig, PtychographyConfig, ReconstructionConfig, VolumeConfig
from dptt.config.simulation import SimulationConfig
from dptt.config.yaml_text import EMPTY, parse_yaml, read_text

__all__ = ["Config", "ConfigError", "config_from_yaml", "config_yaml", "expand_path", "load_config"]

ALTERNATIVES = ("function-", "list[", "dict[", "constrained-")
"""How pydantic calls what a key may be, in the path of an error."""
LONGEST_VALUE = 200
"""Characters of a wrong value that are printed."""


class Config(Section):
    """Everything that shapes a result. Relative paths start at the current folder; `~` and `${VAR}` are expanded."""

    series: OutputFile
    """File of the tilt series: written by `dptt simulate` and `dptt import`, read by all other commands."""
    run: ExpandedPath
    """Folder of the results."""
    half: Literal[1, 2] | None = None
    """Use only this half of the scan positions of every tilt: one of each two neighbours, at random. `dptt run` sets
    it for the two half-sets that tell how far a volume can be trusted."""
    simulation: SimulationConfig | None = None
    """The series to simulate, for `dptt simulate`."""
    import_: ImportConfig | None = Field(None, alias="import")
    """The data to import, for `dptt import`."""
    volume: VolumeConfig = VolumeConfig()
    """The grid of the potential."""
    brightfield: BrightFieldConfig | None = None
    """With this section, `dptt run` estimates aberrations and scan orientation from the bright disk. They replace
    those in the file if the data contradict it."""
    ptychography: PtychographyConfig | None = None
    """With this section, `dptt run` reconstructs every tilt alone, for its probe and scan positions."""
    alignment: AlignmentConfig | None = None
    """With this section, `dptt run` aligns the projections of all tilts, for their poses."""
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """The reconstruction of the volume from all tilts."""
    analysis: AnalysisConfig = AnalysisConfig()
    """The analysis of the volume."""
    distribution: DistributionConfig = DistributionConfig()
    """How ranks share the work."""


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Return the configuration in the YAML file `path`, changed by `section.key=value` overrides.

    Raises
    ------
    ConfigError
        The file cannot be read, is not a YAML mapping, or has wrong, missing or unknown keys; all are listed.
    """
    text = read_text(path)
    try:
        tree, problems = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if tree is None or tree is EMPTY:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: contains a {type(tree).__name__}; expected sections such as `series:` and `run:`")
    for override in overrides:
        problems += _apply_override(tree, override)
    return _validated(path, tree, problems)


def config_yaml(config: Config) -> str:
    """Return the resolved configuration, defaults included, as YAML that `load_config` accepts."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_from_yaml(text: str) -> Config:
    """Return the configuration that `config_yaml` wrote.

    Raises
    ------
    ConfigError
        The text is not such a configuration.
    """
    return _validated("stored configuration", *parse_yaml(text))


def _validated(subject: str | Path, tree: Any, problems: list[str]) -> Config:
    """Return the configuration in `tree`, unless it or its text has problems: all are listed."""
    problems = [f"  - {problem}" for problem in problems]
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        problems += [f"  - {_sentence(problem)}" for problem in error.errors()]
    if problems:
        lines = "\n".join(problems)
        raise ConfigError(f"{subject}: {len(problems)} error{'s' * (len(problems) > 1)}\n{lines}")
    return config


def _apply_override(tree: dict[str, Any], override: str) -> list[str]:
    """Change `tree` as `override` says, and return what is wrong with its value."""
    key, equals, value = override.partition("=")
    *parents, leaf = (part.strip() for part in key.split("."))
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    node: Any = tree
    for parent in parents:
        if isinstance(node, dict) and node.get(parent, EMPTY) is EMPTY:
            node[parent] = {}
        node = node[parent] if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ConfigError(f"override {override!r}: {'.'.join(parents)} is a value, not a section")
    try:
        node[leaf], problems = parse_yaml(value)
    except ConfigError:
        raise ConfigError(f"override {override!r}: {value!r} is not valid YAML") from None
    return [f"override {override!r}: {problem}" for problem in problems]


def _sentence(problem: Any) -> str:
    """Return what is wrong with one key: its path, its value, what was expected, and the nearest known key."""
    path = ".".join(_shown(str(part)) for part in problem["loc"] if not str(part).startswith(ALTERNATIVES))
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        suggestion = _nearest(str(problem["loc"][-1]), known)
        return (
            f"{path}: unknown key"
            + (f"; did you mean `{suggestion}`?" if suggestion else "")
            + (f" (known keys: {', '.join(known)})" if known and not suggestion else "")
        )
    if problem["type"] == "missing":
        return f"{path}: missing; this key is required"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    return f"{path}: {message}" + ("" if isinstance(value, dict) else f" (got {_shortened(repr(value))})")


def _shown(key: str) -> str:
    return _shortened(key if key.isprintable() else repr(key))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """Return the keys of the section at `location`, which may contain list indices and tags of alternatives."""
    models: list[Any] = [Config]
    for part in location:
        if isinstance(part, int) or part.startswith(ALTERNATIVES):
            continue
        tagged = [
            m for m in models if "kind" in m.model_fields and part in get_args(m.model_fields["kind"].annotation)
        ]
        fields = [f for m in models for n, f in m.model_fields.items() if part in (n, f.alias)]
        models = tagged if len(models) > 1 else [m for f in fields for m in _models(f.annotation)]
    return [field.alias or name for model in models[:1] for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[Any]:
    """Return the sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _nearest(word: str, known: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)

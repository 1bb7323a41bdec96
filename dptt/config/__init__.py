"""The YAML configuration: the only part of dptt that knows pydantic and YAML.

One file a run. `load_config` reports every problem at once, each with its path, its value and what was expected.
Config objects stop at `assembly`; below it, functions take numbers, tensors and small dataclasses.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import Field, ValidationError

from dptt.config.alignment import AlignmentConfig
from dptt.config.base import Section
from dptt.config.brightfield import BrightFieldConfig
from dptt.config.distribution import DistributionConfig
from dptt.config.importing import ImportConfig
from dptt.config.reconstruction import AnalysisConfig, PtychographyConfig, ReconstructionConfig, VolumeConfig
from dptt.config.simulation import SimulationConfig

__all__ = ["Config", "ConfigError", "config_from_yaml", "config_yaml", "load_config"]


class Config(Section):
    """Everything that shapes a result. Relative paths start from the current folder."""

    series: Path
    """The tilt-series file: written by `simulate` and `import`, read by all others."""
    run: Path
    """Folder of the results."""
    simulation: SimulationConfig | None = None
    import_: ImportConfig | None = Field(None, alias="import")
    volume: VolumeConfig = VolumeConfig()
    brightfield: BrightFieldConfig | None = None
    """With this section, optics and orientation come from the bright disk where the data contradict the file."""
    ptychography: PtychographyConfig | None = None
    """With this section, probes and positions come from the ptychography of every tilt."""
    alignment: AlignmentConfig | None = None
    """With this section, poses come from the joint alignment of the projections of all tilts."""
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    distribution: DistributionConfig = DistributionConfig()


class ConfigError(ValueError):
    """The configuration file or an override is wrong; the message lists every problem."""


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Return the configuration in the YAML file `path`, changed by `section.key=value` overrides.

    Raises
    ------
    ConfigError
        The file cannot be read, is no YAML mapping, or holds wrong, missing or unknown keys; all are listed.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__}; expected sections such as `series:` and `run:`")
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [f"  - {_sentence(problem)}" for problem in error.errors()]
        raise ConfigError(f"{path}: {len(lines)} problem{'s' * (len(lines) > 1)}\n" + "\n".join(lines)) from None


def config_yaml(config: Config) -> str:
    """Return the resolved configuration, defaults included, as YAML that `load_config` accepts."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_from_yaml(text: str) -> Config:
    """Return the configuration that `config_yaml` wrote."""
    return Config.model_validate(yaml.safe_load(text))


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *parents, leaf = key.split(".")
    node: Any = tree
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ConfigError(f"override {override!r}: {'.'.join(parents)} holds a value, not a section")
    try:
        node[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: {value!r} is not valid YAML") from None


def _sentence(problem: Any) -> str:
    """Say what is wrong with one key: where, what was got, what was expected, and the nearest known key."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        suggestion = _nearest(str(problem["loc"][-1]), known)
        return (
            f"{where}: unknown key"
            + (f"; did you mean `{suggestion}`?" if suggestion else "")
            + (f" (known keys: {', '.join(known)})" if known and not suggestion else "")
        )
    if problem["type"] == "missing":
        return f"{where}: missing; this key is required"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    return f"{where}: {message}" + ("" if isinstance(value, dict) else f" (got {value!r})")


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """Return the keys of the section at `location`; a list index or the tag of an alternative stays in place."""
    models: list[Any] = [Config]
    for part in location:
        if isinstance(part, int):
            continue
        tagged = [
            m for m in models if "kind" in m.model_fields and part in get_args(m.model_fields["kind"].annotation)
        ]
        fields = [f for m in models for n, f in m.model_fields.items() if part in (n, f.alias)]
        models = tagged if len(models) > 1 else [m for f in fields for m in _models(f.annotation)]
    return [field.alias or name for model in models[:1] for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[Any]:
    """Return the sections that an annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _nearest(word: str, known: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)

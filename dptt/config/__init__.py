"""The YAML configuration: the only part of dptt that knows pydantic and YAML.

One file per run. `load_config` reports all errors at once, each with its path, its value and what was expected.
Config objects stop at `assembly`; below it, functions take numbers, tensors and small dataclasses.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from dptt.config.alignment import AlignmentConfig
from dptt.config.atoms import AtomsConfig
from dptt.config.base import ExpandedPath, OutputFile, Section
from dptt.config.brightfield import BrightFieldConfig
from dptt.config.distribution import DistributionConfig
from dptt.config.errors import ConfigError
from dptt.config.importing import ImportConfig
from dptt.config.paths import expand_path, literal_path
from dptt.config.reconstruction import AnalysisConfig, PtychographyConfig, ReconstructionConfig, VolumeConfig
from dptt.config.sentences import sentences
from dptt.config.simulation import SimulationConfig
from dptt.config.yaml_text import EMPTY, parse_yaml, read_text

__all__ = [
    "Config",
    "ConfigError",
    "config_from_values",
    "config_from_yaml",
    "config_yaml",
    "expand_path",
    "literal_path",
    "load_config",
]


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
    atoms: AtomsConfig | None = None
    """With this section, `dptt run` fits atoms to the patterns: coordinates, elements and error bars."""
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


def config_from_values(values: Mapping[str, Any], subject: str) -> Config:
    """Return the configuration with these sections, nested mappings as YAML would have them.

    Raises
    ------
    ConfigError
        Keys are wrong, missing or unknown; all are listed, after `subject`.
    """
    return _validated(subject, dict(values), [])


def _validated(subject: str | Path, tree: Any, problems: list[str]) -> Config:
    """Return the configuration in `tree`, unless it or its text has problems: all are listed."""
    problems = [f"  - {problem}" for problem in problems]
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        problems += [f"  - {sentence}" for sentence in sentences(error, Config)]
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

"""From keywords in Python to the configuration that a command would have read from a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dptt.config import Config, config_from_values, literal_path

Tree = dict[str, Any]
"""Sections of a configuration by name, as YAML would have them."""


def plain(value: Any) -> Any:
    """Return a value as YAML would have it: arrays and tuples as lists, paths as text."""
    if isinstance(value, Path):
        return literal_path(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else value


def with_sections(tree: Tree, sections: Mapping[str, Mapping[str, Any] | None]) -> Tree:
    """Return `tree` with the keys of `sections` changed; a section that is None stays as it is."""
    changed = {name: plain(values) for name, values in sections.items() if values is not None}
    return {**tree, **{name: _merged(tree.get(name), values) for name, values in changed.items()}}


def _merged(before: Any, after: Any) -> Any:
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return after
    return {**before, **{key: _merged(before.get(key), value) for key, value in after.items()}}


def configuration(tree: Tree, run: Path, caller: str) -> Config:
    """Return the configuration of a call; `caller` is the function that a wrong setting is reported by.

    Raises
    ------
    ConfigError
        Settings are wrong, missing or unknown; all are listed.
    """
    return config_from_values({**tree, "run": literal_path(run)}, f"dptt.{caller}")

"""Paths in a configuration: `~` is the home folder, `${VAR}` or `$VAR` an environment variable, `$$` a dollar sign.

`series` and `run` are expanded when the file is loaded, every other path when it is opened: only the commands that
read a file need its variables, and the resolved configuration keeps them.
"""

import os
import re
import sys
from pathlib import Path

from dptt.config.errors import ConfigError

LONGEST_NAME = 255
"""[bytes] Of one part of a path, on all common file systems."""
LONGEST_PATH = 4095
"""[bytes] Of a path on Linux."""
_VARIABLE = re.compile(r"\$(?:\$|\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))", re.ASCII)


def expand_path(text: str) -> Path:
    """Return the path that `text` stands for.

    Raises
    ------
    ConfigError
        Variables are not set, there is no such home folder, or no file can have this name.
    """
    shown = text if text.isprintable() else repr(text)
    unset = [name for name in _variables(text) if name not in os.environ]
    if unset:
        variables = f"environment variable{'s' * (len(unset) > 1)} {', '.join(unset)}"
        raise ConfigError(f"{shown}: {variables} not set. Set it, or write $$ for a dollar sign.")
    expanded = _VARIABLE.sub(lambda match: "$" if match[0] == "$$" else os.environ[match[1] or match[2]], text)
    if text.startswith("~"):
        home = os.path.expanduser(expanded)
        if home == expanded:
            user = expanded.split("/")[0]
            raise ConfigError(f"{shown}: {user} is not a home folder. Write ./{user} for a file of this name.")
        expanded = home
    if problem := _problem(expanded):
        raise ConfigError(f"{shown}: {problem}")
    return Path(expanded)


def literal_path(path: Path) -> str:
    """Return the text that `expand_path` turns into `path`, whatever the environment."""
    text = str(path).replace("$", "$$")
    return f"./{text}" if text.startswith("~") else text


def _variables(text: str) -> list[str]:
    """Return the names of the variables in `text`, each once."""
    return list(dict.fromkeys(m[1] if m[1] is not None else m[2] for m in _VARIABLE.finditer(text) if m[0] != "$$"))


def _problem(text: str) -> str | None:
    """Return why `text` cannot be a path, or None."""
    if not text:
        return "the path is empty. Write one."
    if not text.isprintable():
        return "the path contains a control character. Correct the name."
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        return (
            f"file names are in {encoding} in this locale, which lacks a character of the path. Set LC_ALL=C.UTF-8."
        )
    longest = max(encoded.split(b"/"), key=len)
    if len(longest) > LONGEST_NAME or len(encoded) > LONGEST_PATH:
        return (
            f"the path has {len(encoded)} bytes, its longest name {len(longest)}; expected at most {LONGEST_PATH} "
            f"and {LONGEST_NAME}. Choose a shorter one."
        )
    return None

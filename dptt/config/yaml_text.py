"""The text of a configuration: bytes -> text -> mappings, lists and plain values.

YAML 1.1, which PyYAML reads, turns `yes` into true, `010` into 8, `1:30` into 90 and `2024-01-01` into a date. Here,
as in YAML 1.2, an unquoted word is true, false, null, a decimal number, or else text. Digits with a leading zero stay
text, so that `0006` can be the name of a tilt; a key that takes a number reads them as decimal. What is a number here
is one for PyYAML too, so text that PyYAML wrote without quotes stays text.
"""

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from dptt.config.errors import ConfigError

LARGEST_FILE = 2**24
"""[bytes] A configuration has a few kilobytes; anything larger is another file, such as the series."""
LARGEST_TREE = 20_000
"""Values in a configuration, those repeated by aliases included."""

CURE = "Indent with spaces, and put text with special characters in quotes."
ANSWERS = {
    "mapping values are not allowed": (
        "a colon where none is expected",
        "Write a space after the colon of every key, and begin keys of one section in the same column.",
    ),
    "expected <block end>": (
        "this line is indented differently from those above it",
        "Begin keys of one section in the same column.",
    ),
    "'\\t'": ("a tab", "Indent with spaces."),
}
"""Part of a message of PyYAML -> what is wrong, and the cure."""


class _Empty:
    """What follows `key:` where nothing is written: an empty section is not the same as `null`."""

    def __repr__(self) -> str:
        return "nothing"


EMPTY = _Empty()

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"": EMPTY} | {
    spelling: value
    for word, value in (("true", True), ("false", False), ("null", None), ("~", None))
    for spelling in (word, word.capitalize(), word.upper())
}
_PLAIN, _TEXT = "plain", "tag:yaml.org,2002:str"
_LIST, _MAPPING = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"


def read_text(path: str | Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte-order mark, whatever the locale.

    Raises
    ------
    ConfigError
        The file cannot be read or is not such text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}). Check the path.") from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{path}: is larger than {LARGEST_FILE // 2**20} MiB; expected a configuration in YAML.")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        name = "UTF-16" if wide else "UTF-8"
        raise ConfigError(f"{path}: is not {name} text (line {line}: {error.reason}). Save it as UTF-8.") from None


def parse_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value of YAML text, and what is wrong with it although it is valid YAML.

    Raises
    ------
    ConfigError
        The text is not valid YAML; the message says where.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        tree = _Tree()
        return (EMPTY if node is None else tree.value(node, (), ())), tree.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or ""
        problem, cure = next((answer for part, answer in ANSWERS.items() if part in problem), (problem, CURE))
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"is not valid YAML: {place}{problem}. {cure}") from None
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
    ) as error:  # PyYAML's scanner passes on those of chr() and int()
        raise ConfigError(f"is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError("is not valid YAML: it is nested too deeply; expected a few levels of sections.") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's parser, which here leaves the meaning of unquoted words to `_plain`."""

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return _LIST if kind is yaml.SequenceNode else _MAPPING


class _Tree:
    """Values of the nodes of a YAML document, and the problems met on the way."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._size = 0

    def value(self, node: yaml.Node, path: tuple[str, ...], above: tuple[yaml.Node, ...]) -> Any:
        """Return the value of `node`, which lies at `path` in the nodes `above` it."""
        self._size += 1
        if self._size > LARGEST_TREE:
            raise yaml.YAMLError(f"it has more than {LARGEST_TREE} values, those of aliases included")
        if any(node is other for other in above):
            return self._problem(node, path, "contains itself through an alias; write its values out")
        match node:
            case yaml.ScalarNode(tag="plain" | "tag:yaml.org,2002:str"):
                return self._scalar(node, path)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self.value(item, (*path, str(i)), (*above, node)) for i, item in enumerate(node.value)]
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, path, above)
        return self._problem(node, path, f"has the YAML tag {node.tag}; expected a value without a tag")

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        if _SURROGATE.search(node.value):
            return self._problem(node, path, "contains a lone surrogate, which is half a character; correct the text")
        return _plain(node.value) if node.tag == _PLAIN else node.value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...], above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """Return the mapping; its own keys take precedence over those merged with `<<`."""
        lines: dict[str, int] = {}
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, content in node.value:
            if key.tag == _PLAIN and key.value == "<<":
                merged |= self._merged(content, path, (*above, node))
                continue
            if key.tag not in (_PLAIN, _TEXT) or not key.value or _SURROGATE.search(key.value):
                self._problem(key, path, "has a key that is not a word; expected `key: value`")
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                at = f"on lines {lines[key.value]} and {line}" if line != lines[key.value] else f"on line {line}"
                self.problems.append(f"{_joined((*path, key.value))}: appears twice ({at}); keep one of them")
            lines.setdefault(key.value, line)
            own[key.value] = self.value(content, (*path, key.value), (*above, node))
        return merged | own

    def _merged(self, node: yaml.Node, path: tuple[str, ...], above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """Return the mapping after `<<`; of several in a list, the first has precedence."""
        content = self.value(node, (*path, "<<"), above)
        mappings = content if isinstance(content, list) else [content]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            self._problem(node, path, "has `<<` without a section; expected an alias of one, as in `<<: *name`")
            return {}
        return {key: value for mapping in reversed(mappings) for key, value in mapping.items()}

    def _problem(self, node: yaml.Node, path: tuple[str, ...], text: str) -> None:
        self.problems.append(f"{_joined(path)}: line {node.start_mark.line + 1} {text}")


def _joined(path: tuple[str, ...]) -> str:
    """Return the path of a value as errors show it."""
    text = ".".join(path)[:200]
    return (text if text.isprintable() else repr(text)) or "the file"


def _plain(word: str) -> Any:
    """Return what an unquoted word stands for."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return word

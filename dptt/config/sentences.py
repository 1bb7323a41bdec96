"""What is wrong with a configuration, in words: pydantic's errors -> one sentence for every key.

Where a key takes values of several types, pydantic has an error for each of them, at paths that name its own
validators. Here a key has one sentence: what is wrong with the type that the value comes nearest to, or, if it is of
none, what was expected.
"""

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dptt.config.base import Section
from dptt.config.settings import alternatives, described, keys, members, nearest_setting, setting_names, tags, takes

LONGEST_VALUE = 200
"""Characters of a wrong value that are printed."""
_NUMBER_WITH_UNIT = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)? ?[^\W\d]+.*")
_WORDINGS = {
    "missing": "missing; this key is required",
    "finite_number": "must be a finite number",
    "too_short": "has {actual_length} values; expected at least {min_length}",
}


@dataclass(frozen=True)
class _Place:
    """Where a value is: the names on the way to it, what may stand there, and where a choice of types began."""

    path: tuple[str, ...]
    annotation: Any
    choice: int | None
    """Length of the path to the last value that may be of several types; None if none on the way may."""


def sentences(error: ValidationError, root: type[Section]) -> list[str]:
    """Return what is wrong with every key of a configuration of type `root`, each in one sentence."""
    by_value: dict[tuple[str, ...], list[tuple[_Place, Any]]] = {}
    for problem in error.errors():
        place = _place(problem["loc"], root)
        key = place.path if place.choice is None else place.path[: place.choice]
        by_value.setdefault(key, []).append((place, problem))
    said = [
        _path_and_text(place, problem, root)
        for problems in by_value.values()
        for place, problem in _nearest_type(problems)
    ]
    return list(dict.fromkeys(f"{'.'.join(map(shown, path)) or 'the file'}: {text}" for path, text in _once(said)))


def _once(said: list[tuple[tuple[str, ...], str]]) -> list[tuple[tuple[str, ...], str]]:
    """Return the texts with one for all items of a list that share it, as those of a pair written as one number."""
    shared = Counter((_any_item(path), text) for path, text in said)
    return [(path if shared[_any_item(path), text] == 1 else _any_item(path), text) for path, text in said]


def _any_item(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return a path for all items of its lists: `import.data.*.path`, and the list itself if its items are meant."""
    starred = tuple("*" if part.isdigit() else part for part in path)
    return starred[:-1] if starred and starred[-1] == "*" else starred


def _nearest_type(problems: list[tuple[_Place, Any]]) -> list[tuple[_Place, Any]]:
    """Return the problems of one value with the type that it comes nearest to.

    The nearest is one that the value has, so that only its content is wrong; of several that it has not, the last
    problem stands for all.
    """
    choices = [place.choice for place, _ in problems if place.choice is not None]
    if not choices or len(problems) == 1:
        return problems
    inside = [(place, problem) for place, problem in problems if len(place.path) > max(choices)]
    content = [(place, problem) for place, problem in problems if not _is_about_type(problem)]
    nearest = inside or content or problems[-1:]
    return list({(place.path, problem["type"]): (place, problem) for place, problem in nearest}.values())


def _is_about_type(problem: Any) -> bool:
    kind = problem["type"]
    by_validator = kind == "value_error" and problem["msg"].endswith("not true or false")
    return by_validator or kind == "literal_error" or kind.endswith(("_type", "_parsing", "_from_float"))


def _path_and_text(place: _Place, problem: Any, root: type[Section]) -> tuple[tuple[str, ...], str]:
    path, kind, value = place.path, problem["type"], problem["input"]
    got = "" if isinstance(value, dict) else f" (got {shortened(_as_written(value))})"
    if kind == "extra_forbidden":
        return path, _unknown_key(place, root)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(str(tag) for one in alternatives(place.annotation) for tag in tags(one))
        given = value.get("kind") if isinstance(value, dict) else None
        text = "missing" if given is None else f"{shortened(repr(given))} is unknown"
        return (*path, "kind"), f"{text}; expected one of {kinds}"
    if kind == "missing" and isinstance(problem["loc"][-1], int):  # an item of a list that has a length
        return path[:-1], f"expected {described(_place(problem['loc'][:-1], root).annotation)}{got}"
    if kind == "too_long" or (_is_about_type(problem) and kind != "value_error"):
        unit = (
            "; write the number alone, in the unit of the setting"
            if isinstance(value, str) and _NUMBER_WITH_UNIT.fullmatch(value)
            else ""
        )
        return path, f"expected {described(place.annotation)}{got}{unit}"
    if kind in _WORDINGS:
        return path, _WORDINGS[kind].format(**problem.get("ctx", {})) + ("" if kind == "missing" else got)
    return path, problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1) + got


def _as_written(value: Any) -> str:
    """Return a value as YAML has it, so far as it differs from Python."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)


def _unknown_key(place: _Place, root: type[Section]) -> str:
    """Return that a key is unknown, with the nearest known one: of its section, else of any."""
    key = place.path[-1]
    if key.isdigit():
        return "is not a key; a number has a decimal point, as in 0.7, not a comma"
    known = list(keys(place.annotation))
    if similar := difflib.get_close_matches(key, known, n=1, cutoff=0.6):
        return f"unknown key; did you mean `{similar[0]}`?"
    elsewhere = nearest_setting(key, list(setting_names(root)))
    if elsewhere and "." in elsewhere:
        return f"unknown key; did you mean `{elsewhere}`?"
    return "unknown key" + (f" (known keys: {', '.join(known)})" if known else "")


def _place(location: tuple[int | str, ...], root: type[Section]) -> _Place:
    """Return the place of an error; names of pydantic's own validators are left out of its path."""
    path: list[str] = []
    annotation: Any = root
    choice, parts = None, list(location)
    while parts:
        kinds = alternatives(annotation)
        if len(kinds) > 1:  # the next part is the tag of an alternative, or the name of its validator
            tag = parts.pop(0)
            tagged = [kind for kind in kinds if tag in tags(kind)]
            if not tagged:
                choice = len(path)
                tagged = [kind for kind in kinds if parts and takes(kind, parts[0])]
            annotation = tagged[0] if tagged else annotation
            if not parts or not tagged:
                path += [str(part) for part in parts]
                break
            kinds = tagged
        part = parts.pop(0)
        path.append(str(part))
        inside = [inner for kind in kinds for inner in members(kind, part)]
        if not inside:
            break  # an unknown key: `annotation` stays its section
        annotation = inside[0]
    return _Place(tuple(path), annotation, choice)


def shown(key: str) -> str:
    """Return a key as errors print it."""
    return shortened(key if key.isprintable() else repr(key))


def shortened(text: str) -> str:
    """Return at most `LONGEST_VALUE` characters of a text."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."

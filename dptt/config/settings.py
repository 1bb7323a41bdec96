"""What a setting may be, read from the types of the sections: names of all settings, and their values in words."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dptt.config.base import Section

_NOUNS: dict[Any, tuple[str, str]] = {
    float: ("a number", "numbers"),
    int: ("a whole number", "whole numbers"),
    bool: ("true or false", "values true or false"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
}


def setting_names(model: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the full name of every setting, as in `reconstruction.epochs`; those inside lists are left out."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        inside = [one for one in alternatives(field.annotation) if is_section(one)]
        yield path
        for section in inside:
            yield from setting_names(section, f"{path}.")


def nearest_setting(word: str, known: list[str]) -> str | None:
    """Return the setting that `word` most likely means: by its last name, exactly or misspelt."""
    word = word.strip("-").replace("-", "_")
    if word in known:
        return word
    last = word.rpartition(".")[2]
    candidates = [name for name in known if name.rpartition(".")[2] == last]
    if not candidates and (similar := difflib.get_close_matches(word, known, n=1, cutoff=0.8)):
        return similar[0]
    if not candidates:
        leaves = {name.rpartition(".")[2] for name in known}
        similar = difflib.get_close_matches(last, leaves, n=1, cutoff=0.75)
        candidates = [name for name in known if similar and name.rpartition(".")[2] == similar[0]]
    return min(candidates, key=lambda name: (not name.startswith("reconstruction."), name.count(".")), default=None)


def described(annotation: Any, *, plural: bool = False) -> str:
    """Return what a value of this type is, as in "a list of numbers"."""
    kinds = alternatives(annotation)
    if len(kinds) > 1:
        if all(tags(one) for one in kinds):
            return "a section with a `kind`"
        return ", or ".join(dict.fromkeys(described(kind) for kind in kinds))
    kind = kinds[0] if kinds else None
    if kind in _NOUNS:
        return _NOUNS[kind][plural]
    if is_section(kind):
        return "sections" if plural else f"a section with {_listed(list(keys(kind)))}"
    inner = get_args(kind)
    match get_origin(kind):
        case origin if origin is Literal:
            return " or ".join(repr(value) for value in inner)
        case origin if origin is list:
            return f"{'lists' if plural else 'a list'} of {described(inner[0], plural=True)}"
        case origin if origin is tuple:
            return f"{'lists' if plural else 'a list'} of {len(inner)} {described(inner[0], plural=True)}"
        case origin if origin is dict:
            return f"{'sections' if plural else 'a section'} of names with {described(inner[1], plural=True)}"
    return "a value"


def takes(kind: Any, part: int | str) -> bool:
    """Return whether a value of type `kind` has members such as `part`: items, or keys."""
    if isinstance(part, int):
        return get_origin(kind) in (list, tuple)
    return is_section(kind) or get_origin(kind) is dict


def members(kind: Any, part: int | str) -> list[Any]:
    """Return the type of the member `part` of a value of type `kind`; a list, empty if there is no such member."""
    if is_section(kind):
        return [f.annotation for n, f in kind.model_fields.items() if part in (n, f.alias)]
    inner = get_args(kind)
    if get_origin(kind) is tuple and isinstance(part, int):
        return [inner[min(part, len(inner) - 1)]]
    return [inner[-1]] if get_origin(kind) in (list, dict) else []


def alternatives(annotation: Any) -> list[Any]:
    """Return the types that an annotation allows, apart from None."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inner in get_args(annotation) for kind in alternatives(inner)]
    return [] if annotation is NoneType else [annotation]


def is_section(kind: Any) -> bool:
    """Return whether values of type `kind` are sections."""
    return isinstance(kind, type) and issubclass(kind, Section)


def tags(kind: Any) -> tuple[Any, ...]:
    """Return the values of `kind` that stand for this section."""
    field = kind.model_fields.get("kind") if is_section(kind) else None
    return get_args(field.annotation) if field else ()


def keys(annotation: Any) -> Iterator[str]:
    """Yield the keys of the section that an annotation stands for."""
    for kind in alternatives(annotation):
        if is_section(kind):
            yield from (field.alias or name for name, field in kind.model_fields.items())
            return


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names[:3]] + ["..."] * (len(names) > 3)
    return ", ".join(quoted)

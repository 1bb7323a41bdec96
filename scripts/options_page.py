"""Write docs/options.md: every option of the configuration with its type, default and meaning, from its JSON schema.

python scripts/options_page.py           write the page
python scripts/options_page.py --check   end with an error unless it is up to date
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dptt.config.schema import configuration_schema

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"
INTRODUCTION = """# Every option

Made by `scripts/options_page.py` from the configuration itself; do not edit. Units are in brackets. An option that is
left out has its default, and most are best left out: [steps.md](steps.md) says what the steps do with them. On the
command line an option is `section.key=value`; in Python it is a keyword of the function of its section
([python.md](python.md)).
"""
SECTIONS = ("import", "simulation", "volume", "brightfield", "ptychography", "alignment")
SECTIONS += ("reconstruction", "atoms", "analysis", "distribution")
"""In the order of the steps of a run."""
ARRAY = "Array"
"""Heading of what many options of `import` are."""

Schema = dict[str, Any]


def options_page() -> str:
    """Return the page."""
    schema = configuration_schema()
    parts = [INTRODUCTION, "## The file\n", _table(schema["properties"], schema, leave_out=SECTIONS)]
    for name in SECTIONS:
        parts += _section(name, _target(schema["properties"][name], schema), schema, level=2)
    parts += _section(ARRAY, schema["$defs"]["ArrayConfig"], schema, level=2)
    return "\n".join(parts).rstrip() + "\n"


def _section(path: str, section: Schema, schema: Schema, level: int) -> Iterator[str]:
    """Yield the heading, the description and the table of a section, then its subsections."""
    kind = section["properties"].get("kind", {}).get("const")
    title = path if path == ARRAY else f"`{path}`"
    yield f"{'#' * level} {title}{f', kind `{kind}`' if kind else ''}\n"
    yield _text(section.get("description", "")).strip() + "\n"
    yield _table(section["properties"], schema)
    for name, option in section["properties"].items():
        for target in _sections_in(option, schema):
            if target.get("properties", {}).keys() != {"path", "dataset", "index"}:
                yield from _section(f"{path}.{name}", target, schema, min(level + 1, 4))


def _table(options: Schema, schema: Schema, leave_out: tuple[str, ...] = ()) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        if name in leave_out or "const" in option:
            continue
        meaning = _text(option.get("description") or _described(option, schema))
        rows.append(f"| `{name}` | {_kind(option, schema)} | {_default(option)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _described(option: Schema, schema: Schema) -> str:
    """Return the description of the section that an option is."""
    return next((target.get("description", "") for target in _sections_in(option, schema)), "")


def _kind(option: Schema, schema: Schema) -> str:
    """Return what values an option takes, in words."""
    if "anyOf" in option or "oneOf" in option:
        kinds = [_kind(inner, schema) for inner in option.get("anyOf", option.get("oneOf", []))]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "null"))
    if "$ref" in option:
        target = _target(option, schema)
        files = target.get("properties", {}).keys() == {"path", "dataset", "index"}
        return "[array](#array)" if files else "section"
    if "enum" in option or "const" in option:
        return ", ".join(f"`{value}`" for value in option.get("enum", [option.get("const")]))
    if "prefixItems" in option:
        return f"{len(option['prefixItems'])} values: {_kind(option['prefixItems'][0], schema)}"
    match option.get("type"):
        case "array":
            return f"list: {_kind(option['items'], schema)}"
        case "object":
            return "name: value" if "additionalProperties" in option else "section"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _range(option)
        case "boolean":
            return "true or false"
        case "string":
            return "path" if option.get("format") == "path" else "text"
        case "null":
            return "null"
    return "value"


def _range(option: Schema) -> str:
    bounds = {
        "exclusiveMinimum": ">",
        "gt": ">",
        "minimum": "≥",
        "ge": "≥",
        "exclusiveMaximum": "<",
        "lt": "<",
        "maximum": "≤",
        "le": "≤",
    }
    limits = [f"{sign} {option[name]:g}" for name, sign in bounds.items() if name in option and option[name] < 2**31]
    return f" {', '.join(limits)}" if limits else ""


def _default(option: Schema) -> str:
    if "default" not in option:
        return "required"
    value = option["default"]
    if value is None or isinstance(value, dict):
        return (
            "left out" if value is None else ", ".join(f"{k}: {v}" for k, v in value.items() if v is not None) or "–"
        )
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def _sections_in(option: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the sections that an option may be."""
    if "$ref" in option:
        yield _target(option, schema)
    for inner in (*option.get("anyOf", ()), *option.get("oneOf", ())):
        yield from _sections_in(inner, schema)


def _target(option: Schema, schema: Schema) -> Schema:
    """Return the section that an option refers to."""
    references = [inner["$ref"] for inner in (option, *option.get("anyOf", ())) if "$ref" in inner]
    return schema["$defs"][references[0].rsplit("/", 1)[-1]]


def _text(text: str) -> str:
    """Return a description on one line, safe in a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("[P]", "\\[P\\]")


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return 0 if PAGE.read_text(encoding="utf-8") == options_page() else 1
    PAGE.write_text(options_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

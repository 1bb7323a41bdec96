"""The JSON schema accepts what `load_config` accepts, marks what it refuses, and explains every setting."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from config_files import COMPLETE

from dptt.config.schema import FIRST_LINE, NAME, configuration_schema, schema_text
from dptt.config.yaml_text import EMPTY, parse_yaml

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SHIPPED = sorted(JOBS.glob("*/*.yaml"))


@pytest.fixture(scope="module")
def schema():
    return configuration_schema()


def as_an_editor_reads_it(value: Any) -> Any:
    """Return values of YAML 1.2 as JSON has them: 300e3 is a number, and what is left empty is null."""
    if isinstance(value, dict):
        return {key: as_an_editor_reads_it(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_an_editor_reads_it(one) for one in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return None if value is EMPTY else value


def mistakes(schema: dict[str, Any], text: str) -> list[str]:
    tree, problems = parse_yaml(text)
    assert problems == []
    errors = jsonschema.Draft202012Validator(schema).iter_errors(as_an_editor_reads_it(tree))
    return [".".join(map(str, error.absolute_path)) + ": " + error.message for error in errors]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_configurations_have_no_mistake_and_name_the_schema(schema, file):
    text = file.read_text(encoding="utf-8")
    assert mistakes(schema, text) == []
    assert text.startswith(FIRST_LINE + "\n")
    assert (file.parent / NAME).exists()


@pytest.mark.parametrize(
    "shorthand",
    [
        "reconstruction: {angles: 3}",
        "reconstruction: {angles: off}",
        "reconstruction: {probe: null}",
        "reconstruction: {positions: {from_epoch: 2, step: 0.5}}",
        "reconstruction: {exclude: [0006, 7]}",
        "reconstruction:",
        "brightfield:",
        "brightfield: null",
        "distribution: {checkpoint_every: 10 min}",
        "analysis: {half_sets: null}",
        "analysis: {half_sets: [a.h5, b.h5]}",
    ],
)
def test_what_may_be_written_shorter_is_no_mistake(schema, shorthand):
    assert mistakes(schema, f"series: a\nrun: b\n{shorthand}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "reconstructions: {epochs: 3}",
        "reconstruction: {epoch: 3}",
        "reconstruction: {epochs: 0}",
        "reconstruction: {loss: gauss}",
        "volume: {shape: [1, 2]}",
        "volume: {shape: [1, 2, 3.5]}",
        "brightfield: {method: guess}",
    ],
)
def test_what_is_refused_is_marked_where_it_is(schema, text):
    (mistake,) = mistakes(schema, f"series: a\nrun: b\n{text}\n")
    assert mistake.startswith(text.partition(":")[0]) or text.partition(":")[0] in mistake


def test_the_complete_configuration_of_the_tests_has_no_mistake(schema):
    assert mistakes(schema, COMPLETE) == []


def test_every_setting_is_explained(schema):
    sections = {"Config": schema, **schema["$defs"]}
    unexplained = [
        f"{section}.{name}"
        for section, content in sections.items()
        for name, setting in content.get("properties", {}).items()
        if "description" not in setting
        and name != "kind"
        and "$ref" not in json.dumps(setting)  # a section, whose own description is shown
    ]
    assert unexplained == []


@pytest.mark.parametrize("folder", ["configs", "examples"])
def test_the_shipped_schema_is_the_present_one(schema, folder):
    """Another version of pydantic may word it differently, so only its names and explanations are compared."""
    shipped = json.loads((JOBS / folder / NAME).read_text(encoding="utf-8"))
    again = f"dptt schema -o jobs/{folder}/{NAME}"

    def explanations(one: dict[str, Any]) -> dict[str, dict[str, str | None]]:
        sections = {"Config": one, **one["$defs"]}
        return {
            name: {key: setting.get("description") for key, setting in content.get("properties", {}).items()}
            for name, content in sections.items()
        }

    assert explanations(shipped) == explanations(schema), f"write it again: {again}"


def test_the_text_of_the_schema_is_the_schema(schema):
    assert json.loads(schema_text()) == json.loads(json.dumps(schema))

"""JSON schema of the configuration: editors complete and explain settings by it, and mark mistakes while typing."""

import json
from typing import Any

from dptt.config import Config

NAME = "dptt.schema.json"
"""File beside a configuration whose first line is `FIRST_LINE`."""
FIRST_LINE = f"# yaml-language-server: $schema={NAME}"
"""What the YAML extensions of editors look for."""


def configuration_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a configuration file, with the meaning of every setting.

    It is a little wider than what `load_config` accepts: relations between settings are not in it.
    """
    schema: dict[str, Any] = Config.model_json_schema(by_alias=True)
    for section in (schema, *schema["$defs"].values()):
        for name, setting in section.get("properties", {}).items():
            setting.pop("title", None)  # pydantic's "Voxel Size" for voxel_size
            if "$ref" in setting:  # an empty section has its defaults
                reference = setting.pop("$ref")
                section["properties"][name] = {"anyOf": [{"$ref": reference}, {"type": "null"}], **setting}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Configuration of dptt"}


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(configuration_schema(), indent=1, ensure_ascii=False) + "\n"

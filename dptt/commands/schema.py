"""`dptt schema`: the JSON schema of configurations, for editors."""

from pathlib import Path

from dptt.config.schema import schema_text
from dptt.io.atomic_write import replace_text


def schema(output: Path | None = None) -> None:
    """Print the schema, or write it to the file `output`, which is replaced if it exists."""
    if output is None:
        print(schema_text(), end="")
    else:
        replace_text(output, schema_text())

"""Curves and tables of a result as CSV: a head with names and units, then numbers; empty where there is none."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dptt.io.atomic_write import write_beside


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]], *, overwrite: bool = False) -> Path:
    """Write columns of equal length under their names, in UTF-8.

    Raises
    ------
    FileExistsError
        `path` exists and `overwrite` is false.
    """
    with write_beside(path, overwrite) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            ["" if value is None else value for value in row] for row in zip(*columns.values(), strict=True)
        )
    return path

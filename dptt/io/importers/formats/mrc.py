"""MRC: a stack of images, mapped into memory; its header has no calibration of patterns."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dptt.io.importers.formats.foreign_data import ForeignData, Format
from dptt.io.importers.stacks_and_tables import MRC_SUFFIXES, open_mrc

NAME = "MRC"


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a file has the word `MAP` of an MRC header, or a suffix of the format."""
    return head[208:211] == b"MAP" or path.suffix.lower() in MRC_SUFFIXES


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the stack (section, row, column)."""
    with open_mrc(path) as stack:
        yield ForeignData(stack, ("position", "ky", "kx") if stack.ndim == 3 else ())


FORMAT = Format(NAME, recognises, open_data)

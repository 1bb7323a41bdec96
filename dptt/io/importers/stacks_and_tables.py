"""Arrays in files that hold exactly one: stacks of images in the MRC format, and tables of numbers as text."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.text_file import as_number, read_lines, some_of

MRC_SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".preali", ".rec", ".map")
TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".dat", ".tlt", ".rawtlt", ".xtilt")
_IMOD_STAMP, _IMOD_SIGNED_BYTES = 1146047817, 1
"""Words 39 and 40 of the header: a file of IMOD, and a flag that its bytes have a sign [IMOD, mrc_format]."""


@contextmanager
def open_mrc(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the array (section, row, column) of an MRC file, mapped into memory.

    Raises
    ------
    ImportDescriptionError
        The file is missing, truncated or not MRC, or its columns, rows and sections are not x, y and z.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of properties that only matter to viewers
            file = mrcfile.mmap(path, mode="r")
    except Exception as failure:  # a damaged header makes mrcfile raise whatever its arithmetic does
        problem = f"cannot be read as MRC ({failure}). Check the path, or save it again."
        raise ImportDescriptionError(path, [problem]) from failure
    with file:
        axes = tuple(int(file.header[name]) for name in ("mapc", "mapr", "maps"))
        if axes not in ((1, 2, 3), (0, 0, 0)):
            problem = f"has the axes {axes} (mapc, mapr, maps); expected (1, 2, 3). Save it with columns along x."
            raise ImportDescriptionError(path, [problem])
        stamp, flags = struct.unpack_from(f"{file.header.mode.dtype.str[0]}ii", file.header["extra2"].tobytes(), 40)
        unsigned = stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES
        yield file.data.view(np.uint8) if file.data.dtype == np.int8 and unsigned else file.data


def read_table(path: Path) -> NDArray[np.float64]:
    """Return the numbers in a text file: (lines,) for one a line, else (lines, columns).

    Numbers are separated by white space, commas or semicolons; lines that begin with # are comments.

    Raises
    ------
    ImportDescriptionError
        The file cannot be read or a line is not numbers, as many as in the first; all wrong lines are listed.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_lines(path, ImportDescriptionError), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    rows = [[as_number(word) for word in line.replace(",", " ").replace(";", " ").split()] for _, line in lines]
    if not rows:
        raise ImportDescriptionError(path, ["is empty; expected numbers. Check the path."])
    problems = [
        f"line {number} is {line[:80]!r}; expected finite numbers, {len(rows[0])} as in the first line. Correct it."
        for (number, line), row in zip(lines, rows, strict=True)
        if len(row) != len(rows[0]) or not row or not np.isfinite(row).all()
    ]
    if problems:
        raise ImportDescriptionError(path, some_of(problems))
    table = np.array(rows)
    return table[:, 0] if table.shape[1] == 1 else table

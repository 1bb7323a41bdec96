"""TIFF: a stack of patterns, one a page, also BigTIFF; with its shape where tifffile or ImageJ wrote it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format
from dptt.io.importers.formats.optional import library
from dptt.io.importers.formats.stacked import Frames, Raster

NAME = "TIFF"


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a file begins as TIFF or BigTIFF, of either byte order."""
    return head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the pages (position, ky, kx), or (scan_y, scan_x, ky, kx) if the file says that they are a raster."""
    tifffile = library("tifffile", path, NAME)
    try:
        file = tifffile.TiffFile(path)
    except Exception as failure:  # a damaged file makes tifffile raise whatever its arithmetic does
        raise ImportDescriptionError(path, [f"cannot be read as TIFF ({failure}). Copy it again."]) from failure
    with file:
        pages = file.pages
        series = file.series[0]
        shape, dtype = tuple(series.shape), np.dtype(series.dtype)
        if len(pages[0].shape) < 2:
            problem = f"has pages of the shape {tuple(pages[0].shape)}; expected (ky, kx). Copy it again."
            raise ImportDescriptionError(path, [problem])
        if len(pages) == 1 and len(shape) > 2:  # ImageJ and tifffile store a stack as one page and what follows it
            yield _of_shape(np.reshape(tifffile.memmap(path, mode="r"), (-1, *shape[-2:])), shape)
            return

        def read(number: int) -> np.ndarray:
            page = pages[number]
            stored, expected = len(page.dataoffsets), math.prod(page.keyframe.chunked)
            if stored != expected or tuple(page.shape) != tuple(pages[0].shape):  # tifffile would put zeros
                problem = f"page {number} {page.shape} has {stored} of {expected} strips; expected all of a page"
                raise ImportDescriptionError(path, [f"{problem} {tuple(pages[0].shape)}. Copy it again."])
            return np.asarray(page.asarray())

        frames = Frames(read, (len(pages), *pages[0].shape[:2]), dtype)
        yield _of_shape(frames, shape)


def _of_shape(frames: np.ndarray | Frames, shape: tuple[int, ...]) -> ForeignData:
    if len(shape) == 4 and shape[0] * shape[1] == frames.shape[0]:
        return ForeignData(Raster(frames, (shape[0], shape[1])), ("scan_y", "scan_x", "ky", "kx"))
    return ForeignData(frames, ("position", "ky", "kx"))


FORMAT = Format(NAME, recognises, open_data)

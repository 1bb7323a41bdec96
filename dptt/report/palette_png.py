"""PNG files of at most 256 colours. They are a third of the size of full colour, which keeps the page small."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

BITS = 5  # leading bits of each channel; colours that agree in these are treated as one


def palette_png(rgb: NDArray[np.uint8]) -> bytes:
    """PNG of an image (row, column, 3) in its 256 most frequent colours; other pixels get the nearest of them."""
    index, palette = choose_palette(rgb)
    height, width = index.shape
    rows = np.pad(index, ((0, 0), (1, 0)))  # each row begins with its filter type: 0, none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits a pixel, indexed colour, not interlaced
    parts = (
        (b"IHDR", header),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def choose_palette(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Index (row, column) into a palette (colours, 3): the mean colours of the most populated cells of RGB space."""
    red, green, blue = (rgb[..., c].astype(np.intp) >> (8 - BITS) for c in range(3))
    cells, cell, count = np.unique(
        (red << 2 * BITS) | (green << BITS) | blue, return_inverse=True, return_counts=True
    )
    cell = cell.ravel()
    sums = [np.bincount(cell, rgb[..., c].ravel().astype(float)) for c in range(3)]
    colours = np.stack(sums, axis=1) / count[:, None]
    palette = colours[np.argsort(-count, kind="stable")[:256]]
    nearest = np.array([np.argmin(np.sum((palette - colour) ** 2, axis=1)) for colour in colours], dtype=np.uint8)
    return nearest[cell].reshape(rgb.shape[:2]), np.rint(palette).astype(np.uint8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

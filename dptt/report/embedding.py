"""Arrays and text inside a page: small, safe in HTML, unpacked by the browser itself.

An array is its bytes, compressed with gzip, in base64: ``web/data.js`` unpacks it with the browser's
DecompressionStream. Values are quantised to 8 or 16 bits between stated limits, far finer than a colour scale.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODULES = ("data.js", "slices.js", "space.js", "patterns.js", "chart.js", "live.js", "page.js")
"""Scripts of the page, in the order in which they are needed."""


def packed(data: bytes) -> str:
    """Return bytes as compressed base64."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def quantised(values: NDArray[np.floating], limits: tuple[float, float], bits: int) -> dict[str, Any]:
    """Return an array as 8 or 16 bit integers between ``limits``, for ``data.js``; values outside are clipped.

    The high bytes come before the low ones: they compress far better apart.
    """
    low, high = limits
    top = 2**bits - 1
    scaled = np.clip((np.asarray(values, dtype=np.float64) - low) / ((high - low) or 1.0), 0, 1)
    levels = np.rint(scaled * top).astype(np.uint16).ravel()
    planes = [levels.astype(np.uint8)] if bits == 8 else [(levels >> 8).astype(np.uint8), levels.astype(np.uint8)]
    return {
        "shape": list(values.shape),
        "low": low,
        "high": high,
        "bits": bits,
        "data": packed(b"".join(plane.tobytes() for plane in planes)),
    }


def json_element(name: str, data: Mapping[str, Any]) -> str:
    """Return data as a script element that the browser does not run; no text in it can end the element."""
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def style_element() -> str:
    """Return the style sheet of every page."""
    return f"<style>\n{_web('page.css')}</style>"


def script_element() -> str:
    """Return the scripts of every page, in a scope of their own."""
    body = "\n".join(_web(module) for module in MODULES)
    return f'<script>\n(() => {{\n"use strict";\n{body}\n}})();\n</script>'


def _web(name: str) -> str:
    return (files("dptt.report") / "web" / name).read_text(encoding="utf-8")

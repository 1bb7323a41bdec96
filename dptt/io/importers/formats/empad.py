"""EMPAD: float32 patterns in a raw file, with or without the XML file of the acquisition.

EMPAD writes 130 rows of 128 pixels a pattern, the last two of which are no pixels. EMPAD-G2 exports 128 rows. A raw
file says nothing about itself: it is recognised by its size. The scan comes from the XML, else from the name
(`scan_x128_y64.raw`), else it is square.
"""

import ast
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format, Metadata

NAME = "EMPAD"
PIXELS = 128
ROWS = (130, 128)
FLOAT = np.dtype("<f4")
LARGEST_XML = 2**24
LARGEST_COUNT = 1e30
"""Words that EMPAD-G2 has not decoded yet give such numbers if they are read as float32."""


def recognises(path: Path, head: bytes) -> bool:
    """Return whether `path` is a .raw file of whole EMPAD patterns, or the XML file of one."""
    if path.suffix.lower() == ".xml":
        return b"raw_file" in _xml_text(path) or b"rawfile" in _xml_text(path)
    return path.suffix.lower() == ".raw" and path.is_file() and _rows(path.stat().st_size) is not None


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield a memory map (scan_y, scan_x, ky, kx), or (position, ky, kx) if nothing tells the scan."""
    facts = _facts(path)
    raw = _raw_file(path, facts)
    size = raw.stat().st_size
    rows = _rows(size)
    if rows is None:
        problem = f"has {size} bytes; expected whole patterns of 130 or 128 rows of {PIXELS} float32. Copy it again."
        raise ImportDescriptionError(raw, [problem])
    count = size // (rows * PIXELS * FLOAT.itemsize)
    shape = _scan_shape(raw, facts, count)
    patterns = np.memmap(raw, FLOAT, "r", shape=(*(shape or (count,)), rows, PIXELS))[..., :PIXELS, :]
    first = np.asarray(patterns[(0,) * (patterns.ndim - 2)])
    if np.nanmax(np.abs(first), initial=0.0) > LARGEST_COUNT:
        problem = (
            "holds numbers that are not counts, as EMPAD-G2 has before its words are decoded. Export the patterns."
        )
        raise ImportDescriptionError(raw, [problem])
    axes = ("position", "ky", "kx") if shape is None else ("scan_y", "scan_x", "ky", "kx")
    yield ForeignData(patterns, axes, _metadata(facts, shape))


def _rows(size: int) -> int | None:
    """Return how many rows a pattern has in a file of `size` bytes, None if they would not be whole."""
    return next((rows for rows in ROWS if size and size % (rows * PIXELS * FLOAT.itemsize) == 0), None)


def _xml_text(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_XML)


def _facts(path: Path) -> dict[str, str]:
    """Return the texts in the XML file at, or of, `path` as tag -> text and parent/tag -> text; {} without a file."""
    xml = path if path.suffix.lower() == ".xml" else _xml_of(path)
    if xml is None:
        return {}
    try:
        root = ElementTree.fromstring(_xml_text(xml))
    except (OSError, ElementTree.ParseError) as failure:
        problem = f"cannot be read as XML ({failure}). Correct or remove it."
        raise ImportDescriptionError(xml, [problem]) from failure
    facts = {}
    for parent in root.iter():
        for child in parent:
            facts[child.tag] = facts[f"{parent.tag}/{child.tag}"] = (child.text or "").strip()
            facts |= {f"{child.tag}@{name}": value for name, value in child.attrib.items()}
    return facts


def _xml_of(raw: Path) -> Path | None:
    """Return the XML file of the same name, else the only one in the folder that names the raw file."""
    if raw.with_suffix(".xml").is_file():
        return raw.with_suffix(".xml")
    naming = [xml for xml in sorted(raw.parent.glob("*.xml")) if raw.name.encode() in _xml_text(xml)]
    return naming[0] if len(naming) == 1 else None


def _raw_file(path: Path, facts: dict[str, str]) -> Path:
    if path.suffix.lower() != ".xml":
        return path
    named = facts.get("raw_file@filename") or facts.get("rawfile/filename") or path.with_suffix(".raw").name
    raw = path.parent / re.split(r"[/\\]", named)[-1]
    if not raw.is_file():
        raise ImportDescriptionError(path, [f"names {raw.name}, which is not beside it. Copy that file too."])
    return raw


def _scan_shape(raw: Path, facts: dict[str, str], count: int) -> tuple[int, int] | None:
    """Return the scan (y, x); None if nothing tells. The XML, the name of the file and its size must agree."""
    told = [
        (facts.get("pix_y"), facts.get("pix_x")),
        (facts.get("scan_parameters/scan_resolution_y"), facts.get("scan_parameters/scan_resolution_x")),
        tuple(re.findall(r"\d+", facts.get("scan/shape", ""))),
    ]
    if named := re.search(r"x(\d+)_y(\d+)", raw.stem):
        told.append((named[2], named[1]))
    shapes = [(int(pair[0]), int(pair[1])) for pair in told if len(pair) == 2 and all(pair)]
    if "series_count" in facts and not shapes:
        return None
    if not shapes:
        side = math.isqrt(count)
        return (side, side) if side * side == count and count > 1 else None
    if shapes[0][0] * shapes[0][1] != count:
        problem = f"has {count} patterns; its XML or name says {shapes[0][0]} x {shapes[0][1]} (y, x). Copy it again."
        raise ImportDescriptionError(raw, [problem])
    return shapes[0]


def _metadata(facts: dict[str, str], shape: tuple[int, int] | None) -> Metadata:
    pixel = _number(facts.get("calibrated_pixelsize"))
    angle = _number(facts.get("calibrated_diffraction_angle"))
    length = facts.get("nominal_camera_length") or facts.get("ColumnOpticsGetCameraLengthNominalCameraLength")
    generation_2 = facts.get("sensor/type") == "EMPAD2"
    return Metadata(
        energy=_number(facts.get("high_voltage") or facts.get("ColumnSourceHighVoltage")),
        scan_step=None if shape is None else _scan_step(facts, shape),
        angular_sampling=(1e3 * angle, 1e3 * angle) if angle and generation_2 else None,
        reciprocal_sampling=(1e8 * pixel, 1e8 * pixel)
        if pixel and not generation_2
        else None,  # written in 1/(10^8 Å)
        camera="EMPAD-G2" if generation_2 else "EMPAD",
        others={"camera length": f"{length} m"} if length else {},
    )


def _scan_step(facts: dict[str, str], shape: tuple[int, int]) -> tuple[float, float] | None:
    """Return the step (y, x) [Å] from the field of view [m], which new versions give for the longer side, scaled."""
    view = _number(facts.get("full_scan_field_of_view/x"))
    factor = _number(facts.get("full_scan_field_of_view/scale_factor"))
    if view and factor:
        step = 1e10 * view / factor / max(shape)
        return step, step
    try:
        views = [float(number) for number in ast.literal_eval(facts["optics.get_full_scan_field_of_view"])]
    except (KeyError, ValueError, SyntaxError, TypeError):
        return None
    fits = len(views) == 2 and min(views) > 0
    return (1e10 * views[0] / shape[0], 1e10 * views[1] / shape[1]) if fits else None


def _number(text: str | None) -> float | None:
    """Return a positive number, None if the text is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


FORMAT = Format(NAME, recognises, open_data)

"""The meaning of the axes, and the raster of patterns that are one long list in their file."""

import math
from collections.abc import Iterator

from dptt.assembly.import_sources.sources import Sources, contradiction
from dptt.config.importing import ImportConfig
from dptt.io.importers.description import ArraySource

USUAL = {
    5: ("tilt", "scan_y", "scan_x", "ky", "kx"),
    4: ("scan_y", "scan_x", "ky", "kx"),
    3: ("position", "ky", "kx"),
}
"""Meaning of the axes of an array of a program that does not tell; MATLAB stores them the other way round."""


def settle_axes(options: ImportConfig, sources: Sources) -> Iterator[str]:
    """Settle the axes, and the raster of patterns that are one long list; yield what is missing or wrong."""
    first = sources.recognised[0]
    usual = {} if "MATLAB" in first.kind else USUAL
    told = tuple(options.axes) if options.axes is not None else first.axes or usual.get(len(first.shape), ())
    if not told:
        yield (
            f"axes is missing: the array of {first.path} has shape {first.shape}, and its format does not tell what "
            "they mean. Set import.axes, such as [scan_y, scan_x, ky, kx]."
        )
        return
    if options.axes is None:
        origin = "from the file" if first.axes else "as usual, because the file does not tell"
        sources.said.append(f"{origin}: axes [{', '.join(told)}]")
    elif first.axes not in ((), told):
        sources.warnings.append(contradiction("axes", list(told), list(first.axes), ""))
    sources.values["axes"] = told
    yield from _raster_of_list(options, sources) if "position" in told else _raster_told_twice(options, sources)


def _raster_of_list(options: ImportConfig, sources: Sources) -> Iterator[str]:
    """Make a raster of one long list of patterns, if its shape is told and no positions are listed."""
    shape, told = options.scan.shape, sources.values["axes"]
    first = sources.recognised[0]
    if shape is None:
        if not (options.scan.positions or options.start) and options.axes is None:
            yield (
                f"scan.shape is missing: {first.path} has {first.shape[0]} patterns in one "
                "list. Set import.scan.shape: [rows, columns], or import.scan.positions."
            )
        return
    if told != ("position", "ky", "kx"):
        yield f"scan.shape is set, but the axes are {told}; expected [position, ky, kx]. Remove scan.shape."
        return
    for entry in sources.recognised:
        if entry.shape[0] < math.prod(shape):
            yield f"scan.shape is {shape}, but {entry.path} has {entry.shape[0]} patterns. Correct it."
        elif entry.shape[0] > math.prod(shape):
            more = entry.shape[0] - math.prod(shape)
            sources.warnings.append(
                f"{entry.path} has {more} patterns more than import.scan.shape; they are left out."
            )
    sources.arrays = [ArraySource(array.path, array.dataset, array.index, shape) for array in sources.arrays]
    sources.values["axes"] = ("scan_y", "scan_x", "ky", "kx")


def _raster_told_twice(options: ImportConfig, sources: Sources) -> Iterator[str]:
    sizes = dict(zip(sources.values["axes"], sources.recognised[0].shape, strict=False))
    if options.scan.shape is not None and (sizes.get("scan_y"), sizes.get("scan_x")) != options.scan.shape:
        yield f"scan.shape is {options.scan.shape}, but the file has {sizes}. Correct or remove import.scan.shape."

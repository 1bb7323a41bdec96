"""Why the patterns of a description cannot be linked to as they are in their files."""

from collections.abc import Iterator
from pathlib import Path

import h5py

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource, RasterScan, SeriesDescription
from dptt.io.importers.detector_frame import detector_frame, frame_fits
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.formats.stacked import Raster
from dptt.io.importers.recognition import kind_name

LINKABLE_AXES = (("position", "ky", "kx"), ("scan_y", "scan_x", "ky", "kx"))
CURE = "Set link to false to make a copy."


def link_problems(description: SeriesDescription, detectors: set[tuple[int, int]]) -> Iterator[str]:
    """Yield why no link can be made; `detectors` are the shapes (ky, kx) of the patterns."""
    if description.named_axes not in LINKABLE_AXES:
        expected = " or ".join(str(axes) for axes in LINKABLE_AXES)
        yield f"link is set, but the axes are {description.named_axes}; expected {expected}. {CURE}"
    if description.negative == "clip":
        yield f"link is set, but negative is clip, which changes the patterns. {CURE}"
    if isinstance(description.scan, RasterScan) and description.scan.flyback:
        yield f"link is set, but scan.flyback leaves patterns out. {CURE}"
    if description.detector.dark is not None or description.detector.gain is not None:
        yield f"link is set, but detector.dark or detector.gain changes the patterns. {CURE}"
    for source in description.sources:
        yield from _source_problems(source)
    for shape in detectors:
        detector = description.detector
        if frame_fits(detector, shape) and not detector_frame(detector, shape).changes_nothing:
            yield f"link is set, but the detector's centre, flips, crop or binning change the patterns. {CURE}"


def _source_problems(source: ArraySource) -> Iterator[str]:
    """Yield why HDF5 cannot link to one array; one that cannot be read is reported elsewhere."""
    if source.index:
        yield f"link is set, but {source.name} has an index. {CURE}"
    try:
        with open_array(source) as opened:
            array = opened.array
            frames = array.frames if isinstance(array, Raster) else array
            if not isinstance(frames, h5py.Dataset):
                kind = f"is not an HDF5 file, or not one array in it ({kind_name(Path(source.path))})"
                yield f"link is set, but {source.name} {kind}. {CURE}"
            elif frames is not array and len(frames) > array.shape[0] * array.shape[1]:
                yield f"link is set, but scan.shape leaves patterns of {source.name} out. {CURE}"
    except ImportDescriptionError:
        return

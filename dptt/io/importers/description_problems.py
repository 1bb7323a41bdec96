"""Checks of a description of foreign arrays, before any pattern is read."""

from collections.abc import Iterator, Sequence

import numpy as np

from dptt.io.attributes import ABERRATIONS
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import (
    AXES,
    ArraySource,
    ListedPositions,
    RasterScan,
    SeriesDescription,
)
from dptt.io.importers.detector_frame import detector_frame, frame_fits
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.link_problems import link_problems

Numbers = float | Sequence[float] | Sequence[Sequence[float]]


def description_problems(description: SeriesDescription) -> list[str]:
    """Return all problems of `description`; only the shapes and types of its arrays are read."""
    problems = [
        *_optics_problems(description),
        *_scan_problems(description.scan),
        *_detector_problems(description),
    ]
    wrong_axes = list(_axes_problems(description))
    if wrong_axes:
        return problems + wrong_axes  # shapes mean nothing without their axes
    sizes, unreadable = _source_sizes(description)
    problems += unreadable
    detectors = {(size["ky"], size["kx"]) for size in sizes}
    if len(detectors) > 1:
        problems.append(f"sources have detectors of {sorted(detectors)}; expected one shape. Import them separately.")
    for shape in detectors:
        problems += _detector_fit_problems(description, shape)
    if not unreadable and description.starts:
        problems += _start_problems(description, sizes)
    if not unreadable:
        num_tilts = sizes[0]["tilt"] if "tilt" in description.axes else len(sizes)
        problems += _count_problems(description, num_tilts)
        if isinstance(description.scan, ListedPositions):
            problems += _listed_shape_problems(description.scan, sizes, num_tilts)
    return problems + (list(link_problems(description, detectors)) if description.link else [])


def _positive(name: str, value: Numbers, unit: str) -> Iterator[str]:
    if not (np.isfinite(value).all() and np.greater(value, 0).all()):
        yield f"{name} is {value}; expected finite and greater than zero [{unit}]."


def _finite(name: str, value: Numbers, unit: str) -> Iterator[str]:
    if not np.isfinite(value).all():
        expected = "finite numbers" if np.ndim(value) else "a finite number"
        yield f"{name} is {value}; expected {expected} [{unit}]."


def _optics_problems(description: SeriesDescription) -> Iterator[str]:
    yield from _positive("energy", description.energy, "eV")
    yield from _positive("semiangle_cutoff", description.semiangle_cutoff, "mrad")
    if description.tilt_sign not in (1, -1):
        yield f"tilt_sign is {description.tilt_sign}; expected 1 or -1."
    for name, value in description.aberrations.items():
        if name not in (*ABERRATIONS, "defocus"):
            yield f"aberration {name!r} is not known; expected one of {', '.join(ABERRATIONS)}, or defocus."
        yield from _finite(f"aberration {name}", value, "Å or deg")
    if {"C10", "defocus"} <= description.aberrations.keys():
        yield "aberrations name both C10 and defocus (= -C10); expected one. Remove the other."


def _scan_problems(scan: RasterScan | ListedPositions) -> Iterator[str]:
    if isinstance(scan, RasterScan):
        if scan.step is not None:
            yield from _positive("scan.step", scan.step, "Å (y, x)")
        yield from _finite("scan.rotation", scan.rotation, "deg")
        if scan.flyback < 0:
            yield f"scan.flyback is {scan.flyback}; expected 0 or more patterns per row."
    else:
        yield from _positive("scan.unit", scan.unit, "Å")
        yield from _finite("scan.matrix", tuple(number for row in scan.matrix for number in row), "relative")
        if abs(np.linalg.det(np.nan_to_num(np.asarray(scan.matrix)))) < 1e-12:
            yield f"scan.matrix is {scan.matrix}; expected one that can be inverted."
    yield from _finite("scan.centre", scan.centre or (0.0, 0.0), "Å (y, x)")


def _detector_problems(description: SeriesDescription) -> Iterator[str]:
    detector = description.detector
    yield from _positive("detector.angular_sampling", detector.angular_sampling, "mrad (y, x)")
    yield from _positive("detector.counts_per_electron", detector.counts_per_electron, "counts")
    if min(detector.binning) < 1:
        yield f"detector.binning is {detector.binning}; expected 1 or more."
    if detector.zero_angle_at_corner and detector.centre is not None:
        yield f"detector.centre is {detector.centre} and zero_angle_at_corner is set; expected only one of them."


def _axes_problems(description: SeriesDescription) -> Iterator[str]:
    axes = description.axes
    unknown = [name for name in axes if name not in AXES]
    if unknown:
        yield f"axes has {', '.join(unknown)}; expected names out of {', '.join(AXES)}. Correct them."
    if len(set(axes)) < len(axes):
        yield f"axes is {axes}; expected each name once."
    if not {"ky", "kx"} <= set(axes):
        yield f"axes is {axes}; expected ky and kx among them. Add them."
    scan_axes = {"position", "scan_y", "scan_x"} & set(axes)
    if scan_axes not in ({"position"}, {"scan_y", "scan_x"}):
        yield f"axes is {axes}; expected either position, or scan_y and scan_x."
    if isinstance(description.scan, RasterScan) and scan_axes == {"position"}:
        if description.scan.flyback:
            yield f"scan.flyback is {description.scan.flyback}, but axes has no scan_x. Set scan.shape, or remove it."
        elif not description.starts:
            yield "scan has a step, but axes has no scan_y and scan_x. List the positions, or reshape the array."
    if not description.sources:
        yield "there are no sources; expected one array with a tilt axis, or one array per tilt. Add them."
    if "tilt" in axes and len(description.sources) > 1:
        yield f"axes has tilt, but there are {len(description.sources)} sources; expected one. Remove tilt from axes?"


def _source_sizes(description: SeriesDescription) -> tuple[list[dict[str, int]], list[str]]:
    """Return the size of each named axis of every readable source, and the problems of the others."""
    sizes, problems = [], []
    for source in description.sources:
        shape, type_problems = _shape(source, "uif")
        problems += type_problems
        if shape is not None and len(shape) != len(description.axes):
            problems.append(
                f"{source.name} has shape {shape} (after its index); expected {len(description.axes)} axes "
                f"{description.axes}. Correct axes or index."
            )
        elif shape is not None and 0 in shape:
            problems.append(f"{source.name} has shape {shape}; expected no empty axis. Correct `index`.")
        elif shape is not None:
            sizes.append(dict(zip(description.named_axes, shape, strict=True)))
            problems += _flyback_problems(description.scan, sizes[-1])
    return sizes, problems


def _flyback_problems(scan: RasterScan | ListedPositions, size: dict[str, int]) -> Iterator[str]:
    if isinstance(scan, RasterScan) and scan.flyback >= size.get("scan_x", scan.flyback + 1):
        yield f"scan.flyback is {scan.flyback} of {size['scan_x']} patterns per row; expected some to be left."


def _shape(source: ArraySource, kinds: str) -> tuple[tuple[int, ...] | None, list[str]]:
    """Return the shape of `source`, None if it cannot be opened, and the problems of the array itself."""
    expected = "complex numbers" if kinds == "c" else "real numbers"
    try:
        with open_array(source) as array:
            if array.dtype.kind in kinds:
                return array.shape, []
            return array.shape, [f"{source.name} has type {array.dtype}; expected {expected}. Convert it."]
    except ImportDescriptionError as failure:
        return None, [f"{failure.subject}: {problem}" for problem in failure.problems]


def _detector_fit_problems(description: SeriesDescription, shape: tuple[int, int]) -> Iterator[str]:
    detector = description.detector
    crop = detector.crop or shape
    for axis, name in enumerate(("ky", "kx")):
        if detector.centre is not None and not 0 <= detector.centre[axis] <= shape[axis] - 1:
            yield f"detector.centre is {detector.centre[axis]} along {name}; expected 0 to {shape[axis] - 1} pixels."
        if not 1 <= crop[axis] <= shape[axis]:
            yield f"detector.crop is {crop[axis]} along {name}; expected 1 to {shape[axis]} pixels."
        elif detector.binning[axis] >= 1 and crop[axis] % detector.binning[axis]:
            yield (
                f"detector.binning is {detector.binning[axis]} along {name}, of {crop[axis]} pixels; expected a "
                "divisor. Set detector.crop to a multiple."
            )
    if frame_fits(detector, shape) and not detector_frame(detector, shape).apply_to_mask(np.ones(shape, bool)).any():
        yield (
            f"detector.centre is {detector.centre}, crop {crop} and binning {detector.binning}; expected at least "
            "one pixel all of whose foreign pixels the detector has. Reduce the crop or the binning."
        )
    for name, reference in (("dark", detector.dark), ("gain", detector.gain)):
        if reference is None:
            continue
        reference_shape, problems = _shape(reference, "uif")
        yield from problems
        expected = shape[::-1] if detector.transpose else shape
        if reference_shape is not None and reference_shape[-2:] != expected:
            yield f"detector.{name} has shape {reference_shape}; expected (..., ky, kx) of {expected} pixels."
    if detector.mask is not None:
        mask_shape, problems = _shape(detector.mask, "uifb")
        yield from problems
        expected = shape[::-1] if detector.transpose else shape
        if mask_shape is not None and mask_shape != expected:
            yield f"detector.mask has shape {mask_shape}; expected {expected}, as the foreign patterns."
    for probe in description.probes:
        probe_shape, problems = _shape(probe, "c")
        yield from problems
        pixels = tuple(n // b for n, b in zip(crop, detector.binning, strict=True) if b >= 1)
        fits = probe_shape is None or all(n >= p for n, p in zip(probe_shape[-2:], pixels, strict=True))
        if probe_shape is not None and (len(probe_shape) not in (2, 3) or not fits):
            yield f"probe has shape {probe_shape}; expected (mode, y, x) or (y, x) of at least {pixels} pixels."


def _start_problems(description: SeriesDescription, sizes: list[dict[str, int]]) -> Iterator[str]:
    """Yield where the results of other reconstructions do not belong to the patterns."""
    if isinstance(description.scan, RasterScan) and description.scan.flyback:  # these are not imported
        sizes = [size | {"scan_x": size["scan_x"] - description.scan.flyback} for size in sizes]
    counts = [position_shapes(size)[0][0] for size in sizes for _ in range(size.get("tilt", 1))]
    if len(description.starts) != len(counts):
        yield f"start has {len(description.starts)} files; expected {len(counts)}, one per tilt of the sources."
        return
    detector = description.detector
    for number, (start, count) in enumerate(zip(description.starts, counts, strict=True)):
        if len(start.positions) != count:
            yield f"start of tilt {number:04d} has {len(start.positions)} positions; expected {count}, as patterns."
    for shape in {(size["ky"], size["kx"]) for size in sizes}:
        pixels = tuple(n // b for n, b in zip(detector.crop or shape, detector.binning, strict=True) if b >= 1)
        different = {start.probe.shape[1:] for start in description.starts} - {pixels}
        for probe in sorted(different):
            yield f"start has a probe of {probe} pixels; expected {pixels}, as the patterns. Crop or bin alike."


def _count_problems(description: SeriesDescription, num_tilts: int) -> Iterator[str]:
    angles = description.tilt_angles
    if isinstance(angles, ArraySource):
        shape, problems = _shape(angles, "uif")
        yield from problems
        if shape is not None and shape != (num_tilts,):
            yield f"tilt_angles in {angles.name} have shape {shape}; expected ({num_tilts},), one per tilt."
    if len(description.probes) not in (0, 1, num_tilts):
        yield f"probe has {len(description.probes)} sources; expected 1, or one for each of the {num_tilts} tilts."
    lists = {"tilt_angles": angles, "phi": description.phi, "psi": description.psi}
    for name, values in (lists | {"translations": description.translations}).items():
        if values is None or isinstance(values, ArraySource):
            continue
        if len(values) != num_tilts:
            entries = "1 entry" if len(values) == 1 else f"{len(values)} entries"
            yield f"{name} has {entries}; expected {num_tilts}, one per tilt of the sources."
        yield from _finite(name, values, "deg" if name != "translations" else "Å (y, x)")


def _listed_shape_problems(scan: ListedPositions, sizes: list[dict[str, int]], num_tilts: int) -> Iterator[str]:
    if len(scan.sources) not in (1, num_tilts):
        yield f"scan has {len(scan.sources)} sources; expected 1, or one for each of the {num_tilts} tilts."
        return
    for number, source in enumerate(scan.sources):
        size = sizes[min(number, len(sizes) - 1)]
        shapes = position_shapes(size)
        if len(scan.sources) == 1:
            shapes += [(num_tilts, *shape) for shape in shapes]
        shape, problems = _shape(source, "uif")
        yield from problems
        if shape is not None and shape not in shapes:
            yield f"positions in {source.name} have shape {shape}; expected {' or '.join(map(str, shapes))}."


def position_shapes(size: dict[str, int]) -> list[tuple[int, ...]]:
    """Return the valid shapes of an array of the positions of one tilt."""
    if "position" in size:
        return [(size["position"], 2), (2, size["position"])]
    count = size["scan_y"] * size["scan_x"]
    return [(count, 2), (size["scan_y"], size["scan_x"], 2), (2, count)]

"""Import of plain arrays (HDF5, .npy, .npz) with axes in any order, block by block.

The foreign files are never changed. A `SeriesDescription` describes them.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.dataset_writer import write_tilt_series
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource, RasterScan, SeriesDescription
from dptt.io.importers.description_problems import description_problems, position_shapes
from dptt.io.importers.detector_correction import read_correction
from dptt.io.importers.detector_frame import DetectorFrame, detector_frame, frame_remarks
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.foreign_tilt import ForeignTilt, blocks, read_ahead
from dptt.io.importers.negative_counts import NegativeCounts
from dptt.io.importers.scan_frame import listed_positions, raster_positions
from dptt.io.importers.unusable_counts import UnusableCounts
from dptt.io.series_data import ExternalPatterns, SeriesHeader, TiltData
from dptt.io.truth import Truth

BLOCK_BYTES = 16 * 2**20
"""[bytes] Of patterns read at once; up to four blocks are in memory."""
Progress = Callable[[int, int], None]
"""Called with the number of patterns read and the number of all patterns after each block."""


def import_arrays(
    description: SeriesDescription,
    output_path: str | Path,
    *,
    progress: Progress | None = None,
    compression: str | None = None,
    overwrite: bool = False,
    block_bytes: int = BLOCK_BYTES,
    truth: Truth | None = None,
) -> list[str]:
    """Write the foreign arrays of `description` as a tilt series; return what a user should know of it, as sentences.

    Parameters
    ----------
    description
        Where the arrays are and what they mean.
    output_path
        The tilt-series file to write.
    progress
        Called with the number of patterns read and the number of all patterns after each block.
    compression
        ``"gzip"`` or None.
    overwrite
        Whether `output_path` may be replaced.
    block_bytes
        Memory for one block of patterns [bytes].
    truth
        Ground truth of a foreign simulation.

    Raises
    ------
    ImportDescriptionError
        With all problems of the description, before any pattern is read; or for negative counts, when they are met;
        or for counts that are not finite, with all of them.
    FileExistsError
        `output_path` exists and `overwrite` is false.
    """
    check_description(description, output_path)
    negative = NegativeCounts(description.negative)
    tilts = read_tilts(description, Path(output_path), negative, progress, block_bytes)
    write_tilt_series(
        output_path,
        header_of(description),
        (tilt for _, tilt in tilts),
        truth,
        compression=compression,
        overwrite=overwrite,
    )
    return remarks_on(description, negative)


def check_description(description: SeriesDescription, output_path: str | Path) -> None:
    """Check all of `description` before any pattern is read.

    Raises
    ------
    ImportDescriptionError
        With all problems.
    """
    problems = description_problems(description)
    if any(Path(source.path).resolve() == Path(output_path).resolve() for source in description.sources):
        problems.append(f"output {output_path} is one of the sources, which are never changed. Choose another name.")
    if problems:
        raise ImportDescriptionError("import description", problems)


def remarks_on(description: SeriesDescription, negative: NegativeCounts) -> list[str]:
    """Return what a user should know of the series when all its tilts are read, as sentences."""
    size = _axis_sizes(description, description.sources[0])  # sources differ in their scans only
    frame = detector_frame(description.detector, (size["ky"], size["kx"]))
    return frame_remarks(description.detector, frame) + negative.remarks()


def number_of_tilts(description: SeriesDescription) -> int:
    """Return the number of tilts in all sources."""
    return sum(_axis_sizes(description, source).get("tilt", 1) for source in description.sources)


def _no_progress(done: int, total: int) -> None:
    """Report nothing."""


def header_of(description: SeriesDescription) -> SeriesHeader:
    """Return what all tilts have in common."""
    detector = description.detector
    y, x = (angle * bins for angle, bins in zip(detector.angular_sampling, detector.binning, strict=True))
    aberrations = dict(description.aberrations)
    if "defocus" in aberrations:
        aberrations["C10"] = -aberrations.pop("defocus")
    return SeriesHeader(
        energy=description.energy,
        semiangle_cutoff=description.semiangle_cutoff,
        angular_sampling=(y, x),
        aberrations=aberrations,
        creator="dptt import",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=description.source or ", ".join(source.path for source in description.sources),
        config=description.config,
    )


def read_tilts(
    description: SeriesDescription,
    output_path: Path,
    negative: NegativeCounts,
    progress: Progress | None = None,
    block_bytes: int = BLOCK_BYTES,
    own: range | None = None,
) -> Iterator[tuple[int, TiltData]]:
    """Yield the tilts with numbers in `own`, by default all; each must be written before the next is requested."""
    all_sizes = [_axis_sizes(description, source) for source in description.sources]
    counts = [size.get("tilt", 1) for size in all_sizes]
    own = range(sum(counts)) if own is None else own
    angles, unusable = _tilt_angles(description), UnusableCounts()
    numbers = [range(stop - count, stop) for count, stop in zip(counts, accumulate(counts), strict=True)]
    wanted = [range(max(all_.start, own.start), min(all_.stop, own.stop)) for all_ in numbers]
    total = sum(len(some) * position_shapes(size)[0][0] for some, size in zip(wanted, all_sizes, strict=True))
    done = 0
    for source, size, first, chosen in zip(description.sources, all_sizes, numbers, wanted, strict=True):
        if not chosen:
            continue
        frame = detector_frame(description.detector, (size["ky"], size["kx"]))
        mask = _mask(description, frame)
        correction = read_correction(description.detector)
        with open_array(source) as array:
            for number in chosen:
                foreign = ForeignTilt(array, description.named_axes, size, number - first.start)

                def report(read: int, before: int = done) -> None:
                    (progress or _no_progress)(before + read, total)

                place = {"mask": mask, "source": source.path, "tilt": number}
                treat = partial(_treated, unusable=unusable, negative=negative, place=place)
                yield (
                    number,
                    TiltData(
                        patterns=_link(source, output_path)
                        if description.link
                        else map(treat, read_ahead(blocks(foreign, correction, frame, block_bytes, report))),
                        scan_positions=_scan_positions(description, number, len(angles), size),
                        euler_angles=_euler_angles(description, angles, number),
                        translation=description.translations[number] if description.translations else (0.0, 0.0),
                        scan_shape=foreign.scan_shape,
                        counts_per_electron=description.detector.counts_per_electron,
                        probe=_probe(description, number),
                        mask=mask,
                        earlier_phase=description.starts[number].phase if description.starts else None,
                    ),
                )
                done += foreign.num_positions
    unusable.refuse()


def _treated(
    patterns: NDArray[Any], unusable: UnusableCounts, negative: NegativeCounts, place: dict[str, Any]
) -> NDArray[Any]:
    """Return patterns as they are to be written, counted; the sums (n,) of both are taken once."""
    if patterns.dtype.kind == "u":
        return patterns
    sums = patterns.sum((1, 2), dtype=np.float32 if patterns.dtype == np.float16 else None)
    unusable.tally(patterns, sums, **place)
    return negative.treat(patterns, sums, **place)


def _axis_sizes(description: SeriesDescription, source: ArraySource) -> dict[str, int]:
    """Return the number of patterns and pixels to import along each named axis."""
    with open_array(source) as array:
        size = dict(zip(description.named_axes, array.shape, strict=True))
    if isinstance(description.scan, RasterScan) and description.scan.flyback:
        size["scan_x"] -= description.scan.flyback
    return size


def _tilt_angles(description: SeriesDescription) -> NDArray[np.float64]:
    """Return the stage tilts theta with dptt's sign [deg]."""
    angles = description.tilt_angles
    if isinstance(angles, ArraySource):
        with open_array(angles) as array:
            return description.tilt_sign * array.read_all().astype(np.float64)
    return description.tilt_sign * np.asarray(angles, dtype=np.float64)


def _euler_angles(
    description: SeriesDescription, angles: NDArray[np.float64], number: int
) -> tuple[float, float, float]:
    phi = description.phi[number] if description.phi else 0.0
    psi = description.psi[number] if description.psi else 0.0
    return phi, float(angles[number]), psi


def _scan_positions(
    description: SeriesDescription, number: int, num_tilts: int, size: dict[str, int]
) -> NDArray[np.float64]:
    scan = description.scan
    if description.starts:
        return description.starts[number].positions
    if isinstance(scan, RasterScan):
        return raster_positions(scan, (size["scan_y"], size["scan_x"]))
    with open_array(scan.sources[number if len(scan.sources) > 1 else 0]) as array:
        listed = array.read_all()
    has_tilt_axis = listed.shape not in position_shapes(size) and len(scan.sources) == 1
    return listed_positions(scan, listed[number] if has_tilt_axis else listed)


def _mask(description: SeriesDescription, frame: DetectorFrame) -> NDArray[np.bool_] | None:
    if description.detector.mask is None:
        return None if frame.measured.all() else frame.apply_to_mask(np.ones(frame.foreign_shape, bool))
    with open_array(description.detector.mask) as array:
        mask = array.read_all()
    return frame.apply_to_mask(mask.T if description.detector.transpose else mask)


def _probe(description: SeriesDescription, number: int) -> NDArray[np.complex64] | None:
    if description.starts:
        return description.starts[number].probe
    if not description.probes:
        return None
    with open_array(description.probes[number if len(description.probes) > 1 else 0]) as array:
        probe = array.read_all().astype(np.complex64)
    return probe if probe.ndim == 3 else probe[None]


def _link(source: ArraySource, output_path: Path) -> ExternalPatterns:
    """Return a link, relative to the output's folder if the source is below it, so that both can move together."""
    path, folder = Path(source.path).resolve(), output_path.resolve().parent
    file = path.relative_to(folder) if path.is_relative_to(folder) else path
    return ExternalPatterns(str(file), str(source.dataset))

"""Writing a tilt-series file (`write_tilt_series`), with one block of patterns in memory at a time."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import write_aberrations, write_pose
from dptt.io.dataset_structure import FORMAT, VERSION, series_problems
from dptt.io.disk_space import create_with_space, reserve_for
from dptt.io.earlier_phase import write_earlier_phase
from dptt.io.errors import DatasetError
from dptt.io.hdf5_writing import write_array, write_attributes, write_format
from dptt.io.patterns import raster_blocks
from dptt.io.series_data import ElectronEvents, ExternalPatterns, SeriesHeader, StoredTilt, TiltData
from dptt.io.truth import Truth, write_truth

LARGEST_CHUNK, SMALLEST_CHUNK = 2**20, 2**18
"""[bytes] Large enough for a disk, small enough that little is wasted at the two ends of a range."""
CHUNKS_PER_TILT = 64
"""Aim for at least this many, such as 8 minibatches on 8 ranks: each range read at once then has its own chunks."""


def write_tilt_series(
    path: str | Path,
    header: SeriesHeader,
    tilts: Iterable[TiltData | StoredTilt],
    truth: Truth | None = None,
    *,
    compression: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a tilt-series file that `TiltSeries.open` accepts; it appears only when it is complete.

    Parameters
    ----------
    path
        File to write.
    header
        What all tilts have in common.
    tilts
        In the order in which they are numbered; may be a generator.
    truth
        Ground truth of a simulation.
    compression
        ``"gzip"`` or None. At low dose, compressed counts are several times smaller, but slower to read.
    overwrite
        Whether `path` may be replaced.

    Raises
    ------
    FileExistsError
        `path` exists and `overwrite` is false.
    DatasetError
        The data do not make a valid series; all problems of a tilt, or of the finished file, are listed.
    """
    with write_beside(path, overwrite) as partial, create_with_space(partial, 0) as file:
        _write_header(file, header)
        file.create_group("tilts")
        for number, tilt in enumerate(tilts):
            _write_numbered(file, tilt_name(number), tilt, compression, path)
        if truth is not None:
            reserve_for(file, 0 if truth.volume is None else truth.volume.nbytes)
            write_truth(file.create_group("truth"), truth)
        file.flush()
        problems = series_problems(file).all
        if problems:
            raise DatasetError(path, problems)


def write_tilts(
    path: Path,
    tilts: Iterable[tuple[int, TiltData]],
    compression: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Write some tilts of a series, by their numbers, to the file `path`, which `StoredTilt`s of a series name later.

    `compression` is that of `write_tilt_series`; `attributes` are those of the file.

    Raises
    ------
    DatasetError
        The data do not make valid tilts.
    """
    with create_with_space(path, 0) as file:
        file.create_group("tilts")
        for number, tilt in tilts:
            _write_numbered(file, tilt_name(number), tilt, compression, path)
        write_attributes(file.attrs, attributes or {})


def tilt_name(number: int) -> str:
    """Return the name of the group of a tilt."""
    return f"{number:04d}"


def _write_numbered(
    file: h5py.File, name: str, tilt: TiltData | StoredTilt, compression: str | None, path: str | Path
) -> None:
    if isinstance(tilt, StoredTilt):
        return _copy_tilt(file, name, tilt)
    early_problems = list(_problems_before_writing(tilt, f"tilts/{name}"))
    if early_problems:
        raise DatasetError(path, early_problems)
    return _write_tilt(file.create_group(f"tilts/{name}"), tilt, compression, path)


def _copy_tilt(file: h5py.File, name: str, tilt: StoredTilt) -> None:
    """Copy a tilt as it is stored: HDF5 neither decodes chunks nor follows links to other files."""
    with h5py.File(tilt.path, "r") as source:
        stored = source[f"tilts/{tilt.name}"]
        linked = isinstance(stored.get("data", getlink=True), h5py.ExternalLink)
        datasets = [stored[key] for key in stored if not (linked and key == "data")]
        sizes = [item.id.get_storage_size() for item in datasets if isinstance(item, h5py.Dataset)]
        reserve_for(file, sum(sizes))
        source.copy(stored, file["tilts"], name)


def _write_header(file: h5py.File, header: SeriesHeader) -> None:
    write_format(file, FORMAT, VERSION)
    file.attrs["energy_eV"] = float(header.energy)
    file.attrs["semiangle_cutoff_mrad"] = float(header.semiangle_cutoff)
    file.attrs["angular_sampling_mrad"] = np.asarray(header.angular_sampling, dtype=np.float64)
    write_aberrations(file.attrs, header.aberrations)
    texts = {name: getattr(header, name) for name in ("creator", "created", "source", "config")}
    write_attributes(file.attrs, {name: text for name, text in texts.items() if text})


def _problems_before_writing(tilt: TiltData, where: str) -> Iterator[str]:
    """Yield problems that would otherwise come to light only after all patterns are written."""
    shape = np.shape(tilt.scan_positions)
    if len(shape) != 2 or shape[1] != 2:
        yield f"{where}: scan_positions has shape {shape}; expected (positions, 2) in (y, x) order [Å]. Transpose it?"
    elif not np.isfinite(tilt.scan_positions).all():
        yield f"{where}: scan_positions has values that are not finite; expected numbers [Å]. Correct them."
    elif tilt.scan_shape is not None and np.prod(tilt.scan_shape) != shape[0]:
        yield f"{where}: scan_shape is {tilt.scan_shape}, but there are {shape[0]} scan_positions. Correct one."
    if isinstance(tilt.patterns, ElectronEvents) and tilt.patterns.indices.size:
        lowest, highest = tilt.patterns.indices.min(), tilt.patterns.indices.max()
        num_pixels = int(np.prod(tilt.patterns.detector_shape))
        if lowest < 0 or highest >= num_pixels:
            yield f"{where}: events are in pixels {lowest} to {highest}; expected 0 to {num_pixels - 1}."


def _write_tilt(group: h5py.Group, tilt: TiltData, compression: str | None, path: str | Path) -> None:
    reserve_for(group.file, _bytes_beside_patterns(tilt))
    write_pose(group.attrs, tilt.euler_angles, tilt.translation)
    write_aberrations(group.attrs, tilt.aberrations)
    group.attrs["counts_per_electron"] = float(tilt.counts_per_electron)
    write_array(group, "scan_positions", np.asarray(tilt.scan_positions, dtype=np.float64))
    if tilt.probe is not None:
        write_array(group, "probe", tilt.probe)
    if tilt.mask is not None:
        write_array(group, "mask", np.asarray(tilt.mask, dtype=bool))
    if tilt.earlier_phase is not None:
        write_earlier_phase(group, tilt.earlier_phase)
    if isinstance(tilt.patterns, ExternalPatterns):
        group["data"] = h5py.ExternalLink(tilt.patterns.file, tilt.patterns.dataset)
    elif isinstance(tilt.patterns, ElectronEvents):
        _write_events(group.create_group("data"), tilt.patterns, tilt.scan_shape)
    elif isinstance(tilt.patterns, np.ndarray):
        scan_shape = tilt.scan_shape if tilt.patterns.ndim == 3 else None
        counts = tilt.patterns if scan_shape is None else tilt.patterns.reshape(*scan_shape, *tilt.patterns.shape[1:])
        _create_patterns(group, counts.shape, counts.dtype, compression)[...] = counts
    else:
        _write_blocks(group, tilt, iter(tilt.patterns), compression, path)


def _bytes_beside_patterns(tilt: TiltData) -> int:
    earlier = tilt.earlier_phase.phase if tilt.earlier_phase else None
    arrays: list[NDArray[Any] | None] = [tilt.scan_positions, tilt.probe, tilt.mask, earlier]
    if isinstance(tilt.patterns, ElectronEvents):
        arrays += [tilt.patterns.indices, tilt.patterns.offsets]
    return 2 * sum(np.asarray(array).nbytes for array in arrays if array is not None)  # the stored types may be wider


def _create_patterns(
    group: h5py.Group, shape: tuple[int, ...], dtype: np.dtype, compression: str | None
) -> h5py.Dataset:
    """Return the new dataset `data`, in chunks of whole patterns that follow each other along the scan."""
    if len(shape) < 3 or 0 in shape:
        return group.create_dataset("data", shape, dtype)  # `series_problems` reports the shape at the end
    chunks = chunk_shape(shape, dtype.itemsize)
    num_chunks = math.prod(math.ceil(n / chunk) for n, chunk in zip(shape, chunks, strict=True))
    reserve_for(group.file, num_chunks * math.prod(chunks) * dtype.itemsize)
    filters: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if compression else {}
    filters["fletcher32"] = True
    return group.create_dataset("data", shape, dtype, chunks=chunks, **filters)


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the chunk shape for patterns of `shape` ([scan_y,] positions, ky, kx): one range of positions per chunk.

    A rank reads a range of positions at once, x fastest: its share of a minibatch. A chunk is therefore part of a row
    of a raster, or several whole rows. Rows and lists are cut evenly, because the last chunk always takes its full
    size on the disk.
    """
    *scan, height, width = shape
    pattern_bytes = height * width * itemsize
    chunk_bytes = min(max(math.prod(scan) * pattern_bytes / CHUNKS_PER_TILT, SMALLEST_CHUNK), LARGEST_CHUNK)
    patterns = max(1, int(chunk_bytes / pattern_bytes))
    x = _even_part(scan[-1], patterns)
    y = tuple(_even_part(rows, patterns // x) if x == scan[-1] else 1 for rows in scan[:-1])
    return (*y, x, height, width)


def _even_part(length: int, largest: int) -> int:
    """Return the size of the parts if `length` is cut as evenly as possible into parts of at most `largest`."""
    return math.ceil(length / math.ceil(length / max(largest, 1)))


def _write_events(group: h5py.Group, events: ElectronEvents, scan_shape: tuple[int, int] | None) -> None:
    write_array(group, "indices", np.asarray(events.indices).astype(np.uint32))
    write_array(group, "offsets", np.asarray(events.offsets).astype(np.int64))
    group.attrs["detector_shape"] = np.asarray(events.detector_shape, dtype=np.int64)
    if scan_shape is not None:
        group.attrs["scan_shape"] = np.asarray(scan_shape, dtype=np.int64)


def _write_blocks(
    group: h5py.Group,
    tilt: TiltData,
    blocks: Iterator[NDArray[Any]],
    compression: str | None,
    path: str | Path,
) -> None:
    """Write blocks (n, ky, kx) one after the other; together they must hold one pattern per position."""
    num_positions, filled = len(tilt.scan_positions), 0
    first = next(blocks, None)
    if first is None or first.ndim != 3:
        shape = None if first is None else first.shape
        raise DatasetError(
            path, [f"{group.name}: first block has shape {shape}; expected (n, ky, kx). Correct the blocks."]
        )
    shape = (*(tilt.scan_shape or (num_positions,)), *first.shape[1:])
    data = _create_patterns(group, shape, first.dtype, compression)
    for block in chain([first], blocks):
        if block.shape[1:] != first.shape[1:] or block.dtype != first.dtype or filled + len(block) > num_positions:
            problem = (
                f"{group.name}: block {block.shape} of {block.dtype} after {filled} patterns; expected at most "
                f"{num_positions - filled} patterns {first.shape[1:]} of {first.dtype}. Correct the blocks."
            )
            raise DatasetError(path, [problem])
        _write_run(data, filled, block)
        filled += len(block)
    if filled < num_positions:
        problem = f"{group.name}: the blocks hold {filled} patterns; expected {num_positions}, one per position."
        raise DatasetError(path, [problem])


def _write_run(data: h5py.Dataset, start: int, block: NDArray[Any]) -> None:
    """Write patterns `block` (n, ky, kx) to positions start, ..., start + n - 1."""
    if data.ndim == 3:
        data[start : start + len(block)] = block
        return
    filled = 0
    for rows, columns in raster_blocks(start, start + len(block), data.shape[1]):
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        count = shape[0] * shape[1]
        data[rows, columns] = block[filled : filled + count].reshape(*shape, *block.shape[1:])
        filled += count

"""Checks of the structure of a tilt-series file, without reading a pattern."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from dptt.io.attributes import FARTHEST, aberration_problems, number_problems, pose_problems
from dptt.io.earlier_phase import earlier_phase_problems
from dptt.io.errors import DatasetError
from dptt.io.hdf5_file import damage_reported, format_problems, member, read_attribute
from dptt.io.hdf5_storage import unreadable
from dptt.io.patterns import DensePatterns, Patterns, SparsePatterns, open_for_scattered_reading
from dptt.io.truth import truth_problems

FORMAT = "dptt-tilt-series"
VERSION = 1


@dataclass(frozen=True)
class SeriesProblems:
    """What is wrong with a tilt-series file.

    Parameters
    ----------
    of_file
        Problems of the file as a whole.
    of_tilts
        Name of the tilt -> its problems; tilts without problems are absent.
    """

    of_file: list[str] = field(default_factory=list)
    of_tilts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def all(self) -> list[str]:
        """All problems, those of the file first."""
        return [*self.of_file, *(problem for problems in self.of_tilts.values() for problem in problems)]


def series_problems(file: h5py.File) -> SeriesProblems:
    """Return what is wrong with the open tilt-series `file`.

    Tilts may differ in scan and detector shape; they share one angular sampling.
    """
    wrong_format = list(format_problems(file, FORMAT, VERSION, "Convert it with `dptt import`."))
    if wrong_format:
        return SeriesProblems(wrong_format)
    of_file = list(_header_problems(file))
    tilts = member(file, "tilts")
    if not isinstance(tilts, h5py.Group) or len(tilts) == 0:
        return SeriesProblems([*of_file, "has no tilts; expected the groups /tilts/0000, /tilts/0001, ... Add them."])
    of_tilts = {name: problems for name in sorted(tilts) if (problems := tilt_problems(tilts, name))}
    truth = member(file, "truth")
    if truth is not None:
        patterns = {name: None if name in of_tilts else find_patterns(tilts, name) for name in tilts}
        of_file += truth_problems(truth, {n: p.num_positions if p else None for n, p in patterns.items()})
    return SeriesProblems(of_file, of_tilts)


def _header_problems(file: h5py.File) -> Iterator[str]:
    numbers = {
        "energy_eV": (1, "eV"),
        "semiangle_cutoff_mrad": (1, "mrad"),
        "angular_sampling_mrad": (2, "mrad (y, x)"),
    }
    for name, (size, unit) in numbers.items():
        yield from number_problems(file.attrs, name, size=size, unit=unit, where="the file", positive=True)
    yield from aberration_problems(file.attrs, "the file")


def find_patterns(tilts: h5py.Group, name: str) -> Patterns | None:
    """Return the patterns of the tilt `name`, or None if their structure is not valid."""
    tilt = member(tilts, name)
    if not isinstance(tilt, h5py.Group) or any(_data_problems(tilt, f"tilts/{name}")):
        return None
    if isinstance(tilt["data"], h5py.Group):
        return SparsePatterns(tilt["data"])
    return DensePatterns(open_for_scattered_reading(tilt, "data"))


def tilt_problems(tilts: h5py.Group, name: str) -> list[str]:
    """Return every problem of the tilt `name`, also where the file is damaged."""
    try:
        with damage_reported(f"tilts/{name}", DatasetError):
            return list(_tilt_problems(tilts, name))
    except DatasetError as damage:
        return [str(damage)]


def _tilt_problems(tilts: h5py.Group, name: str) -> Iterator[str]:
    where = f"tilts/{name}"
    tilt = member(tilts, name)
    if not isinstance(tilt, h5py.Group):
        yield f"{where} is not a group; {_broken_link(tilts, name) or 'expected one. Rewrite it.'}"
        return
    yield from pose_problems(tilt.attrs, where)
    yield from aberration_problems(tilt.attrs, where)
    if "counts_per_electron" in tilt.attrs:
        yield from number_problems(tilt.attrs, "counts_per_electron", unit="counts", where=where, positive=True)
    yield from _data_problems(tilt, where)
    patterns = find_patterns(tilts, name)
    yield from _scan_position_problems(tilt, where, patterns.num_positions if patterns else None)
    if isinstance(patterns, DensePatterns) and (why := unreadable(patterns.dataset)):
        yield f"{where}/data {why}"
    if patterns:
        yield from _mask_problems(tilt, where, patterns.detector_shape)
        yield from _probe_problems(tilt, where, patterns.detector_shape)
    yield from earlier_phase_problems(tilt, where)


def _broken_link(group: h5py.Group, name: str) -> str:
    """Return where the link `name` points, for an entry that cannot be opened; empty if it is not a link."""
    link = group.get(name, getlink=True) if group.get(name, getclass=True, getlink=True) else None
    if isinstance(link, h5py.ExternalLink):
        return f"its link to {link.path} in {link.filename} leads nowhere. Restore that file or rewrite the link."
    if isinstance(link, h5py.SoftLink):
        return f"its link to {link.path} leads nowhere. Rewrite the link."
    return ""


def _data_problems(tilt: h5py.Group, where: str) -> Iterator[str]:
    data = member(tilt, "data")
    if data is None:
        yield f"{where} has no data; {_broken_link(tilt, 'data') or 'expected the patterns. Write them.'}"
    elif isinstance(data, h5py.Group):
        yield from _sparse_problems(data, f"{where}/data")
    elif data.ndim not in (3, 4):
        yield (
            f"{where}/data has shape {data.shape}; expected (positions, ky, kx) or (scan_y, scan_x, ky, kx). "
            "Reshape it."
        )
    elif data.dtype.kind not in "uif":
        yield f"{where}/data has type {data.dtype}; expected integer or real counts. Write intensities."
    elif 0 in data.shape:
        yield f"{where}/data has shape {data.shape}; expected at least one pattern and one pixel. Rewrite it."


def _optional(attributes: Mapping[str, Any], name: str, default: tuple[int, ...]) -> Any:
    return read_attribute(attributes, name) if name in attributes else default


def _sparse_problems(data: h5py.Group, where: str) -> Iterator[str]:
    missing = [name for name in ("indices", "offsets") if not isinstance(member(data, name), h5py.Dataset)]
    if missing:
        yield f"{where} has no dataset {' and '.join(missing)}; expected the electron events. Write them."
    shape = np.asarray(_optional(data.attrs, "detector_shape", ()))
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 1).any():
        yield f"{where}: attribute detector_shape is {shape.tolist()}; expected 2 integers (ky, kx). Write it."
    if missing:
        return
    offsets, indices = data["offsets"], data["indices"]
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.size < 2:
        yield f"{where}/offsets has shape {offsets.shape}, type {offsets.dtype}; expected positions + 1 integers."
        return
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        yield f"{where}/indices has shape {indices.shape}, type {indices.dtype}; expected one uint32 per event."
        return
    bounds = offsets[()].astype(np.int64)
    if bounds[0] != 0 or bounds[-1] != indices.size or (np.diff(bounds) < 0).any():
        yield (
            f"{where}/offsets runs from {bounds[0]} to {bounds[-1]}; expected to rise from 0 to the number of "
            f"events, {indices.size}. Rewrite it."
        )
    scan_shape = np.asarray(_optional(data.attrs, "scan_shape", (1, bounds.size - 1)))
    if scan_shape.shape != (2,) or scan_shape.dtype.kind not in "iu" or np.prod(scan_shape) != bounds.size - 1:
        yield (
            f"{where}: attribute scan_shape is {scan_shape.tolist()}; expected (scan_y, scan_x) with a product of "
            f"{bounds.size - 1}. Correct it."
        )


def _scan_position_problems(tilt: h5py.Group, where: str, num_positions: int | None) -> Iterator[str]:
    positions = member(tilt, "scan_positions")
    if not isinstance(positions, h5py.Dataset):
        cure = _broken_link(tilt, "scan_positions") or "expected (positions, 2) as (y, x) [Å]. Write them."
        yield f"{where} has no scan_positions; {cure}"
        return
    fits = positions.ndim == 2 and positions.shape[1] == 2 and positions.shape[0] == (num_positions or len(positions))
    if not fits or positions.dtype.kind not in "fiu":
        yield (
            f"{where}/scan_positions has shape {positions.shape}, type {positions.dtype}; expected "
            f"({num_positions or 'positions'}, 2) in (y, x) order [Å], one per pattern. Rewrite it."
        )
        return
    bad = np.flatnonzero(~(np.abs(positions[()]) <= FARTHEST).all(axis=1))
    if bad.size:
        yield (
            f"{where}/scan_positions has {bad.size} rows that are not finite or beyond ±{FARTHEST:g} Å, the first is "
            f"{bad[0]}. Correct them."
        )


def _optional_dataset(tilt: h5py.Group, name: str) -> tuple[h5py.Dataset | None, str]:
    """Return the dataset `name`, None if there is none, and why it cannot be used if it is there."""
    dataset = member(tilt, name)
    if isinstance(dataset, h5py.Dataset):
        return dataset, ""
    return None, _broken_link(tilt, name) or ("is not a dataset. Rewrite it." if name in tilt else "")


def _mask_problems(tilt: h5py.Group, where: str, detector_shape: tuple[int, int]) -> Iterator[str]:
    mask, problem = _optional_dataset(tilt, "mask")
    if problem:
        yield f"{where}/mask: {problem}"
    elif mask is None:
        return
    elif mask.shape != detector_shape or mask.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        yield (
            f"{where}/mask has shape {mask.shape}, type {mask.dtype}; expected {detector_shape}, bool (or uint8), "
            "True = valid pixel. Rewrite it."
        )
    elif not mask[()].any():
        yield f"{where}/mask has no valid pixel; expected True = valid. Invert it."


def _probe_problems(tilt: h5py.Group, where: str, detector_shape: tuple[int, int]) -> Iterator[str]:
    probe, problem = _optional_dataset(tilt, "probe")
    if problem:
        yield f"{where}/probe: {problem}"
    elif probe is None:
        return
    elif probe.ndim != 3 or probe.dtype.kind != "c" or np.less(probe.shape[1:], detector_shape).any():
        yield (
            f"{where}/probe has shape {probe.shape}, type {probe.dtype}; expected complex (mode, y, x), not smaller "
            f"than the detector {detector_shape}. Rewrite it."
        )

"""Reading a tilt-series file (`TiltSeries.open`). Patterns are read from the disk only when they are needed.

The layout is in ``docs/format.md``. Patterns are counts per pixel with the zero angle at index n//2; scan positions
are (y, x) [Å] relative to the point where the rotation axis meets the beam. Every process opens the file by itself.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.attributes import ABERRATIONS, read_aberrations, read_numbers, read_pose
from dptt.io.dataset_structure import find_patterns, series_problems
from dptt.io.earlier_phase import read_earlier_phase
from dptt.io.errors import DatasetError
from dptt.io.hdf5_file import (
    damage_reported,
    member,
    naming,
    open_for_reading,
    read_array,
    read_attribute,
    read_optional,
    text,
)
from dptt.io.patterns import Patterns, position_numbers, read_patterns
from dptt.io.series_data import EarlierPhase, SeriesHeader
from dptt.io.truth import Truth, read_truth

SAMPLED_PATTERNS = 16
"""Number of patterns of each tilt that enter the checksum."""
CHUNKS_OF_SAMPLE = 32
"""Compressed chunks of a tilt of which a sample of its patterns is taken."""


@dataclass(frozen=True)
class Tilt:
    """One tilt of an open series.

    Parameters
    ----------
    name
        Name of its group, such as ``"0000"``.
    euler_angles
        (phi, theta, psi) about (x, y = stage tilt, z) [deg].
    translation
        (y, x) [Å].
    num_positions
        Number of patterns.
    scan_shape
        Number of positions along (y, x) if the patterns are stored as a raster, else None.
    detector_shape
        Number of pixels along (ky, kx).
    dtype
        Type of the patterns that `read` returns.
    counts_per_electron
        Divide patterns by this to get electrons.
    aberrations
        Every aberration of the format -> value [Å, angles in degrees]: the tilt's own, else the series', else 0.
    """

    name: str
    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    num_positions: int
    scan_shape: tuple[int, int] | None
    detector_shape: tuple[int, int]
    dtype: np.dtype
    counts_per_electron: float
    aberrations: dict[str, float]
    _group: h5py.Group = field(repr=False)
    _patterns: Patterns = field(repr=False)

    def scan_positions(self) -> NDArray[np.float64]:
        """Return the positions (n, 2) as (y, x) [Å]."""
        with damage_reported(self._group.file.filename, DatasetError):
            return read_array(self._group, "scan_positions").astype(np.float64, copy=False)

    def mask(self) -> NDArray[np.bool_] | None:
        """Return the detector's valid pixels (ky, kx), True = valid, or None if all are."""
        return None if (mask := self._optional("mask")) is None else mask.astype(bool)

    def probe(self) -> NDArray[np.complex64] | None:
        """Return the probe (mode, y, x) in real space, centred at n//2, or None.

        The sum of its squared modulus is the mean number of electrons per pattern.
        """
        return None if (probe := self._optional("probe")) is None else probe.astype(np.complex64)

    def earlier_phase(self) -> EarlierPhase | None:
        """Return the phase of the object that another program found, or None."""
        with damage_reported(self._group.file.filename, DatasetError):
            return read_earlier_phase(self._group)

    def quick_to_read(self) -> NDArray[np.int64]:
        """Return the numbers of patterns, ascending, of which a sample is read in little time.

        These are all, unless they are in more than `CHUNKS_OF_SAMPLE` chunks, each of which is decompressed as a
        whole: then those of so many chunks, evenly spread over the scan.
        """
        numbers = np.arange(self.num_positions)
        chunks = self._patterns.chunk_numbers()
        if chunks is None or (number := int(chunks.max()) + 1) <= CHUNKS_OF_SAMPLE:
            return numbers
        chosen = (np.arange(CHUNKS_OF_SAMPLE) + 0.5) * number / CHUNKS_OF_SAMPLE
        return numbers[np.isin(chunks, chosen.astype(int))]

    def _optional(self, name: str) -> NDArray[Any] | None:
        with damage_reported(self._group.file.filename, DatasetError):
            return read_optional(self._group, name)

    def read(self, indices: slice | NDArray[np.integer]) -> NDArray[Any]:
        """Return the patterns `indices` (n, ky, kx) in the detector's type; no other pattern is read.

        Parameters
        ----------
        indices
            Position numbers in any order, or a slice.

        Raises
        ------
        IndexError
            A position number is not in the scan.
        DatasetError
            The file is damaged at these patterns.
        """
        numbers = position_numbers(indices, self._patterns.num_positions)
        with damage_reported(self._group.file.filename, DatasetError), naming(f"tilts/{self.name}/data"):
            return read_patterns(self._patterns, numbers)


@dataclass(frozen=True)
class TiltSeries:
    """An open tilt-series file; a context manager.

    Parameters
    ----------
    path
        The file.
    header
        What all tilts have in common.
    tilts
        Tilts sorted by name.
    unreadable
        Name -> problems of each tilt that was left out, see `open`.
    """

    path: Path
    header: SeriesHeader
    tilts: tuple[Tilt, ...]
    unreadable: dict[str, list[str]]
    _file: h5py.File = field(repr=False)

    @classmethod
    def open(cls, path: str | Path, leave_out_bad_tilts: bool = False, mpi: Any = None) -> "TiltSeries":
        """Open a file after checking its structure; no pattern is read.

        Parameters
        ----------
        path
            The file.
        leave_out_bad_tilts
            Leave out tilts that are incomplete or have arrays of the wrong shape; without it they are an error.
        mpi
            A communicator of mpi4py, all of whose ranks open the file together, see `open_for_reading`; each then
            reads alone. Every rank opens linked files by itself.

        Raises
        ------
        DatasetError
            With every problem of the file: not HDF5, truncated, unknown version, missing datasets, wrong shapes.
        """
        file = open_for_reading(path, DatasetError, mpi)
        try:
            with damage_reported(path, DatasetError):
                return cls._read(Path(path), file, leave_out_bad_tilts)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _read(cls, path: Path, file: h5py.File, leave_out_bad_tilts: bool) -> "TiltSeries":
        problems = series_problems(file)
        bad_tilts = problems.of_tilts
        if problems.of_file or (bad_tilts and (not leave_out_bad_tilts or len(bad_tilts) == len(file["tilts"]))):
            raise DatasetError(path, problems.all)
        header = _read_header(file)
        tilts = tuple(_read_tilt(file["tilts"], n, header) for n in sorted(file["tilts"]) if n not in bad_tilts)
        return cls(path=path, header=header, tilts=tilts, unreadable=bad_tilts, _file=file)

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Pixels (ky, kx) of the smallest detector that holds the patterns of every tilt, zero angle at n//2."""
        return max(t.detector_shape[0] for t in self.tilts), max(t.detector_shape[1] for t in self.tilts)

    @property
    def num_patterns(self) -> int:
        """Number of patterns in all tilts."""
        return sum(tilt.num_positions for tilt in self.tilts)

    @property
    def energy(self) -> float:
        """Beam energy [eV]."""
        return self.header.energy

    @property
    def semiangle_cutoff(self) -> float:
        """Semiangle of the probe-forming aperture [mrad]."""
        return self.header.semiangle_cutoff

    @property
    def angular_sampling(self) -> tuple[float, float]:
        """Angle from pixel to pixel of the detector along (y, x) [mrad]."""
        return self.header.angular_sampling

    def truth(self) -> Truth | None:
        """Return the ground truth, read into memory, or None if the file has none."""
        with damage_reported(self.path, DatasetError):
            group = member(self._file, "truth")
            return None if group is None else read_truth(group)

    def has_true_potential(self) -> bool:
        """Return whether the ground truth has a volume, without reading it."""
        return "truth/volume" in self._file

    def checksum(self) -> str:
        """Return a SHA-256 that identifies this series without reading all of it.

        It covers all attributes, shapes, positions, masks, probes, and up to 16 evenly spaced patterns of each tilt,
        including the first and the last. It does not prove that no other pattern has changed.
        """
        with damage_reported(self.path, DatasetError):
            return self._digest()

    def _digest(self) -> str:
        digest = hashlib.sha256()
        _add_attributes(digest, self._file)
        for tilt in self.tilts:
            digest.update(f"{tilt.name} {tilt.num_positions} {tilt.detector_shape} {tilt.dtype.str}".encode())
            _add_attributes(digest, tilt._group)
            for array in (tilt.scan_positions(), tilt.mask(), tilt.probe()):
                digest.update(b"none" if array is None else array.tobytes())
            sampled = np.linspace(0, tilt.num_positions - 1, min(SAMPLED_PATTERNS, tilt.num_positions))
            digest.update(tilt.read(sampled.astype(np.int64)).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file; its tilts can no longer be read."""
        self._file.close()

    def __enter__(self) -> "TiltSeries":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _read_header(file: h5py.File) -> SeriesHeader:
    y, x = read_numbers(file.attrs, "angular_sampling_mrad")
    return SeriesHeader(
        energy=read_numbers(file.attrs, "energy_eV")[0],
        semiangle_cutoff=read_numbers(file.attrs, "semiangle_cutoff_mrad")[0],
        angular_sampling=(y, x),
        aberrations=read_aberrations(file.attrs),
        **{
            name: text(read_attribute(file.attrs, name)) if name in file.attrs else ""
            for name in ("creator", "created", "source", "config")
        },
    )


def _read_tilt(tilts: h5py.Group, name: str, header: SeriesHeader) -> Tilt:
    group, patterns = tilts[name], find_patterns(tilts, name)
    assert patterns is not None, "the structure was checked before"
    euler_angles, translation = read_pose(group.attrs)
    gain = "counts_per_electron"
    return Tilt(
        name=name,
        euler_angles=euler_angles,
        translation=translation,
        num_positions=patterns.num_positions,
        scan_shape=patterns.scan_shape,
        detector_shape=patterns.detector_shape,
        dtype=patterns.dtype,
        counts_per_electron=read_numbers(group.attrs, gain)[0] if gain in group.attrs else 1.0,
        aberrations={**dict.fromkeys(ABERRATIONS, 0.0), **header.aberrations, **read_aberrations(group.attrs)},
        _group=group,
        _patterns=patterns,
    )


def _add_attributes(digest: Any, group: h5py.Group) -> None:
    for name in sorted(group.attrs):
        value = read_attribute(group.attrs, name)
        stored = text(value).encode() if isinstance(value, str | bytes) else np.asarray(value).tobytes()
        digest.update(name.encode() + b"=" + stored + b";")

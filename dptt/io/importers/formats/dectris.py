"""Dectris, also ARINA and QUADRO: a master file (HDF5) that links to the files of the patterns.

The scan is not in the master file. It comes from the metadata file beside it, else it is square.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Metadata
from dptt.io.importers.formats.hyperspy import plain
from dptt.io.importers.formats.stacked import Concatenated, Raster
from dptt.io.importers.formats.units import LENGTHS, Axis, angle, length

DETECTOR = "entry/instrument/detector"


def is_dectris(file: h5py.File) -> bool:
    """Return whether `file` is a master file."""
    return bool(_links(file)) and DETECTOR in file


def open_dectris(file: h5py.File) -> ForeignData:
    """Return the patterns of all files that the master file links to, as a raster where the scan is known."""
    path = Path(file.filename)
    links = _links(file)
    arrays = [file.get(f"entry/data/{name}") for name in links]
    missing = [name for name, array in zip(links, arrays, strict=True) if not isinstance(array, h5py.Dataset)]
    if missing:
        files = ", ".join(_target(file, name) for name in missing)
        problem = f"links to {files}; expected {'it' if len(missing) == 1 else 'them'} beside it. Copy all files."
        raise ImportDescriptionError(path, [problem])
    frames = Concatenated(arrays)
    with _beside(path) as beside:
        facts = dict(_facts_beside(beside)) if beside is not None else {}
    shape = facts.pop("scan_shape", None) or _square(frames.shape[0])
    metadata = Metadata(**{"energy": _energy(file), "camera": _camera(file), **facts})
    if shape is None or shape[0] * shape[1] != frames.shape[0]:
        return ForeignData(frames, ("position", "ky", "kx"), metadata)
    return ForeignData(Raster(frames, shape), ("scan_y", "scan_x", "ky", "kx"), metadata)


def _links(file: h5py.File) -> list[str]:
    group = file.get("entry/data")
    return sorted(name for name in group if name.startswith("data_0")) if isinstance(group, h5py.Group) else []


def _target(file: h5py.File, name: str) -> str:
    link = file["entry/data"].get(name, getlink=True)
    return str(getattr(link, "filename", name))


def _square(frames: int) -> tuple[int, int] | None:
    side = math.isqrt(frames)
    return (side, side) if side * side == frames and side > 1 else None


def _energy(file: h5py.File) -> float | None:
    """Return the energy [eV]; Dectris writes it where X-ray detectors have the energy of a photon."""
    for name in (f"{DETECTOR}/incident_energy", "entry/instrument/beam/incident_energy"):
        item = file.get(name)
        if isinstance(item, h5py.Dataset) and item.size == 1:
            kilo = str(plain(item.attrs.get("units", "eV"))).lower() == "kev"
            energy = float(np.asarray(item[()]).ravel()[0]) * (1e3 if kilo else 1.0)
            return energy if energy > 0 else None
    return None


def _camera(file: h5py.File) -> str:
    item = file.get(f"{DETECTOR}/description")
    return str(plain(item[()])) if isinstance(item, h5py.Dataset) and item.shape == () else "Dectris"


@contextmanager
def _beside(master: Path) -> Iterator[h5py.File | None]:
    """Yield the open metadata file beside a master file, None if there is none."""
    base = master.name.replace("_master.h5", "")
    names = (f"{base}_em_metadata.h5", f"{base}.h5")
    path = next((master.parent / name for name in names if (master.parent / name).is_file()), None)
    if path is None or path == master or not h5py.is_hdf5(path):
        yield None
        return
    with h5py.File(path, "r", locking=False) as file:
        yield file


def _facts_beside(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yield what the metadata file of NCEM, or that of the detector's acquisition, says."""
    microscope = file.get("electron_microscope")
    if not isinstance(microscope, h5py.Group):
        pixel = file["STEM Metadata"].attrs.get("Pixel Size") if "STEM Metadata" in file else None
        step = float(np.atleast_1d(pixel)[0]) * LENGTHS["nm"] if pixel is not None else 0.0
        if step > 0:
            yield "scan_step", (step, step)
        return
    scan = "scan_controller/regular_scan"
    counts = [_axis(microscope, f"{scan}/n_pixels_{axis}").step for axis in "yx"]
    if min(counts) > 0:
        yield "scan_shape", (int(counts[0]), int(counts[1]))
    steps = [length(_axis(microscope, f"{scan}/pixel_size_{axis}")) for axis in "yx"]
    angles = [angle(_axis(microscope, f"imaging_system/reciprocal_pixel_size_{axis}")) for axis in "yx"]
    voltage = _axis(microscope, "electron_source/accelerating_voltage")
    entries = {
        "scan_step": None if None in steps else tuple(steps),
        "angular_sampling": None if None in angles else tuple(angles),
        "semiangle_cutoff": angle(_axis(microscope, "illumination_system/semi_convergence_angle")),
        "energy": voltage.step * {"kv": 1e3, "kev": 1e3}.get(voltage.units.lower(), 1.0) or None,
    }
    yield from ((name, value) for name, value in entries.items() if value is not None)


def _axis(group: h5py.Group, name: str) -> Axis:
    """Return a scalar with its unit; zero if there is none."""
    item = group.get(name)
    if not isinstance(item, h5py.Dataset) or item.size != 1 or item.dtype.kind not in "iuf":
        return Axis(0.0)
    return Axis(float(np.asarray(item[()]).ravel()[0]), str(plain(item.attrs.get("units", ""))))

"""Probe, positions and phase in results of other programs: PtyRAD, py4DSTEM, quantem, PtychoShelves (fold_slice).

=============== ============================== ==================================== ================================
program         probe                          positions [pixels]                   file
=============== ============================== ==================================== ================================
PtyRAD          (mode, y, x), in the middle    corner of the window, as (y, x)      .hdf5
py4DSTEM        (mode, y, x), at pixel 0       middle of the window, as (y, x)      .h5
quantem         (mode, y, x), at pixel 0       middle of the window, as (y, x)      folder or .zip of zarr
PtychoShelves   (y, x, mode, orthogonal)       from the middle, as (x, y)           .mat of v5 or v7.3
=============== ============================== ==================================== ================================

All have transmission exp(+i phase) and the far field as a forward transform, as dptt has. A pixel is the
wavelength over the angle that the patterns cover. They do not know about what axis the specimen is turned: the middle
of the positions is taken as the point where the rotation axis meets the beam. Of the object only the phase is taken,
to be shown beside that of dptt; a result without one is a start all the same.
"""

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import damage_reported, reading
from dptt.io.importers.formats import matlab
from dptt.io.importers.formats.optional import library
from dptt.io.importers.quantem import read_quantem
from dptt.io.importers.trial import try_reading

PY4DSTEM = {"_probe_emd/data": "probe", "/positions_px": "positions", "_object_emd/data": "object"}
"""End of a name in a file of py4DSTEM -> what it is."""
SHELVES = ["probe", "outputs", "object"]
"""Variables of MATLAB that are read."""


@dataclass(frozen=True)
class Reconstruction:
    """What a result of one tilt has for the start of another reconstruction.

    Parameters
    ----------
    kind
        Name of the program.
    probe
        (mode, y, x) in real space, centred at n//2.
    positions
        (positions, 2) as (y, x), from their middle [pixels of the probe].
    pixel_size
        As the file says [Å]; None if it does not.
    phase
        Of the object (y, x), summed over slices [rad]; None if there is none.
    to_windows
        (y, x): add it to a position to get the pixel of the object in the middle of the window.
    axis
        Pixel (y, x) of the object where the rotation axis is taken to be.
    """

    kind: str
    probe: NDArray[Any]
    positions: NDArray[Any]
    pixel_size: float | None = None
    phase: NDArray[Any] | None = None
    to_windows: tuple[float, float] = (0.0, 0.0)
    axis: tuple[float, float] = (0.0, 0.0)


def read_reconstruction(path: str | Path) -> Reconstruction:
    """Return probe, positions and phase in a result of PtyRAD, py4DSTEM, quantem or PtychoShelves.

    Raises
    ------
    ImportDescriptionError
        It cannot be read, or is of none of these programs.
    """
    path = Path(path)
    if path.is_file():
        try_reading(path, lambda: _read(path), purpose="reconstruction")
    with damage_reported(path, ImportDescriptionError):
        return _checked(path, _read(path))


def _read(path: Path) -> Reconstruction:
    """Return what the file or folder holds, unchecked."""
    if path.is_dir() or (path.is_file() and zipfile.is_zipfile(path)):
        probe, positions, objects = read_quantem(path)
        phase = None if objects is None else _phase(objects)
        return Reconstruction("quantem", probe, positions, phase=phase)
    if path.is_file() and not h5py.is_hdf5(path):
        return _shelves_5(path)
    with reading(path, ImportDescriptionError) as file:
        for kind in (_ptyrad, _shelves_7_3, _py4dstem):
            result = kind(file)
            if result is not None:
                return result
    expected = (
        "optimizable_tensors/probe of PtyRAD, _probe_emd of py4DSTEM, or outputs/probe_positions of PtychoShelves"
    )
    raise ImportDescriptionError(path, [f"has no probe and positions; expected {expected}. Name a result file."])


def _ptyrad(file: h5py.File) -> Reconstruction | None:
    names = ("optimizable_tensors/probe", "optimizable_tensors/probe_pos_shifts", "model_attributes/crop_pos")
    if any(name not in file for name in names):
        return None
    probe, shifts, corners = (np.asarray(file[name][()]) for name in names)
    if probe.dtype.kind != "c":  # real and imaginary part in the last axis
        probe = probe[..., 0] + 1j * probe[..., 1]
    pixel = file.get("model_attributes/dx")
    size = float(np.asarray(pixel[()]).ravel()[0]) if isinstance(pixel, h5py.Dataset) else None
    phase = _phase(file["optimizable_tensors/objp"]) if "optimizable_tensors/objp" in file else None
    to_windows = (float(probe.shape[-2] // 2), float(probe.shape[-1] // 2))
    return Reconstruction("PtyRAD", probe, corners + shifts, size, phase, to_windows)


def _py4dstem(file: h5py.File) -> Reconstruction | None:
    found: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: Any) -> None:
        ends = (end for end in PY4DSTEM if name.endswith(end))
        if isinstance(item, h5py.Dataset) and (end := next(ends, None)):
            found[PY4DSTEM[end]] = item

    file.visititems(collect)
    if not {"probe", "positions"} <= set(found):
        return None
    probe = np.fft.fftshift(np.asarray(found["probe"][()]), axes=(-2, -1))
    phase = _phase(found["object"]) if "object" in found else None
    return Reconstruction("py4DSTEM", probe, np.asarray(found["positions"][()]), phase=phase)


def _shelves_7_3(file: h5py.File) -> Reconstruction | None:
    if "probe" not in file or "outputs/probe_positions" not in file:
        return None
    stored = np.asarray(file["probe"][()])
    objects = np.asarray(file["object"][()]).T if isinstance(file.get("object"), h5py.Dataset) else None
    return _shelves(_complex(stored).T, np.asarray(file["outputs/probe_positions"][()]).T, objects)


def _shelves_5(path: Path) -> Reconstruction:
    with path.open("rb") as file:
        head = file.read(128)
    if not matlab.recognises(path, head):
        raise ImportDescriptionError(
            path, ["is neither HDF5 nor MATLAB. Name a result file (PtyRAD: save as .hdf5)."]
        )
    try:
        variables = library("scipy.io", path, matlab.NAME).loadmat(path, variable_names=SHELVES)
        positions = variables["outputs"]["probe_positions"][0, 0]
        return _shelves(variables["probe"], positions, variables.get("object"))
    except (KeyError, ValueError, IndexError, TypeError) as failure:
        problem = f"has no probe and outputs.probe_positions ({failure}). Name a result file of PtychoShelves."
        raise ImportDescriptionError(path, [problem]) from failure


def _shelves(probe: NDArray[Any], positions: NDArray[Any], objects: NDArray[Any] | None) -> Reconstruction:
    """Return what arrays of MATLAB say: probe (y, x, mode, orthogonal), positions (n, 2), object (y, x [, z])."""
    first = probe[..., 0] if probe.ndim == 4 else probe
    modes = first.transpose(2, 0, 1) if first.ndim == 3 else first
    phase, to_windows = None, (0.0, 0.0)
    if objects is not None and objects.dtype != object and objects.ndim in (2, 3):
        phase = _phase(np.moveaxis(_complex(objects), -1, 0) if objects.ndim == 3 else _complex(objects))
        y, x = (math.ceil((n - m) / 2) + m // 2 for n, m in zip(phase.shape, modes.shape[-2:], strict=True))
        to_windows = (float(y), float(x))
    return Reconstruction("PtychoShelves", modes, positions[:, ::-1], phase=phase, to_windows=to_windows)


def _complex(stored: NDArray[Any]) -> NDArray[Any]:
    """Return complex numbers, which MATLAB writes to HDF5 as pairs."""
    return stored["real"] + 1j * stored["imag"] if stored.dtype.names else stored


def _phase(stored: Any) -> NDArray[Any]:
    """Return the phase (y, x) [rad] of an object ([mode,] [slice,] y, x): real ones are phases; the mean of modes."""
    values = np.asarray(stored[()])
    phases = np.angle(values) if values.dtype.kind == "c" else values
    summed = phases.sum(-3, dtype=np.float64) if phases.ndim > 2 else phases
    return summed.reshape(-1, *summed.shape[-2:]).mean(0)


def _checked(path: Path, result: Reconstruction) -> Reconstruction:
    """Return `result` with a mode axis and positions from their middle, in dptt's types."""
    problems = list(_problems(result))
    if problems:
        raise ImportDescriptionError(path, problems)
    probe = result.probe if result.probe.ndim == 3 else result.probe[None]
    positions = result.positions.astype(np.float64)
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    return replace(
        result,
        probe=probe.astype(np.complex64),
        positions=positions - middle,
        axis=(middle[0] + result.to_windows[0], middle[1] + result.to_windows[1]),
    )


def _problems(result: Reconstruction) -> Iterator[str]:
    if result.probe.ndim not in (2, 3) or result.probe.dtype.kind != "c":
        yield f"probe is {result.probe.dtype} {result.probe.shape}; expected complex (mode, y, x). Save it again."
    elif not np.isfinite(result.probe).all():
        yield "probe has values that are not finite. Name another iteration."
    if result.positions.ndim != 2 or result.positions.shape[1] != 2 or len(result.positions) == 0:
        yield f"positions have shape {result.positions.shape}; expected (positions, 2). Save it again."
    elif not np.isfinite(result.positions).all():
        yield "positions have values that are not finite. Name another iteration."
    if result.phase is not None and not np.isfinite(result.phase).all():
        yield "object has values that are not finite. Name another iteration."

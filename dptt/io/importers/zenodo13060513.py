"""The data of [P] as published (zenodo.org/records/13060513, and 14499409 for the results of single tilts).

======================== =========================================================================================
NUMBER.zip               zarr of one tilt: `data` (scan_y, scan_x, ky, kx), `meta` with `k_max` [1/Å]
NUMBER.h5                its multislice reconstruction: `probe` (iteration, mode, y, x), `best_positions`
                         (iteration, 2, positions) as (x, y) [Å] from the middle of the scan
phi, theta, psi_astra    angles of every tilt [rad], in .npy files
translation_astra.npy    (2, tilts) [pixels of 1 / (2 k_max)]
======================== =========================================================================================

Their volume has the axes (y, z, x). There `r = R r' + t`, with `R = Rz(phi) Ry(theta) Rx(psi)` on (x, z, y), takes a
point of the turned volume to the volume. Here `r' = R r + tau`: their pose is inverted. Their angle phi is the tilt.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import reading
from dptt.io.importers.description import ArraySource
from dptt.io.importers.formats.zarr_objects import first_item

ENERGY, SEMIANGLE_CUTOFF = 80e3, 25.0
"""[eV], [mrad]: section 3 of [P]; not in the files."""
ANGLES = ("phi", "theta", "psi")
LARGEST_POSE = 1e6
"""Of an angle [rad] or a translation [pixels]."""


@dataclass(frozen=True)
class PublishedSeries:
    """The tilts that have both patterns and a reconstruction, in the order of their numbers.

    Parameters
    ----------
    numbers
        Number of every tilt.
    patterns, probes, positions
        Where they are.
    k_max
        Largest spatial frequency of the patterns [1/Å].
    euler_angles
        (phi, theta, psi) of every tilt in dptt's convention [deg], shape (tilts, 3).
    translations
        (y, x) [Å], shape (tilts, 2).
    left_out
        Largest part of a translation along the beam [Å], which a pose of dptt does not have.
    """

    numbers: tuple[int, ...]
    patterns: tuple[ArraySource, ...]
    probes: tuple[ArraySource, ...]
    positions: tuple[ArraySource, ...]
    k_max: float
    euler_angles: NDArray[np.float64]
    translations: NDArray[np.float64]
    left_out: float


def find_published(
    folder: Path, tilts: Sequence[int] | None = None, iterations: Mapping[int, int] | None = None
) -> PublishedSeries:
    """Return the published series in `folder` and the folders in it.

    Parameters
    ----------
    folder
        Where the files were unpacked.
    tilts
        Numbers of the tilts to take; None for all that have patterns and a reconstruction.
    iterations
        Number of a tilt -> index of the iteration whose probe and positions are taken; the last if it is not named.

    Raises
    ------
    ImportDescriptionError
        Files are missing, or do not belong together: all problems are listed.
    """
    patterns, results = _numbered(folder, "*.zip"), _numbered(folder, "*.h5")
    chosen = sorted(patterns.keys() & results.keys()) if tilts is None else list(tilts)
    problems = [f"has no {n}.zip with patterns. Copy it, or leave tilt {n} out." for n in chosen if n not in patterns]
    problems += [f"has no {n}.h5 with probe and positions. Copy it." for n in chosen if n not in results]
    if not chosen:
        problems.append(
            "has no NUMBER.zip and NUMBER.h5 of one tilt; expected both for every tilt. Check the folder."
        )
    angles = {name: _poses(folder, f"{name}_astra.npy", (), problems) for name in ANGLES}
    shifts = _poses(folder, "translation_astra.npy", (2,), problems)
    if problems:
        raise ImportDescriptionError(folder, problems)
    counts = {name: values.shape[-1] for name, values in {**angles, "translation": shifts}.items()}
    if set(counts.values()) != {len(chosen)}:
        problem = f"has {len(chosen)} tilts ({chosen}), and poses of {counts}; expected as many. Set import.tilts."
        raise ImportDescriptionError(folder, [problem])
    frequencies = [_k_max(patterns[number]) for number in chosen]
    if max(frequencies) - min(frequencies) > 1e-6 * frequencies[0]:
        raise ImportDescriptionError(folder, [f"tilts have k_max {sorted(set(frequencies))}; expected one value."])
    pixel = 1 / (2 * frequencies[0])
    phi, theta, psi = (angles[name] for name in ANGLES)
    poses = [
        invert_pose(float(phi[tilt]), float(theta[tilt]), float(psi[tilt]), shifts[:, tilt] * pixel)
        for tilt in range(len(chosen))
    ]
    last = {number: _iteration(results[number], (iterations or {}).get(number)) for number in chosen}
    return PublishedSeries(
        tuple(chosen),
        tuple(ArraySource(str(patterns[number]), "data") for number in chosen),
        tuple(ArraySource(str(results[number]), "probe", (last[number],)) for number in chosen),
        tuple(ArraySource(str(results[number]), "best_positions", (last[number],)) for number in chosen),
        frequencies[0],
        np.array([pose[0] for pose in poses]),
        np.array([(pose[1][1], pose[1][0]) for pose in poses]),
        max(abs(pose[1][2]) for pose in poses),
    )


def invert_pose(
    phi: float, theta: float, psi: float, shift: NDArray[np.float64]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return (phi, theta, psi) [deg] and tau (x, y, z) [Å] of dptt for a pose of theirs.

    Parameters
    ----------
    phi, theta, psi
        Their angles [rad].
    shift
        Their translation (x, y) [Å].
    """
    (c1, s1), (c2, s2), (c3, s3) = ((math.cos(a), math.sin(a)) for a in (phi, theta, psi))
    on_x_z_y = np.array(
        [
            [c1 * c2, c1 * s2 * s3 - c3 * s1, s1 * s3 + c1 * c3 * s2],
            [c2 * s1, c1 * c3 + s1 * s2 * s3, c3 * s1 * s2 - c1 * s3],
            [-s2, c2 * s3, c2 * c3],
        ]
    )
    order = [0, 2, 1]
    rotation = on_x_z_y[np.ix_(order, order)].T
    tau = -rotation @ np.array([shift[0], shift[1], 0.0])
    angles = (
        math.degrees(math.atan2(rotation[2, 1], rotation[2, 2])),
        math.degrees(-math.asin(np.clip(rotation[2, 0], -1.0, 1.0))),
        math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])),
    )
    return angles, (float(tau[0]), float(tau[1]), float(tau[2]))


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    return {int(path.stem): path for path in sorted(folder.rglob(pattern)) if path.stem.isdecimal()}


def _poses(folder: Path, name: str, rows: tuple[int, ...], problems: list[str]) -> NDArray[np.float64]:
    """Return an array (*rows, tilts) of the poses; without tilts, and with a problem added, if it cannot be used."""
    nothing = np.empty((*rows, 0))
    path = next(iter(sorted(folder.rglob(name))), None)
    if path is None:
        problems.append(f"has no {name}. Copy it from the record of the results.")
        return nothing
    try:
        values = np.asarray(np.load(path, allow_pickle=False))
    except Exception as failure:  # a damaged head makes NumPy raise whatever its parser does
        problems.append(f"{name} cannot be read ({failure}). Copy it again.")
        return nothing
    if values.dtype.kind not in "iuf" or values.ndim != len(rows) + 1 or values.shape[:-1] != rows:
        expected = ", ".join((*map(str, rows), "tilts"))
        problems.append(
            f"{name} holds {str(values.dtype)[:80]} {values.shape}; expected numbers ({expected}). Copy it again."
        )
        return nothing
    poses = values.astype(np.float64)
    if not (abs(poses) <= LARGEST_POSE).all():
        problems.append(f"{name} has values that are not finite, or beyond {LARGEST_POSE:g}. Copy it again.")
        return nothing
    return poses


def _k_max(store: Path) -> float:
    meta = first_item(store, "meta")
    try:
        k_max = float(np.atleast_1d(meta["k_max"])[0])
    except (LookupError, TypeError, ValueError) as failure:
        raise ImportDescriptionError(store, [f"meta has no number k_max ({failure}). Copy it again."]) from failure
    if not (math.isfinite(k_max) and k_max > 0):
        raise ImportDescriptionError(store, [f"k_max is {k_max}; expected a positive number [1/Å]. Copy it again."])
    return k_max


def _iteration(result: Path, chosen: int | None) -> int:
    """Return the index of the iteration to take, after a check that probe and positions have it."""
    with reading(result, ImportDescriptionError) as file:
        missing = [name for name in ("probe", "best_positions") if not isinstance(file.get(name), h5py.Dataset)]
        if missing:
            raise ImportDescriptionError(result, [f"has no dataset {' and '.join(missing)}. Copy it again."])
        count = min(file["probe"].shape[0], file["best_positions"].shape[0])
    if chosen is not None and not 0 <= chosen < count:
        problem = f"has {count} iterations; expected more than import.iterations {chosen}. Correct it."
        raise ImportDescriptionError(result, [problem])
    return count - 1 if chosen is None else chosen

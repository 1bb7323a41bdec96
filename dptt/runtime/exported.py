"""What a run has to export: its atoms, poses and curves, wherever they are in its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dptt.io.alignment import read_alignment
from dptt.io.atoms import AtomsFile, read_atoms
from dptt.io.errors import ProblemsError
from dptt.io.exporters.atoms import UNKNOWN, AtomTable
from dptt.io.imod import PoseTable
from dptt.io.volumes import volume_attributes
from dptt.logs import log, read_metrics
from dptt.runtime.results import load_analysis, read_result


def atoms_of(run: Path, element: str | None = None) -> AtomTable:
    """Return the atoms fitted to the patterns where there are any, else the traced ones, all of one `element` or X.

    Raises
    ------
    ProblemsError
        There are neither, or a file is damaged.
    """
    if (run / "atoms.h5").exists():
        fitted = read_atoms(run / "atoms.h5")
        if str(fitted.attributes.get("created", "")) >= str(volume_attributes(run / "volume.h5").get("created", "")):
            return _fitted(fitted, np.array(read_result(run).origin))
        log.warning("warning: atoms.h5 is older than the volume: traced atoms are exported. `dptt atoms` renews it")
    atoms = (load_analysis(run) or {}).get("atoms", {})
    positions = _array(atoms.get("positions"), (0, 3))
    if len(positions) == 0:
        problem = "holds no atoms. Run `dptt analyze` first, or lower analysis.atom_threshold."
        raise ProblemsError(run / "analysis.json", [problem])
    unknown = [float("nan")] * len(positions)
    return AtomTable(
        positions,
        _array(atoms.get("standard_errors"), positions.shape),
        [element or UNKNOWN] * len(positions),
        {
            "height": _array(atoms.get("heights", unknown), (len(positions),)),
            "significance": _array(atoms.get("significance", unknown), (len(positions),)),
        },
    )


def _fitted(atoms: AtomsFile, origin: np.ndarray) -> AtomTable:
    """Return fitted atoms relative to voxel n//2, whose place [Å] from the rotation centre is `origin`."""
    return AtomTable(
        atoms.positions - origin,
        atoms.standard_errors[:, :3],
        atoms.symbols,
        {
            "occupancy": atoms.occupancies,
            "occupancy_error": atoms.standard_errors[:, 3],
            "b_factor": atoms.b_factors,
            "b_factor_error": atoms.standard_errors[:, 4],
            "probability": atoms.probabilities.max(axis=1),
        },
    )


def _array(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of the analysis, whose null is NaN; NaN everywhere if there are none."""
    return np.full(shape, np.nan) if values is None else np.array(values, dtype=np.float64).reshape(-1, *shape[1:])


POSE_COLUMNS = ("phi [deg]", "theta [deg]", "psi [deg]", "translation y [Å]", "translation x [Å]")


@dataclass(frozen=True)
class Poses:
    """Poses relative to the middle of images (y, x) of one pixel size [Å]."""

    table: PoseTable
    names: Sequence[str]
    pixel_size: tuple[float, float]
    image_shape: tuple[int, int]

    def square_pixel(self, path: Path, program: str) -> float:
        """Return the pixel size, for programs with one number."""
        y, x = self.pixel_size
        if abs(y - x) > 1e-4 * x:
            problem = f"{program} needs square pixels, but these are {y:.4g} x {x:.4g} Å. Export to RELION instead."
            raise ProblemsError(path, [problem])
        return x


def poses_of(run: Path) -> Poses:
    """Return the poses of the volume, or of the alignment where there is no volume yet.

    Raises
    ------
    ProblemsError
        There are neither.
    """
    if (run / "volume.h5").exists():
        result: Any = read_result(run)
        origin = np.array(result.origin[1:])
    elif (run / "alignment.h5").exists():
        result, origin = read_alignment(run / "alignment.h5"), np.zeros(2)
    else:
        problem = "there are no poses. Run `dptt align` or `dptt reconstruct` first."
        raise ProblemsError(run, [problem])
    tilts = result.tilts
    angles = np.array([tilt.euler_angles for tilt in tilts.values()], dtype=np.float64).reshape(-1, 3)
    shifts = np.array([tilt.translation for tilt in tilts.values()], dtype=np.float64).reshape(-1, 2) - origin
    _, y, x = result.volume.shape
    return Poses(PoseTable(angles, shifts), list(tilts), result.voxel_size[1:], (y, x))


def tables_of(run: Path) -> dict[str, dict[str, Sequence[Any]]]:
    """Return name -> columns of every curve and table that the run has; the columns name their units."""
    analysis = load_analysis(run) or {}
    tables = {"loss": _losses(read_metrics(run / "metrics.jsonl"))}
    tables |= {name: _curve(analysis.get(name, {})) for name in ("fsc", "power_spectrum")}
    tables |= {f"fsc_{cone['name']}": _curve(cone) for cone in analysis.get("directional_fsc", ())}
    if (run / "volume.h5").exists() or (run / "alignment.h5").exists():
        poses = poses_of(run)
        numbers = np.column_stack([poses.table.euler_angles, poses.table.translations]).T.tolist()
        tables["poses"] = {"tilt": poses.names, **dict(zip(POSE_COLUMNS, numbers, strict=True))}
    return {name: columns for name, columns in tables.items() if columns}


def _losses(epochs: Sequence[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    if not epochs:
        return {}
    columns = {name: [line.get(name) for line in epochs] for name in ("epoch", "loss", "held_out_loss")}
    return columns | {"time [s]": [line.get("seconds", {}).get("total") for line in epochs]}


def _curve(curve: dict[str, Any]) -> dict[str, Sequence[Any]]:
    """Return what a curve has one number of for every frequency."""
    frequency = curve.get("frequency", ())
    columns = {key: values for key, values in curve.items() if isinstance(values, list)}
    columns = {key: values for key, values in columns.items() if len(values) == len(frequency) and key != "frequency"}
    return {"frequency [1/Å]": frequency, **columns} if columns else {}

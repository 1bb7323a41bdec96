"""The content of a report, and functions that read its loosely typed parts.

The arrays are checked once, here. ``epochs``, ``tilts`` and ``analysis`` are what metrics.jsonl, the volume file and
analysis.json hold. Keys may be missing and numbers may be null, because a half-finished run deserves a report too.
Read them only through `find` and the functions below it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.report.fitted import FittedAtoms
from dptt.report.measured import Diffraction

VoxelSize = tuple[float, float, float]
"""Edge lengths (z, y, x) of a voxel [Å]."""


@dataclass(frozen=True)
class ProbeModes:
    """Probe of one tilt.

    Attributes
    ----------
    name : str
        Name of the tilt.
    modes : complex array (mode, y, x)
        Centred on pixel ``n // 2``.
    sampling : tuple
        Pixel size (y, x) [Å].
    aberrations : mapping
        Name -> value [Å, angles in degrees], with which the reconstruction began.
    """

    name: str
    modes: NDArray[np.complexfloating]
    sampling: tuple[float, float]
    aberrations: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.modes.ndim != 3:
            raise ValueError(f"modes of {self.name!r} has shape {self.modes.shape}; expected (mode, y, x)")


@dataclass(frozen=True)
class ScanPositions:
    """Initial and refined scan positions (n, 2) of one tilt, (y, x) [Å]."""

    name: str
    initial: NDArray[np.floating]
    refined: NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.initial.shape != self.refined.shape or self.initial.shape[1:] != (2,):
            raise ValueError(
                f"positions of {self.name!r} have shapes {self.initial.shape} and {self.refined.shape}; "
                "expected two equal (num_positions, 2) in (y, x) order"
            )


@dataclass(frozen=True)
class EarlierFigure:
    """A figure that an earlier step has drawn: heading, caption, PNG."""

    title: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class ReportContent:
    """Everything a report can show; only a title is needed, and with a volume its voxel size.

    Attributes
    ----------
    volume : array (z, y, x), optional
        Potential [V], real or complex (positive imaginary part = absorption).
    voxel_size : tuple
        (z, y, x) [Å].
    truth : array (z, y, x), optional
        True potential [V] on the same grid.
    seen_by : array (z, y, x), optional
        Number of tilts that see each voxel, of a specimen that continues beyond the scan.
    epochs : sequence
        Lines of metrics.jsonl.
    tilts : sequence
        ``{"name", "euler_angles", "translation", "initial_euler_angles", "initial_translation", "loss",
        "num_positions"}`` of each tilt, and its quality: ``weight``, ``figure_of_fit``, ``shot_noise_loss``,
        ``fluence_e_A2``, ``drift_A``, ``alignment_residual``, ``patterns_left_out``, and standard deviations of
        refined poses: ``phi_error_deg``, ``theta_error_deg``, ``psi_error_deg``, ``tau_y_error_A``,
        ``tau_x_error_A``.
    verdicts : sequence
        A sentence for every refinement of poses that was judged.
    left_out : sequence
        A sentence for every tilt that was left out.
    out_of_focus : sequence
        A sentence for every tilt whose bright field is far from the focus of the others.
    earlier : sequence
        Figures of the steps before the reconstruction.
    diffraction : Diffraction, optional
        The patterns.
    probes, scan_positions : sequence
        `ProbeModes` and `ScanPositions` of a few tilts.
    analysis : mapping
        analysis.json.
    true_atoms : array (n, 3), optional
        (z, y, x) [Å] from voxel ``n // 2``; missed atoms are marked where ``analysis["atoms"]["match"]`` has
        ``pairs`` or ``missed``.
    fitted_atoms : FittedAtoms, optional
        Atoms fitted to the patterns.
    provenance : mapping
        Label -> text: command line, input checksum, date, …
    versions : mapping
        Package -> version.
    config : str, optional
        The resolved configuration, YAML.
    files : sequence
        Names of the files of the run beside the page, to which it links.
    next_steps : sequence
        Sentences that say what to try next.
    """

    title: str
    volume: NDArray[np.number] | None = None
    voxel_size: VoxelSize = (1.0, 1.0, 1.0)
    truth: NDArray[np.number] | None = None
    seen_by: NDArray[np.integer] | None = None
    epochs: Sequence[Mapping[str, Any]] = ()
    tilts: Sequence[Mapping[str, Any]] = ()
    verdicts: Sequence[str] = ()
    left_out: Sequence[str] = ()
    out_of_focus: Sequence[str] = ()
    earlier: Sequence[EarlierFigure] = ()
    probes: Sequence[ProbeModes] = ()
    scan_positions: Sequence[ScanPositions] = ()
    analysis: Mapping[str, Any] = field(default_factory=dict)
    true_atoms: NDArray[np.floating] | None = None
    fitted_atoms: FittedAtoms | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None
    diffraction: Diffraction | None = None
    files: Sequence[str] = ()
    next_steps: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.volume is None:
            return
        if self.volume.ndim != 3 or self.volume.size == 0:
            raise ValueError(f"volume has shape {self.volume.shape}; expected (z, y, x), all above 0")
        if len(self.voxel_size) != 3 or not all(size > 0 for size in self.voxel_size):
            raise ValueError(f"voxel_size is {self.voxel_size}; expected three positive lengths (z, y, x) [Å]")
        if self.truth is not None and self.truth.shape != self.volume.shape:
            raise ValueError(
                f"truth has shape {self.truth.shape}; expected that of the volume, {self.volume.shape} "
                "(dptt.analysis resamples one onto the grid of the other)"
            )

    def potential(self) -> NDArray[np.floating]:
        """Real part of the volume [V], zero where it is not finite; only where there is a volume."""
        assert self.volume is not None
        return without_gaps(self.volume.real)

    def true_potential(self) -> NDArray[np.floating] | None:
        """Real part of the truth [V], zero where it is not finite; None if there is none."""
        return None if self.truth is None else without_gaps(self.truth.real)

    def absorption(self) -> NDArray[np.floating] | None:
        """Imaginary part of the volume [V], zero where it is not finite; None if there is none or it is zero."""
        if self.volume is None or not np.iscomplexobj(self.volume) or not np.any(self.volume.imag):
            return None
        return without_gaps(self.volume.imag)


def without_gaps(volume: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the volume with zeros in place of values that are not finite; the volume itself if there are none."""
    finite = np.isfinite(volume)
    return volume if finite.all() else np.where(finite, volume, volume.dtype.type(0))


def find(data: Any, *path: str) -> Any:
    """Value at a path of keys; None if a key is missing."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def number(data: Any, *path: str) -> float | None:
    """Finite number at a path of keys, or None."""
    value = find(data, *path)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        return None
    return float(value)


def numbers(data: Any, *path: str) -> NDArray[np.float64] | None:
    """Array of numbers at a path of keys, with NaN for null; None if there are none or rows differ in length."""
    value = find(data, *path)
    if not isinstance(value, (Sequence, np.ndarray)) or isinstance(value, str) or len(value) == 0:
        return None
    try:
        return np.array(value, dtype=float)  # null becomes NaN
    except (TypeError, ValueError):
        return None


def curve(data: Any, abscissa: str, ordinate: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Two columns of equal length, or None if either is missing or they differ in length."""
    x, y = numbers(data, abscissa), numbers(data, ordinate)
    if x is None or y is None or x.ndim != 1 or x.shape != y.shape:
        return None
    return x, y


def column(rows: Sequence[Mapping[str, Any]], *path: str) -> NDArray[np.float64]:
    """One number of each row, NaN where it is missing."""
    values = [number(row, *path) for row in rows]
    return np.array([np.nan if value is None else value for value in values])


def vectors(rows: Sequence[Mapping[str, Any]], key: str, length: int) -> NDArray[np.float64]:
    """One vector (rows, length) of each row, NaN where it is missing."""
    values = [numbers(row, key) for row in rows]
    gap = np.full(length, np.nan)
    return np.array([gap if v is None or v.shape != (length,) else v for v in values]).reshape(-1, length)


def text(data: Any, *path: str) -> str | None:
    """Text at a path of keys, or None."""
    value = find(data, *path)
    return value if isinstance(value, str) else None

"""What the analysis of a volume found: the Fourier shell correlation, and the atoms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.interface.pictures import Picture, Pictures
from dptt.interface.tables import Table
from dptt.report.figures.atoms import atom_figure, atom_groups, peak_figure
from dptt.report.figures.resolution import directional_figure, fsc_figure, resolution_text


@dataclass(frozen=True, repr=False)
class ShellCorrelation:
    """Fourier shell correlation of a volume.

    Attributes
    ----------
    frequency
        Spatial frequency of every shell (shell,) [1/Å].
    correlation
        (shell,), from -1 to 1.
    resolution
        Criterion, such as ``"0.5"`` or ``"0.143"`` -> resolution [Å]; NaN where nothing is resolved.
    reference
        What the volume is compared with: ``"truth"`` or ``"half-sets"``.
    analysis
        The content of analysis.json.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    resolution: dict[str, float]
    reference: str
    analysis: Mapping[str, Any] = field(compare=False)

    @classmethod
    def of(cls, analysis: Mapping[str, Any]) -> "ShellCorrelation":
        """Return the Fourier shell correlation in an analysis."""
        lengths = {name: entry["resolution_A"] for name, entry in analysis["resolution"].items()}
        return cls(
            frequency=_numbers(analysis["fsc"]["frequency"]),
            correlation=_numbers(analysis["fsc"]["correlation"]),
            resolution={name: float("nan") if length is None else length for name, length in lengths.items()},
            reference=analysis["reference"],
            analysis=analysis,
        )

    def show(self) -> Pictures:
        """Show the curve with its thresholds, and the resolution by direction."""
        pictures = [Picture("fsc", "Fourier shell correlation", lambda: fsc_figure(self.analysis))]
        if entries := self.analysis.get("directional_fsc"):
            pictures.append(Picture("directions", "Resolution by direction", lambda: directional_figure(entries)))
        return Pictures(tuple(pictures))

    def _table(self) -> Table:
        rows = [(name, resolution_text(entry) or "") for name, entry in self.analysis["resolution"].items()]
        title = f"ShellCorrelation with the {self.reference}: " + ", ".join(f"{text} ({name})" for name, text in rows)
        return Table(title, ("criterion", "resolution"), rows)

    def __repr__(self) -> str:
        return self._table().title

    def _repr_html_(self) -> str:
        return self._table().html()


@dataclass(frozen=True, repr=False)
class Atoms:
    """Peaks of a volume, the highest first.

    Attributes
    ----------
    positions
        (atom, 3) as (z, y, x) [Å] from the rotation centre.
    errors
        Standard errors of the positions (atom, 3) [Å], NaN where the fit failed.
    heights
        Height above the local background (atom,) [V].
    significance
        Height over the noise of the vacuum (atom,).
    analysis
        The entry ``atoms`` of analysis.json, with the comparison with the true atoms if there are any.
    """

    positions: NDArray[np.float64]
    errors: NDArray[np.float64]
    heights: NDArray[np.float64]
    significance: NDArray[np.float64]
    analysis: Mapping[str, Any] = field(compare=False)
    _potential: NDArray[np.float32] = field(compare=False)
    _voxel_size: tuple[float, float, float]

    @classmethod
    def of(
        cls, analysis: Mapping[str, Any], potential: NDArray[np.float32], voxel_size: tuple[float, float, float]
    ) -> "Atoms":
        """Return the atoms in the analysis of a volume."""
        atoms = analysis["atoms"]
        return cls(
            positions=_numbers(atoms["positions"]).reshape(-1, 3),
            errors=_numbers(atoms["standard_errors"]).reshape(-1, 3),
            heights=_numbers(atoms["heights"]),
            significance=_numbers(atoms["significance"]),
            analysis=atoms,
            _potential=potential,
            _voxel_size=voxel_size,
        )

    def __len__(self) -> int:
        return len(self.positions)

    def show(self) -> Pictures:
        """Show the atoms over projections and slices, and their heights."""
        true = self.analysis.get("true_positions")
        groups = atom_groups(self.analysis, None if true is None else np.asarray(true))
        pictures = []
        if groups:
            draw = lambda: atom_figure(self._potential, self._voxel_size, groups)  # noqa: E731
            pictures.append(Picture("atoms", "Traced atoms", draw))
        if np.isfinite(self.heights).any():
            pictures.append(Picture("heights", "Heights", lambda: peak_figure(self.analysis)))
        return Pictures(tuple(pictures))

    def _table(self) -> Table:
        match = self.analysis.get("match")
        confirmed = "" if match is None else f", {len(match['pairs'])} of {match['num_true']} true atoms among them"
        title = f"Atoms: {len(self)} peaks, {self.analysis['num_significant']} significant{confirmed}"
        rows = [
            (*(f"{value:.2f}" for value in position), f"{height:.1f}", f"{significance:.1f}")
            for position, height, significance in zip(self.positions, self.heights, self.significance, strict=True)
        ]
        return Table(title, ("z [Å]", "y [Å]", "x [Å]", "height [V]", "significance"), rows)

    def __repr__(self) -> str:
        return self._table().title

    def _repr_html_(self) -> str:
        return self._table().html()


def _numbers(values: Any) -> NDArray[np.float64]:
    """Return an array of what JSON holds, NaN for null."""
    return np.array(values, dtype=np.float64)

"""What fitted atoms are worth beside the true ones, in lines: `dptt analyze` says the same in less detail."""

import math
from collections.abc import Iterator

import numpy as np

from dptt.assembly.fitted_atoms import matched_to_truth
from dptt.config import Config
from dptt.io.atoms import AtomsFile, read_atoms
from dptt.io.dataset import TiltSeries
from dptt.io.truth import Truth
from dptt.model.atoms import PARAMETERS
from dptt.runtime.results import load_analysis
from dptt.simulation.scattering import integrated_potential


def measures(config: Config) -> Iterator[str]:
    """Yield how well the atoms of a run are found: RMSD, bound, error bars, elements, B, potential."""
    with TiltSeries.open(config.series) as series:
        truth = series.truth()
    assert truth is not None and truth.atom_positions is not None
    traced = ((load_analysis(config.run) or {}).get("atoms") or {}).get("match") or {}
    if traced:
        yield f"traced: recall {traced['recall']:.3f}, RMSD {traced['rmsd_A']:.4f} Å"
    yield from _of_fitted(read_atoms(config.run / "atoms.h5"), truth, config)


def _of_fitted(atoms: AtomsFile, truth: Truth, config: Config) -> Iterator[str]:
    match, off = matched_to_truth(atoms, truth, config)
    fitted, true = match.pairs.T
    errors = atoms.standard_errors[fitted]
    bound = errors / [float(atoms.attributes[f"misfit_{name}"]) for name in PARAMETERS]
    yield f"fitted: recall {match.recall:.3f}, precision {match.precision:.3f}, RMSD {math.hypot(*_rms(off)):.4f} Å"
    yield f"RMSD z, y, x {_row(_rms(off), 4)} Å; bound {_row(_rms(bound[:, :3]), 4)} Å"
    yield f"ratio of RMSD to bound {_row(_rms(off) / _rms(bound[:, :3]), 2)}"
    yield f"(fitted - true) / error {_row(_rms(off / errors[:, :3]), 2)}"
    yield f"misfit factors z, y, x, occupancy, B: {_row(errors[0] / bound[0], 2)}"
    numbers, told = truth.atomic_numbers[true], atoms.told[fitted]
    right = atoms.atomic_numbers[fitted] == numbers
    yield f"elements right {right.sum()} of {len(right)}; told {told.sum()}, of these right {right[told].sum()}"
    for number in np.unique(numbers):
        of, called = numbers == number, atoms.atomic_numbers == number
        occupancy, b_factor = atoms.occupancies[fitted][of], atoms.b_factors[fitted][of]
        recall = (right & of).sum() / (truth.atomic_numbers == number).sum()
        yield (
            f"Z {number}: {of.sum()} atoms, (fitted - true) / error {_row(_rms(off[of] / errors[of, :3]), 2)}, "
            f"occupancy {occupancy.mean():.3f} ± {occupancy.std():.3f}, B {b_factor.mean():.3f} ± "
            f"{b_factor.std():.3f} Å² (bound {np.median(bound[of, 4]):.3f}), recall {recall:.3f}, precision "
            f"{(right & of).sum() / max(1, called.sum()):.3f}"
        )
    fitted_sum = sum(
        occupancy * integrated_potential(int(number))
        for occupancy, number in zip(atoms.occupancies, atoms.atomic_numbers, strict=True)
    )
    total = fitted_sum / sum(integrated_potential(int(number)) for number in truth.atomic_numbers)
    yield f"total potential {total:.4f} of the truth; figure of fit {float(atoms.attributes['figure_of_fit']):.4f}"


def _rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values), axis=0))


def _row(values: np.ndarray, digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)

"""Fitted atoms beside the true ones: what probes that are fitted too leave undetermined is no error."""

import numpy as np
import pytest

from dptt.assembly.fitted_atoms import against_truth
from dptt.config import Config
from dptt.io.atoms import AtomsFile
from dptt.io.truth import Truth


@pytest.mark.parametrize(("probes", "displaced"), [(True, 0.0), (False, 0.03)])
def test_a_common_displacement_is_taken_off_where_probes_are_fitted(probes, displaced):
    rng = np.random.default_rng(1)
    true = 2.5 * np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    errors = 0.02 * rng.normal(size=(27, 3))
    errors -= errors.mean(axis=0)
    fitted = AtomsFile(
        positions=true + errors + [0.0, 0.03, 0.0],
        atomic_numbers=np.full(27, 78),
        occupancies=np.ones(27),
        b_factors=np.full(27, 0.5),
        standard_errors=np.full((27, 5), 0.01),
        probabilities=np.ones((27, 1)),
        elements=np.array([78]),
        told=np.ones(27, dtype=bool),
    )
    config = Config.model_validate({"series": "s.h5", "run": "r", "atoms": {"elements": ["Pt"], "probes": probes}})
    found = against_truth(fitted, Truth(atom_positions=true, atomic_numbers=np.full(27, 78)), config)
    assert found["recall"] == found["precision"] == 1
    expected = np.sqrt((errors**2).mean(axis=0) + [0, displaced**2, 0])
    assert found["rmsd_axes_A"] == pytest.approx(expected, rel=1e-6)
    assert found["error_ratio"] == pytest.approx(expected / 0.01, rel=1e-6)

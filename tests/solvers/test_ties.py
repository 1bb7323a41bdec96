"""Equal but for rounding: the first is taken, whatever the rounding."""

import numpy as np
import pytest

from dptt.solvers.alignment.starts import _peak
from dptt.solvers.ties import first_smallest


@pytest.mark.parametrize("rounding", [1e-12, -1e-12])
def test_the_first_of_equal_values_is_taken_and_a_smaller_one_before_it(rounding):
    assert first_smallest([3.0, 1.0, 1.0 + rounding]) == 1
    assert first_smallest([-0.5, -0.5 + rounding]) == 0
    assert first_smallest([0.5, 0.4999]) == 1


@pytest.mark.parametrize("rounding", [1e-12, -1e-12])
def test_of_equal_peaks_of_a_lattice_the_displacement_is_the_smallest(rounding):
    correlation = np.zeros((9, 11))
    correlation[4, 6], correlation[4, 9], correlation[1, 6] = 1.0, 1.0 + rounding, 1.0 - rounding
    np.testing.assert_allclose(_peak(correlation), [0, 1])
    correlation[4, 9] = 1.1
    np.testing.assert_allclose(_peak(correlation), [0, 4])

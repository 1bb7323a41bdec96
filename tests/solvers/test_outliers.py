"""Errors well above the median lower a weight, in tensors and arrays alike; all others keep it."""

import numpy as np
import pytest
import torch

from dptt.solvers.outliers import outlier_weights

ERRORS = np.array([1.0, 0.0, 1.9, 1.0, 8.0])


@pytest.mark.parametrize("power", [2, 4])
def test_beyond_the_tolerated_multiple_the_weight_falls_with_the_power(power):
    expected = [1, 1, 1, 1, 0.25**power]
    for errors in (ERRORS, torch.from_numpy(ERRORS)):
        weights = outlier_weights(errors, median=1.0, tolerated=2.0, power=power)
        assert type(weights) is type(errors) and weights.tolist() == pytest.approx(expected)

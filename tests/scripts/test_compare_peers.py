"""The comparison with other programs: its patterns come from plain NumPy, and dptt must have the same model."""

import numpy as np
import pytest
from compare_peers.problem import Problem, Size, simulate
from compare_peers.run_dptt import Dptt


@pytest.fixture(scope="module")
def problem() -> Problem:
    return simulate(Size(scan=4, window=48, modes=2, slices=3), counted=False)


def test_the_true_slices_explain_the_patterns(problem):
    truth = Dptt(problem, problem.slices, batch=0, still=True).run_pass()
    vacuum = Dptt(problem, np.ones_like(problem.slices), batch=0, still=True).run_pass()
    assert abs(truth) < 1e-4 * vacuum


def test_passes_from_vacuum_find_the_slices(problem):
    contestant = Dptt(problem, np.ones_like(problem.slices), batch=0, still=False)
    assert problem.quality(problem.slices) == pytest.approx(1.0)
    losses = [contestant.run_pass() for _ in range(4)]
    assert losses[-1] < 0.3 * losses[0]
    assert problem.quality(contestant.slices()) > 0.7

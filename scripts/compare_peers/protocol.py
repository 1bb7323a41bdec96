"""How the comparison talks to a contestant, which runs in an environment of its own: a line of JSON each way.

``{"start": FILE, "batch": N, "from": "truth" or "vacuum", "still": false}`` is answered by the ``version``,
``{"pass": true}`` by ``seconds`` and ``loss``, ``{"slices": FILE}`` by a file with (slice, y, x), and
``{"memory": true}`` by the peak of the process in ``bytes``.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compare_peers.problem import Problem


class Contestant(Protocol):
    """A program that was given a problem."""

    version: str

    def run_pass(self) -> float:
        """Update object and probe with every pattern once; return the loss as the program tells it."""
        ...

    def slices(self) -> NDArray[np.complexfloating]:
        """Return the transmission functions now (slice, y, x), on the grid of the problem."""
        ...


def serve(start: Callable[[Problem, NDArray[np.complex128], int, bool], Contestant]) -> None:
    """Answer until the input ends; `start` takes problem, first slices, batch, and whether nothing moves."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the program prints is not an answer
    contestant: Contestant | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        if "start" in asked:
            problem = Problem.load(asked["start"])
            first = problem.slices if asked["from"] == "truth" else np.ones_like(problem.slices)
            contestant = start(problem, first, asked["batch"], asked["still"])
            answer = {"version": contestant.version}
        assert contestant is not None, "nothing was started"
        if "pass" in asked:
            began = time.perf_counter()
            loss = contestant.run_pass()
            answer = {"seconds": time.perf_counter() - began, "loss": loss}
        if "slices" in asked:
            np.save(asked["slices"], contestant.slices())
        if "memory" in asked:
            answer = {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

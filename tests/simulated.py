"""Simulated tilts as the tests want them: all at once, in memory."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dptt.simulation.acquisition import Acquisition
from dptt.simulation.diffraction import MultisliceSettings, expected_patterns
from dptt.simulation.series import SeriesSimulator, SimulatedTilt
from dptt.simulation.specimen import Specimen


def simulated_patterns(*arguments: Any, **named: Any) -> np.ndarray:
    """Return the chunks of `expected_patterns` as one array."""
    return np.concatenate(list(expected_patterns(*arguments, **named)))


def simulated_tilts(
    specimen: Specimen,
    acquisition: Acquisition,
    settings: MultisliceSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[SimulatedTilt]:
    """Return all tilts of a series."""
    simulator = SeriesSimulator(specimen, acquisition, settings)
    return [simulator.tilt(index, progress) for index in range(len(acquisition.scheme.angles))]

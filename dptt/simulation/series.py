"""Simulation of the tilts of a series (`SeriesSimulator`): true patterns, with both nominal and true geometry."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float64
from torch import Tensor

from dptt.simulation.acquisition import Acquisition, Optics, Pose
from dptt.simulation.checks import require_at_most
from dptt.simulation.coherence import probe_modes, quadratures
from dptt.simulation.diffraction import MultisliceSettings, expected_patterns
from dptt.simulation.experiment import beam_current, detected, with_bad_pixels
from dptt.simulation.random_numbers import random_stream
from dptt.simulation.specimen import Specimen


@dataclass(frozen=True)
class SimulatedTilt:
    """One tilt of a series: its data, and its nominal and true geometry.

    Parameters
    ----------
    patterns
        (pos, ky, kx) electrons per pixel, zero angle at n//2: counts in the smallest unsigned type, or float32
        expectations if there is no shot noise.
    nominal_pose, true_pose
        Poses of the specimen.
    nominal_positions, true_positions
        Positions of the probe (pos, 2) as (y, x) [Å].
    """

    patterns: np.ndarray
    nominal_pose: Pose
    true_pose: Pose
    nominal_positions: Float64[np.ndarray, "pos 2"]
    true_positions: Float64[np.ndarray, "pos 2"]


MOST_PIXELS, MOST_VALUES = 1e9, 1e12
"""Of the detector, or positions of the scan; pixels in the slices of one tilt, 4 TB."""


def check_sizes(specimen: Specimen, acquisition: Acquisition, settings: MultisliceSettings) -> None:
    """Raise a ValueError if a tilt would need more than any computer has, or the wave does not hold the aperture."""
    optics, scheme = acquisition.optics, acquisition.scheme
    errors, detector = acquisition.errors, optics.detector_shape
    require_at_most("detector pixels", math.prod(detector), MOST_PIXELS, "Reduce detector_shape.")
    require_at_most("scan positions", math.prod(acquisition.scan.shape), MOST_PIXELS, "Reduce scan.shape.")
    require_at_most(
        "dead and hot pixels", errors.dead_pixels + errors.hot_pixels, math.prod(detector), "Reduce them."
    )
    require_at_most("pixels of blur", errors.blur, max(detector), "Reduce experiment.blur.")
    quadratures(optics)
    rows, columns = settings.wave_shape(optics)
    tilts = range(len(scheme.angles))
    reach = max(float(np.abs(acquisition.true_positions(index)).max()) for index in tilts) + scheme.translation_error
    across = 2 * max(reach, math.hypot(*specimen.extent) / 2)
    pixels = math.prod(
        (across / window + 1) * count for window, count in zip(optics.window, (rows, columns), strict=True)
    )
    slices = math.hypot(*specimen.extent) / settings.slice_thickness + 1
    cure = "Compare specimen, scan, source, slice_thickness, largest_angle and energy with their units."
    require_at_most("pixels in the slices of a tilt", pixels * slices, MOST_VALUES, cure)


class SeriesSimulator:
    """Simulates the tilts of a series one by one, in any order: each has random numbers of its own.

    Parameters
    ----------
    specimen, acquisition, settings
        What is measured, how it is measured, and how the waves are computed.
    device
        Where the waves are computed.
    """

    def __init__(
        self,
        specimen: Specimen,
        acquisition: Acquisition,
        settings: MultisliceSettings | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._specimen, self._acquisition = specimen, acquisition
        self._settings, self._device = settings or MultisliceSettings(), device
        self._poses = tuple(zip(acquisition.scheme.nominal_poses(), acquisition.scheme.true_poses(), strict=True))
        self._optics = acquisition.true_optics()
        self._modes_of: tuple[Optics, Complex[Tensor, "mode y x"]] | None = None

    def tilt(self, index: int, progress: Callable[[int], None] | None = None) -> SimulatedTilt:
        """Return the tilt with this number; `progress` is called with the number of patterns done.

        In memory are its patterns in their final type and, unless phonons are frozen, the expectations of a chunk.
        """
        acquisition, optics, (nominal, true) = self._acquisition, self._optics[index], self._poses[index]
        positions = acquisition.true_positions(index)
        shifts = acquisition.errors_of(index).pattern_shifts(acquisition.scan.nominal_positions())
        expected = expected_patterns(
            self._specimen,
            true,
            positions,
            modes=self._modes(optics),
            optics=optics,
            settings=self._settings,
            tilt_index=index,
            pattern_shifts=shifts if shifts.any() else None,
            progress=progress,
        )
        return SimulatedTilt(
            patterns=_counted(acquisition, index, expected),
            nominal_pose=nominal,
            true_pose=true,
            nominal_positions=acquisition.scan.nominal_positions(),
            true_positions=positions,
        )

    def _modes(self, optics: Optics) -> Complex[Tensor, "mode y x"]:
        """Return the probe; usually all tilts share one, whose modes are an eigenproblem."""
        if self._modes_of is None or self._modes_of[0] != optics:
            electrons = self._acquisition.exposure.electrons_per_pattern(self._acquisition.scan)
            shape, power_kept = self._settings.wave_shape(optics), self._settings.power_kept
            modes = probe_modes(optics, shape, electrons=electrons, power_kept=power_kept)
            self._modes_of = optics, modes.to(self._device)
        return self._modes_of[1]


def _counted(acquisition: Acquisition, index: int, expected: Iterable[np.ndarray]) -> np.ndarray:
    """Return what the detector counts in a tilt (pos, ky, kx), from chunks of its `expected` patterns."""
    exposure, errors = acquisition.exposure, acquisition.errors
    dose, current = acquisition.errors_of(index).dose, beam_current(errors, index)
    noise = random_stream("shot noise", exposure.seed, index)
    shape = (math.prod(acquisition.scan.shape), *acquisition.optics.detector_shape)
    patterns = np.empty(shape, np.uint8 if exposure.shot_noise else np.float32)
    filled = 0
    for chunk in expected:
        means = detected(errors, dose, chunk, current)
        counts = exposure.count(means, index, noise) if exposure.shot_noise else means
        patterns = patterns.astype(np.result_type(patterns, counts), copy=False)
        patterns[filled : filled + len(counts)] = counts
        filled += len(counts)
    return with_bad_pixels(errors, patterns)

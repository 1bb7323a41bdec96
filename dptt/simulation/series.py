"""Simulation of a whole tilt series (`simulate_series`): true patterns, with both nominal and true geometry."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from dptt.simulation.acquisition import Acquisition, Optics, Pose
from dptt.simulation.checks import require_at_most
from dptt.simulation.coherence import probe_modes, quadratures
from dptt.simulation.diffraction import MultisliceSettings, simulate_tilt
from dptt.simulation.experiment import detected, with_bad_pixels
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


def simulate_series(
    specimen: Specimen,
    acquisition: Acquisition,
    settings: MultisliceSettings | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[SimulatedTilt]:
    """Yield the tilts of a series in the order of the scheme, one in memory at a time.

    Parameters
    ----------
    specimen, acquisition, settings
        What is measured, how it is measured, and how the waves are computed.
    progress
        Called with (patterns done, number of all patterns) after each chunk of positions.
    device
        Where the waves are computed.
    """
    settings = settings or MultisliceSettings()
    scan, scheme, exposure = acquisition.scan, acquisition.scheme, acquisition.exposure
    electrons = exposure.electrons_per_pattern(scan)
    num_positions = math.prod(scan.shape)
    total = num_positions * len(scheme.angles)
    previous: Optics | None = None
    modes = torch.empty(0)
    for index, (nominal, true, optics) in enumerate(
        zip(scheme.nominal_poses(), scheme.true_poses(), acquisition.true_optics(), strict=True)
    ):
        if optics != previous:  # usually all tilts share one probe, whose modes are an eigenproblem
            shape = settings.wave_shape(optics)
            modes = probe_modes(optics, shape, electrons=electrons, power_kept=settings.power_kept).to(device)
            previous = optics

        def report(done: int, before: int = index * num_positions) -> None:
            if progress is not None:
                progress(before + done, total)

        positions, errors = acquisition.true_positions(index), acquisition.errors_of(index)
        shifts = errors.pattern_shifts(scan.nominal_positions())
        expected = simulate_tilt(
            specimen,
            true,
            positions,
            modes=modes,
            optics=optics,
            settings=settings,
            tilt_index=index,
            pattern_shifts=shifts if shifts.any() else None,
            progress=report,
        )
        expected = detected(acquisition.errors, errors.dose, expected, index)
        counts = exposure.count(expected, index) if exposure.shot_noise else expected
        yield SimulatedTilt(
            patterns=with_bad_pixels(acquisition.errors, counts),
            nominal_pose=nominal,
            true_pose=true,
            nominal_positions=scan.nominal_positions(),
            true_positions=positions,
        )

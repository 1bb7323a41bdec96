"""A whole tilt series: every tilt in its true pose, with shot noise, and beside it what the microscope reports."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from dptt.simulation.acquisition import Exposure, Optics, Pose, Scan, TiltScheme
from dptt.simulation.coherence import probe_modes
from dptt.simulation.diffraction import MultisliceSettings, simulate_tilt
from dptt.simulation.specimen import Specimen


@dataclass(frozen=True)
class SimulatedTilt:
    """One tilt of a series: data, what the microscope reports, and the truth.

    Parameters
    ----------
    patterns
        (pos, ky, kx) electrons per pixel, zero angle at n//2: counts in the smallest unsigned type, or float32
        expectations where there is no shot noise.
    nominal_pose, true_pose
        Of the specimen.
    nominal_positions, true_positions
        Of the probe (pos, 2) as (y, x) [Å].
    """

    patterns: np.ndarray
    nominal_pose: Pose
    true_pose: Pose
    nominal_positions: Float64[np.ndarray, "pos 2"]
    true_positions: Float64[np.ndarray, "pos 2"]


def simulate_series(
    specimen: Specimen,
    optics: Optics,
    scan: Scan,
    scheme: TiltScheme,
    exposure: Exposure,
    settings: MultisliceSettings | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[SimulatedTilt]:
    """Yield the tilts of a series in the order of the scheme, one in memory at a time.

    Parameters
    ----------
    specimen, optics, scan, scheme, exposure, settings
        What is measured and how.
    progress
        Called with (patterns done, patterns in all) after each chunk of positions.
    device
        Where the waves are computed.
    """
    settings = settings or MultisliceSettings()
    electrons = exposure.electrons_per_pattern(scan)
    num_positions = math.prod(scan.shape)
    total = num_positions * len(scheme.angles)
    lens, modes = None, torch.empty(0)
    for index, (nominal, true, here) in enumerate(
        zip(scheme.nominal_poses(), scheme.true_poses(), scheme.true_optics(optics), strict=True)
    ):
        positions = scan.true_positions(index)
        if here != lens:  # mostly all tilts share one probe, whose modes are an eigenproblem
            shape = settings.wave_shape(here)
            modes = probe_modes(here, shape, electrons=electrons, power_kept=settings.power_kept).to(device)
            lens = here

        def report(done: int, before: int = index * num_positions) -> None:
            if progress is not None:
                progress(before + done, total)

        expected = simulate_tilt(
            specimen,
            true,
            positions,
            modes,
            here,
            settings,
            tilt_index=index,
            progress=report,
        )
        patterns = exposure.count(expected, index) if exposure.shot_noise else expected
        yield SimulatedTilt(patterns, nominal, true, scan.nominal_positions(), positions)

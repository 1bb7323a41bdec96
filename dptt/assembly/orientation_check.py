"""Short reconstructions of one tilt in competing orientations, for when shifts and curl do not decide.

A non-absorbing specimen and its twin (scan rotated by 180°, defocus reversed, V(r) -> -V(-r)) give the same patterns.
These reconstructions force the potential to be positive, so only one of the two can fit.
"""

import math
from dataclasses import replace

import numpy as np

from dptt.assembly.brightfield import file_orientation
from dptt.assembly.descan import with_descan
from dptt.assembly.geometry import Experiment, plan_geometry
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.ptychography import build_tilt_problem, slice_geometry
from dptt.assembly.start import series_start
from dptt.config import Config
from dptt.config.reconstruction import PtychographyConfig, VolumeConfig
from dptt.distributed.mesh import Mesh
from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.patterns import Loaded
from dptt.model.read_ahead import ReadAhead
from dptt.solvers.brightfield import OpticalEstimate, Orientation
from dptt.solvers.tomography import EpochRecord, NonFiniteLossError, reconstruct

POSITIONS = 24
"""Positions per side of the square in the middle of the scan that is reconstructed."""
CHOICE = PtychographyConfig(epochs=4, batches=8, validation_fraction=0.1)


def held_out_losses(config: Config, series: TiltSeries, tilt: Tilt, estimate: OpticalEstimate) -> dict[str, float]:
    """Return the held-out loss per electron of every orientation after a few epochs; infinite if it diverged.

    The orientations are the estimate, its twin, the other parity at its own best rotation, and the file's orientation
    with the aberrations of the estimate.
    """
    other = estimate.curls[int(not estimate.orientation.transposed)]
    settings = {
        "recommended": estimate,
        "its twin": estimate.twin(),
        "the other parity": replace(
            estimate, orientation=Orientation(other.rotation, not estimate.orientation.transposed)
        ),
        "the file's orientation": replace(estimate, orientation=file_orientation(tilt)),
    }
    return {name: _held_out_loss(config, series, tilt, setting) for name, setting in settings.items()}


def losses_sentence(losses: dict[str, float]) -> str:
    """Return the losses as a sentence."""
    listing = ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
    return f"held-out loss per electron of short reconstructions with positive potentials: {listing}"


def _held_out_loss(config: Config, series: TiltSeries, tilt: Tilt, setting: OpticalEstimate) -> float:
    turn = (setting.orientation.matrix() @ file_orientation(tilt).matrix().T).numpy()
    known = series_start(series)[tilt.name]
    start = replace(known, scan_positions=known.scan_positions @ turn.T, aberrations=setting.aberrations, probe=None)
    start = with_descan(start, tilt, series)
    chosen = _middle(tilt)
    volume = plan_series_geometry(config, series)
    thickness = volume.volume_shape[0] * volume.voxel_size[0]
    grid = plan_geometry(
        VolumeConfig(thickness=thickness, num_slices=1),
        Experiment(
            energy=series.energy,
            semiangle=series.semiangle_cutoff,
            angular_sampling=series.angular_sampling,
            detector_shape=tilt.detector_shape,
            positions={tilt.name: start.scan_positions[chosen]},
        ),
    )
    geometry = slice_geometry(CHOICE, grid, series.semiangle_cutoff)
    records: list[EpochRecord] = []
    with ReadAhead[Loaded]() as ahead:
        problem = build_tilt_problem(
            CHOICE,
            series,
            tilt,
            kind=config.volume.kind,
            start=start,
            geometry=geometry,
            selection=chosen,
            ahead=ahead,
        )
        try:
            reconstruct(problem.state, [problem.patterns], geometry, problem.settings, Mesh.serial(), records.append)
        except NonFiniteLossError:
            return math.inf
    return records[-1].held_out_loss or math.inf


def _middle(tilt: Tilt) -> np.ndarray:
    """Return the indices of the middle of the raster."""
    assert tilt.scan_shape is not None, "the bright field needs a raster"
    rows, columns = (np.arange(n)[max(0, (n - POSITIONS) // 2) :][:POSITIONS] for n in tilt.scan_shape)
    return (rows[:, None] * tilt.scan_shape[1] + columns).ravel()

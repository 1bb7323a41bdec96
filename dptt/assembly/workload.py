"""From a configuration and its series to the numbers that determine the cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dptt.assembly.geometry import plan_geometry
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.simulation import build_optics, build_scan, build_scheme, simulated_experiment
from dptt.assembly.start import TiltStart, series_start
from dptt.config import Config, ConfigError
from dptt.config.reconstruction import PtychographyConfig, SolverConfig
from dptt.io.dataset import Tilt, TiltSeries
from dptt.kernels import cpu
from dptt.model.forward import Geometry
from dptt.planning.workload import Workload, halo

COUNT_BYTES = 2
"""Size of a detector pixel with shot noise, in a series that is not simulated yet."""
EXPECTED_BYTES = 4
"""The same without shot noise."""


def plan_workload(config: Config) -> Workload:
    """Return the workload of the reconstruction, of the series or, before it exists, of its simulation.

    Raises
    ------
    ConfigError
        There is neither a series nor a simulation that determines its size.
    """
    if config.series.exists():
        with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
            return series_workload(config, series)
    if config.simulation is None:
        raise ConfigError(
            f"{config.series}: there is no such file, and no `simulation` section to tell how large the series will "
            "be. Write the series first, with `dptt import`."
        )
    return simulation_workload(config)


def series_workload(config: Config, series: TiltSeries, starts: Mapping[str, TiltStart] | None = None) -> Workload:
    """Return the workload of an open series; no pattern is read. `starts` are those of the file if left out."""
    tilts = [tilt for tilt in series.tilts if tilt.name not in config.reconstruction.exclude]
    if not tilts:
        raise ConfigError("reconstruction.exclude names every tilt of the series; expected at least one to remain")
    starts = starts or series_start(series)
    geometry = plan_series_geometry(config, series, starts)
    probe = starts[tilts[0].name].probe
    return _workload(
        config,
        geometry,
        positions=[starts[tilt.name].scan_positions for tilt in tilts],
        poses=[(starts[tilt.name].euler_angles, starts[tilt.name].translation[0]) for tilt in tilts],
        modes=config.reconstruction.probe.modes if probe is None else len(probe),
        pixel_bytes=max(tilt.dtype.itemsize for tilt in tilts),
    )


def ptychography_workload(
    options: PtychographyConfig, kind: str, geometry: Geometry, tilts: Sequence[Tilt], starts: Mapping[str, TiltStart]
) -> Workload:
    """Return the workload of the most expensive of the `tilts`, alone; `kind` is that of the volume."""
    probes = [starts[tilt.name].probe for tilt in tilts]
    window = geometry.window_shape
    return Workload(
        volume_shape=geometry.volume_shape,
        window_shape=window,
        num_slices=geometry.num_slices,
        modes=max(options.probe.modes if probe is None else len(probe) for probe in probes),
        pixels_per_voxel=geometry.pixels_per_voxel.prod().item(),
        tilts=1,
        patterns=max(tilt.num_positions for tilt in tilts),
        scan_rows=(0, geometry.volume_shape[1]),
        complex_volume=kind == "complex",
        copies_volume=True,  # there is no checkpoint within a tilt
        pattern_bytes=window[0] * window[1] * max(tilt.dtype.itemsize for tilt in tilts),
        **_solver_costs(options),
    )


def simulation_workload(config: Config) -> Workload:
    """Return the workload of the series that `config.simulation` describes."""
    options = config.simulation
    assert options is not None
    optics, scheme = build_optics(options), build_scheme(options)
    scan = build_scan(options)
    return _workload(
        config,
        plan_geometry(config.volume, simulated_experiment(optics, scan, scheme)),
        positions=[scan.nominal_positions()] * len(scheme.angles),
        poses=[((0.0, theta, 0.0), 0.0) for theta in scheme.angles],
        modes=config.reconstruction.probe.modes,
        pixel_bytes=COUNT_BYTES if options.shot_noise else EXPECTED_BYTES,
    )


def _workload(
    config: Config,
    geometry: Geometry,
    *,
    positions: Sequence[np.ndarray],
    poses: Sequence[tuple[tuple[float, float, float], float]],
    modes: int,
    pixel_bytes: int,
) -> Workload:
    options, interval = config.reconstruction, config.distribution.checkpoint_interval
    height, window = geometry.volume_shape[1], geometry.window_shape
    seen, pixel = geometry.on_voxels.window_shape[0], geometry.voxel_size[1]
    rows = np.round(np.concatenate(positions)[:, 0] / pixel) + height // 2 - seen // 2
    halos = [
        halo(angles, shift / geometry.voxel_size[1], geometry.volume_shape, geometry.voxel_size)
        for angles, shift in poses
    ]
    used = [
        len(range(options.offset, len(of_tilt), options.every)) / (2 if config.half else 1) for of_tilt in positions
    ]
    return Workload(
        volume_shape=geometry.volume_shape,
        window_shape=window,
        num_slices=geometry.num_slices,
        modes=modes,
        pixels_per_voxel=geometry.pixels_per_voxel.prod().item(),
        tilts=len(positions),
        patterns=round(float(np.mean(used))),
        scan_rows=(int(rows.min()), int(rows.max())),
        complex_volume=config.volume.kind == "complex",
        compiled=options.precision != "double" and cpu.loaded() is not None,
        pattern_bytes=window[0] * window[1] * pixel_bytes,
        chunk_bytes=round(options.chunk_memory * 2**20),
        halo_rows=float(np.mean(halos)),
        halo_rows_most=max(halos),
        refines_probe=options.probe.from_epoch is not None,
        refines_positions=options.positions.from_epoch is not None,
        refines_pose=options.angles.from_epoch is not None or options.translations.from_epoch is not None,
        skewed=options.angles.from_epoch is not None or any(phi or psi for (phi, _, psi), _ in poses),
        copies_volume=interval.epochs != 1,
        checkpoint_epochs=interval.epochs or 1,
        seconds_after_checkpoint=None if interval.epochs is not None else interval.seconds_after,
        **_solver_costs(options),
    )


def _solver_costs(options: SolverConfig) -> dict[str, Any]:
    """Return what ptychography and reconstruction have in common."""
    return {
        "epochs": options.epochs,
        "batches": options.batches,
        "held_out": options.validation_fraction,
        "real_bytes": 8 if options.precision == "double" else 4,
        "data_bytes": round(options.data_memory * 2**20),
        "filters_epochs": options.regularisation.butterworth_cutoff is not None,
        "filters_tilts": options.regularisation.layer_weight > 0,
    }

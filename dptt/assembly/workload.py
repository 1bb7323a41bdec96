"""From a configuration and what is known of its series to the numbers that decide the cost."""

from collections.abc import Mapping, Sequence

import numpy as np

from dptt.assembly.geometry import plan_geometry
from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.simulation import build_optics, build_scan, build_scheme, simulated_acquisition
from dptt.assembly.start import TiltStart, series_start
from dptt.config import Config, ConfigError
from dptt.config.reconstruction import PtychographyConfig
from dptt.io.dataset import Tilt, TiltSeries
from dptt.kernels import cpu
from dptt.model.forward import Geometry
from dptt.planning.workload import Workload, halo

COUNT_BYTES = 2
"""Of a detector pixel in a series that is not simulated yet, with shot noise."""
EXPECTED_BYTES = 4
"""The same without."""


def plan_workload(config: Config) -> Workload:
    """Return the reconstruction that `config` asks for, of its series or, before that exists, of its simulation.

    Raises
    ------
    ConfigError
        There is no series, and no simulation that says how large it will be.
    """
    if config.series.exists():
        with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
            return series_workload(config, series)
    if config.simulation is None:
        raise ConfigError(
            f"{config.series}: there is no such file, and no `simulation` section that says how large the series "
            "will be. Write it first, with `dptt import`."
        )
    return simulation_workload(config)


def series_workload(config: Config, series: TiltSeries, starts: Mapping[str, TiltStart] | None = None) -> Workload:
    """Return the reconstruction of an open series, from `starts` of its tilts if known; no pattern is read."""
    tilts = [tilt for tilt in series.tilts if tilt.name not in config.reconstruction.exclude]
    if not tilts:
        raise ConfigError("reconstruction.exclude names every tilt of the series; expected one to be left")
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
    choice: PtychographyConfig, kind: str, geometry: Geometry, tilts: Sequence[Tilt], starts: Mapping[str, TiltStart]
) -> Workload:
    """Return the ptychography of that of the `tilts` which needs most, alone; `kind` is that of the volume."""
    probes = [starts[tilt.name].probe for tilt in tilts]
    regularisation, window = choice.regularisation, geometry.window_shape
    return Workload(
        volume_shape=geometry.volume_shape,
        window_shape=window,
        num_slices=geometry.num_slices,
        modes=max(choice.probe.modes if probe is None else len(probe) for probe in probes),
        tilts=1,
        patterns=max(tilt.num_positions for tilt in tilts),
        epochs=choice.epochs,
        batches=choice.batches,
        scan_rows=(0, geometry.volume_shape[1]),
        held_out=choice.validation_fraction,
        complex_volume=kind == "complex",
        real_bytes=8 if choice.precision == "double" else 4,
        pattern_bytes=window[0] * window[1] * max(tilt.dtype.itemsize for tilt in tilts),
        data_bytes=round(choice.data_memory * 2**20),
        filters_epochs=regularisation.butterworth_cutoff is not None,
        filters_tilts=regularisation.layer_weight > 0,
    )


def simulation_workload(config: Config) -> Workload:
    """Return the reconstruction of the series that `config.simulation` describes."""
    choice = config.simulation
    assert choice is not None
    optics, scheme = build_optics(choice), build_scheme(choice)
    scan = build_scan(choice)
    return _workload(
        config,
        plan_geometry(config.volume, simulated_acquisition(optics, scan)),
        positions=[scan.nominal_positions()] * len(scheme.angles),
        poses=[((0.0, theta, 0.0), 0.0) for theta in scheme.angles],
        modes=config.reconstruction.probe.modes,
        pixel_bytes=COUNT_BYTES if choice.shot_noise else EXPECTED_BYTES,
    )


def _workload(
    config: Config,
    geometry: Geometry,
    positions: Sequence[np.ndarray],
    poses: Sequence[tuple[tuple[float, float, float], float]],
    modes: int,
    pixel_bytes: int,
) -> Workload:
    choices = config.reconstruction
    height, window = geometry.volume_shape[1], geometry.window_shape
    rows = np.round(np.concatenate(positions)[:, 0] / geometry.sampling[0]) + height // 2 - window[0] // 2
    halos = [
        halo(angles, shift / geometry.voxel_size[1], geometry.volume_shape, geometry.voxel_size)
        for angles, shift in poses
    ]
    used = [len(range(choices.offset, len(here), choices.every)) for here in positions]
    return Workload(
        volume_shape=geometry.volume_shape,
        window_shape=window,
        num_slices=geometry.num_slices,
        modes=modes,
        tilts=len(positions),
        patterns=round(float(np.mean(used))),
        epochs=choices.epochs,
        batches=choices.batches,
        scan_rows=(int(rows.min()), int(rows.max())),
        held_out=choices.validation_fraction,
        complex_volume=config.volume.kind == "complex",
        real_bytes=8 if choices.precision == "double" else 4,
        compiled=choices.precision != "double" and cpu.loaded() is not None,
        pattern_bytes=window[0] * window[1] * pixel_bytes,
        chunk_bytes=round(choices.chunk_memory * 2**20),
        data_bytes=round(choices.data_memory * 2**20),
        halo_rows=float(np.mean(halos)),
        halo_rows_most=max(halos),
        refines_probe=choices.probe.from_epoch is not None,
        refines_positions=choices.positions.from_epoch is not None,
        refines_pose=choices.angles.from_epoch is not None or choices.translations.from_epoch is not None,
        filters_epochs=choices.regularisation.butterworth_cutoff is not None,
        filters_tilts=choices.regularisation.layer_weight > 0,
    )

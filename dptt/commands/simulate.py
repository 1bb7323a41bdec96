"""`dptt simulate`: specimen -> tilt series with ground truth."""

from dptt import __version__
from dptt.assembly.geometry import geometry_problems, plan_geometry
from dptt.assembly.simulation import (
    build_optics,
    build_scan,
    build_scheme,
    build_specimen,
    check_simulation,
    series_header,
    simulated_experiment,
    simulated_tilts,
    simulated_truth,
)
from dptt.config import Config, ConfigError, config_yaml
from dptt.config.simulation import SimulationConfig
from dptt.io.dataset_writer import write_tilt_series
from dptt.logs import log, progress_bar
from dptt.runtime.device import compute_device, on_device
from dptt.runtime.provenance import now
from dptt.runtime.run_folder import writing_series


def simulate(config: Config, overwrite: bool = False) -> None:
    """Simulate the series of `config.simulation` and write it to `config.series`.

    Raises
    ------
    ConfigError
        There is no `simulation` section, or its specimen or microscope cannot be built.
    FileExistsError
        The series exists and `overwrite` is false.
    ProblemsError
        Another command is writing the series, or its folder is not writable.
    """
    settings = config.simulation
    if settings is None:
        raise ConfigError("the configuration has no `simulation` section. Add one to simulate a series")
    with writing_series(config.series, "simulate", overwrite):
        _simulate(config, settings, overwrite)


def _simulate(config: Config, settings: SimulationConfig, overwrite: bool) -> None:
    try:
        specimen = build_specimen(settings.specimen)
        optics, scan, scheme = build_optics(settings), build_scan(settings), build_scheme(settings)
        check_simulation(settings, specimen)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"simulation: {error}") from None
    device = compute_device(config.distribution.device)
    experiment = simulated_experiment(optics, scan)
    geometry = plan_geometry(config.volume, experiment)
    problems = geometry_problems(geometry, experiment, periodic=config.volume.periodic)
    if problems:
        raise ConfigError("simulation: " + " ".join(problems))
    extent = specimen.positions.max(0) - specimen.positions.min(0)
    log.info(
        f"specimen: {len(specimen.atomic_numbers)} atoms, "
        f"{extent[0]:.1f} x {extent[1]:.1f} x {extent[2]:.1f} Å (z, y, x)"
    )
    log.info(
        f"series: {len(scheme.angles)} tilts from {min(scheme.angles):g}° to {max(scheme.angles):g}°, "
        f"{scan.shape[0]} x {scan.shape[1]} positions, {settings.fluence:g} e/Å² per tilt" + on_device(device)
    )
    with progress_bar("simulate", "pattern") as progress:
        write_tilt_series(
            config.series,
            series_header(settings, f"dptt {__version__}", now(), config_yaml(config)),
            simulated_tilts(settings, specimen, progress.update, device),
            simulated_truth(settings, specimen, geometry.volume_shape, geometry.voxel_size),
            compression="gzip" if settings.shot_noise else None,
            overwrite=overwrite,
        )
    log.info(f"wrote {config.series} ({config.series.stat().st_size / 2**20:.1f} MiB)")

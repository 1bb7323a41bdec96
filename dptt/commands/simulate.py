"""`dptt simulate`: specimen -> tilt series with ground truth.

Every tilt that is complete is kept beside the series until all are: an interrupted simulation continues with the next
tilt, with the same result. Ranks share the tilts.
"""

import time
from dataclasses import dataclass
from functools import partial

from dptt import __version__
from dptt.assembly.geometry import geometry_problems, plan_geometry
from dptt.assembly.simulation import (
    Specimen,
    build_optics,
    build_scan,
    build_scheme,
    build_simulator,
    build_specimen,
    check_simulation,
    series_header,
    simulated_experiment,
    simulated_truth,
    simulation_identity,
    tilt_data,
)
from dptt.config import Config, ConfigError, config_yaml
from dptt.config.simulation import SimulationConfig
from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.errors import WriteError
from dptt.io.unfinished_series import UnfinishedSeries
from dptt.logs import duration, log, progress_bar
from dptt.model.forward import Geometry
from dptt.runtime.agreement import failing_together, on_first_rank
from dptt.runtime.device import compute_device, on_device
from dptt.runtime.provenance import now
from dptt.runtime.run_folder import writing_series
from dptt.runtime.shared_folder import refuse_missing
from dptt.runtime.stopping import Stop

SLOW = 5.0
"""[s] A tilt that takes longer has a line in the log."""
FORECAST = 60.0
"""[s] When the first tilt takes longer, the log says how long all of them will take."""


def simulate(
    config: Config, overwrite: bool = False, communicator: Communicator | None = None, stop: Stop | None = None
) -> None:
    """Simulate the series of `config.simulation` and write it to `config.series`; ranks share the tilts.

    Tilts that an interrupted simulation with the same settings has left are kept. One tilt at least is made, unless a
    signal has come before.

    Raises
    ------
    ConfigError
        There is no `simulation` section, or its specimen or microscope cannot be built.
    FileExistsError
        The series exists and `overwrite` is false.
    ProblemsError
        Another command is writing the series, or its folder is not writable.
    StoppedCleanly
        On every rank: `stop` ended the work after a tilt; complete tilts are kept.
    """
    settings, ranks = config.simulation, communicator or SerialCommunicator()
    if settings is None:
        raise ConfigError("the configuration has no `simulation` section. Add one to simulate a series")
    with writing_series(config.series, "simulate", overwrite, ranks):
        job = _prepare(config, settings)
        unfinished = UnfinishedSeries(config.series, simulation_identity(settings, job.specimen))
        try:
            _simulate(job, unfinished, overwrite, ranks, stop or Stop())
        except BaseException:
            unfinished.remove_if_empty()
            raise


@dataclass(frozen=True)
class _Job:
    """What is simulated."""

    config: Config
    settings: SimulationConfig
    specimen: Specimen
    angles: tuple[float, ...]
    """Of the tilts [degrees]."""
    geometry: Geometry
    """Of the truth."""

    @property
    def compression(self) -> str | None:
        """Counts of a detector have many zeros, expectations have none."""
        return "gzip" if self.settings.shot_noise else None


def _prepare(config: Config, settings: SimulationConfig) -> _Job:
    try:
        specimen = build_specimen(settings.specimen)
        optics, scan, scheme = build_optics(settings), build_scan(settings), build_scheme(settings)
        check_simulation(settings, specimen)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"simulation: {error}") from None
    experiment = simulated_experiment(optics, scan, scheme)
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
        f"{scan.shape[0]} x {scan.shape[1]} positions, {settings.fluence:g} e/Å² per tilt"
    )
    return _Job(config, settings, specimen, scheme.angles, geometry)


def _simulate(job: _Job, unfinished: UnfinishedSeries, overwrite: bool, ranks: Communicator, stop: Stop) -> None:
    missing = on_first_rank(ranks, partial(_missing, unfinished, len(job.angles)))
    reason, failure = "", None
    try:
        reason = _make_tilts(job, unfinished, missing[ranks.rank :: ranks.size], ranks, stop)
    except WriteError as error:
        failure = error  # the other ranks complete their tilts before all of them raise it
    with failing_together(ranks, job.config.series):
        if failure:
            raise failure
    stop.agree(ranks, reason, "a tilt")  # also a barrier: all files are complete
    on_first_rank(ranks, partial(_join, job, unfinished, overwrite))


def _missing(unfinished: UnfinishedSeries, count: int) -> list[int]:
    """Return the numbers of the tilts to be made; tilts of other settings are removed."""
    if discarded := unfinished.discard_others():
        log.info(f"{discarded} tilts of an interrupted simulation with other settings are discarded")
    missing = unfinished.missing(count)
    if len(missing) < count:
        log.info(f"{count - len(missing)} of {count} tilts are there from an interrupted simulation")
    return missing


def _make_tilts(job: _Job, unfinished: UnfinishedSeries, own: list[int], ranks: Communicator, stop: Stop) -> str:
    """Simulate the tilts of this rank; return why it ended early, nothing if it did not."""
    device = compute_device(job.config.distribution.device)
    log.info(f"{len(own)} tilts to simulate" + _shared(ranks) + on_device(device))
    simulator, (rows, columns) = build_simulator(job.settings, job.specimen, device), job.settings.scan.shape
    began, foretold = time.monotonic(), False
    with progress_bar("simulate", "pattern", ranks.rank) as progress:
        for made, number in enumerate(own):
            if reason := stop.reason() if made else stop.signal:
                return reason
            stop.begin_piece()

            def report(done: int, before: int = made * rows * columns) -> None:
                nonlocal foretold
                progress.update(before + done, len(own) * rows * columns)
                seconds = time.monotonic() - began
                if done and not (before or foretold) and seconds > FORECAST:
                    foretold, seconds = True, seconds * rows * columns / done
                    progress.say(
                        f"about {duration(seconds)} a tilt, and {duration(len(own) * seconds)} for {len(own)} tilts"
                    )

            with ranks.working(f"simulating tilt {number}", alone=True):
                tilt = simulator.tilt(number, report)
                unfinished.write(number, tilt_data(tilt, (rows, columns)), job.compression)
            stop.end_piece()
            seconds = (time.monotonic() - began) / (made + 1)
            if seconds > SLOW:
                progress.say(
                    f"tilt {number:04d} ({job.angles[number]:+.1f}°): {rows * columns / seconds:.3g} patterns/s, "
                    f"{duration(seconds)} a tilt; {_rest(len(own) - made - 1, seconds)}"
                )
    return ""


def _join(job: _Job, unfinished: UnfinishedSeries, overwrite: bool) -> None:
    """Write the series from its tilts, which are then removed."""
    series, geometry = job.config.series, job.geometry
    refuse_missing(series, unfinished.missing(len(job.angles)), len(job.angles), "simulated")
    write_tilt_series(
        series,
        series_header(job.settings, f"dptt {__version__}", now(), config_yaml(job.config)),
        unfinished.stored(len(job.angles)),
        simulated_truth(job.settings, job.specimen, geometry.volume_shape, geometry.voxel_size),
        overwrite=overwrite,
    )
    unfinished.remove()
    log.info(f"wrote {series} ({series.stat().st_size / 2**20:.1f} MiB)")


def _shared(ranks: Communicator) -> str:
    return f" on rank 0 of {ranks.size}" if ranks.size > 1 else ""


def _rest(tilts: int, seconds: float) -> str:
    """Return how many tilts are left, and how long they take at `seconds` each."""
    return f"{tilts} to go, about {duration(tilts * seconds)}" if tilts else "the last"

"""`dptt run`: every step of the configuration, in order; steps that are up to date are skipped.

    simulate | import -> validate -> brightfield -> ptycho -> align -> reconstruct -> atoms -> half-sets -> analyze
    -> report

A step is up to date if its result carries the identity that the present configuration gives it (`runtime.steps`). So
a changed setting repeats exactly the steps that depend on it, and an interrupted run continues where it ended.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dptt.commands.align import align
from dptt.commands.analyze import analyze
from dptt.commands.atoms import atoms
from dptt.commands.brightfield import brightfield
from dptt.commands.importing import import_series
from dptt.commands.ptycho import ptycho
from dptt.commands.reconstruct import reconstruct
from dptt.commands.report import report
from dptt.commands.simulate import simulate
from dptt.commands.validate import validate, validation_is_up_to_date
from dptt.config import Config, ConfigError, config_from_yaml
from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume
from dptt.logs import log
from dptt.report.page import identity_tag
from dptt.runtime.agreement import on_first_rank
from dptt.runtime.half_sets import half_configs, share_calibration, wants_half_sets
from dptt.runtime.results import analysis_identity, load_analysis
from dptt.runtime.same_input import check_same_series
from dptt.runtime.steps import is_up_to_date, series_checksum, step_identity, steps_of
from dptt.runtime.stopping import Stop, first_reason

REPORT = "report.html"


def run(config: Config, communicator: Communicator, stop: Stop | None = None, *, validated: bool = True) -> Path:
    """Run all steps and return the page of the report.

    Unless `validated` is false, the series is validated first, once: what makes a reconstruction meaningless stops
    the run, all else that is wrong is a warning.

    Raises
    ------
    ConfigError, ProblemsError
        From any step, on every rank; results of earlier steps are kept.
    StoppedCleanly
        On every rank: `stop` ended the run between two steps, or within a step.
    """
    stop = stop or Stop()
    make_series(config, communicator, stop)
    checksum = series_checksum(config)
    check_same_series(config, checksum, communicator)
    if validated:
        on_first_rank(communicator, lambda: _validate(config))
    _run_steps(config, steps_of(config), checksum, communicator, stop)
    if on_first_rank(communicator, partial(wants_half_sets, config)):
        make_half_sets(config, communicator, stop)
    stop.agree(communicator, stop.signal, "the previous step")
    on_first_rank(communicator, lambda: _analyze(config))
    stop.agree(communicator, stop.signal, "the analysis")
    on_first_rank(communicator, lambda: _report(config))
    stop.agree(communicator, stop.signal, "the report")
    return config.run / REPORT


def make_half_sets(config: Config, communicator: Communicator, stop: Stop) -> None:
    """Run the steps that are not up to date with each half of the patterns.

    Raises
    ------
    ProblemsError, StoppedCleanly
        As `run`.
    """
    checksum = series_checksum(config)
    for half in half_configs(config):
        _announce(communicator, f"half-set {half.half} of 2, in {half.run}")
        on_first_rank(communicator, partial(share_calibration, config, half))
        steps = [step for step in steps_of(half) if step != "brightfield"]
        _run_steps(half, steps, checksum, communicator, stop)


def _run_steps(config: Config, steps: Sequence[str], checksum: str, communicator: Communicator, stop: Stop) -> None:
    """Run the steps that are not up to date, in order."""
    worked = False
    for step in steps:
        identity = step_identity(step, config, checksum)
        if on_first_rank(communicator, partial(is_up_to_date, step, config, identity)):
            _announce(communicator, f"{step}: up to date")
            continue
        _end_before(step, communicator, stop, worked)
        worked = True
        _announce(communicator, f"{step}: starting")
        match step:
            case "brightfield":
                brightfield(config, identity, communicator)
            case "ptychography":
                ptycho(config, communicator, stop=stop)
            case "alignment":
                align(config, identity, communicator)
            case "reconstruction":
                reconstruct(config, communicator, restart_if_changed=True, stop=stop)
            case "atoms":
                atoms(config, identity, communicator, stop)


def _end_before(step: str, communicator: Communicator, stop: Stop, worked: bool) -> None:
    """End the run if there is a reason; a time limit that is over lets one step work, or restarts would never end."""
    if worked or stop.signal:
        stop.agree(communicator, stop.reason(), "the previous step")
        return
    stop.agree(communicator, stop.signal, "the start")
    if late := first_reason(communicator, stop.reason()):
        _warn(communicator, f"{late} before any step has begun; {step} works as long as it must, then the run ends")


def make_series(config: Config, communicator: Communicator | None = None, stop: Stop | None = None) -> None:
    """Simulate or import the series, unless it exists and was made with the same section; ranks share the work.

    Raises
    ------
    StoppedCleanly
        On every rank: `stop` ended a simulation after a tilt.
    """
    ranks = communicator or SerialCommunicator()
    section = on_first_rank(ranks, partial(_section_to_make, config))
    if section == "simulation":
        simulate(config, overwrite=True, communicator=ranks, stop=stop)
    elif section:
        import_series(config, overwrite=True, communicator=ranks)


def _section_to_make(config: Config) -> str | None:
    """Return the section that tells how the series is to be made; None if there is nothing to do."""
    sections = [name for name in ("simulation", "import_") if getattr(config, name) is not None]
    if not config.series.exists() and not sections:
        raise ConfigError(
            f"{config.series} does not exist, and the configuration has neither a `simulation` nor an `import` "
            "section to make it. Correct `series`, or add a section."
        )
    if not sections or (config.series.exists() and _made_by_same_sections(config, sections)):
        return None
    return sections[0]


def _validate(config: Config) -> None:
    """Validate the series, unless that is up to date, or foreign projections replace it."""
    if not config.series.exists():
        return
    if validation_is_up_to_date(config):
        log.info("== validate: up to date")
        return
    log.info("== validate: starting")
    validate(config, before_run=True)


def _made_by_same_sections(config: Config, sections: list[str]) -> bool:
    """Return whether the series was made with the same sections; `volume` sets the grid of a simulated truth."""
    try:
        with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
            before = config_from_yaml(series.header.config)
    except ValueError:
        return False
    compared = [*sections, "volume"] if "simulation" in sections else sections
    return all(getattr(before, name) == getattr(config, name) for name in compared)


def _analyze(config: Config) -> None:
    """Analyze the volume, unless that is up to date."""
    result = read_volume(config.run / "volume.h5")
    analysis = load_analysis(config.run) or {}
    if analysis.get("identity") == analysis_identity(config, result):
        log.info("== analysis: up to date")
        return
    analyze(config)


def _report(config: Config) -> None:
    """Write the report, unless there is one of this analysis."""
    page, identity = config.run / REPORT, (load_analysis(config.run) or {}).get("identity", "")
    if page.exists() and identity_tag(identity) in page.read_text("utf-8"):
        log.info("== report: up to date")
        return
    report(config.run)


def _announce(communicator: Communicator, message: str) -> None:
    if communicator.rank == 0:
        log.info(f"== {message}")


def _warn(communicator: Communicator, message: str) -> None:
    if communicator.rank == 0:
        log.warning(f"warning: {message}")

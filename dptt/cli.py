"""The command line. Torch is imported inside a command, so that `dptt --help` is instant."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dptt import __version__

if TYPE_CHECKING:
    from dptt.config import Config
    from dptt.distributed.launch import Placement

DESCRIPTION = "From a tilt series of 4D-STEM data to a 3D electrostatic potential."
CONFIG_COMMANDS = {
    "simulate": "specimen -> tilt series with ground truth",
    "import": "foreign 4D-STEM arrays -> tilt series",
    "validate": "check configuration, files, calibration and counts; lists all problems at once",
    "plan": "memory, time and best layout on 1 to N ranks, and the job script; needs no GPU",
    "run": "every step that the configuration asks for, skipping what is done",
    "brightfield": "optics and orientation of every tilt from its bright disk, with the evidence",
    "ptycho": "every tilt alone: its probe, scan positions and projected potential",
    "align": "projections of all tilts -> poses and a linear volume; IMOD and RELION files",
    "reconstruct": "tilt series -> volume; resumes an interrupted run",
    "analyze": "resolution, spectrum, atoms and poses of the volume",
}
SHARED = ("run", "brightfield", "ptycho", "align", "reconstruct")
"""Commands that share their work among the processes that a launcher starts."""

STOPPABLE = ("run", "ptycho", "reconstruct")
"""Commands that a signal or the time limit ends with everything complete."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, 85 if it is to be started again, or what `runtime.failures` says of its failure."""
    began = time.monotonic()
    # Before torch is loaded: threads of OpenMP that wait give their core to those of the compiled kernels within a
    # fraction of a millisecond, not after many.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    _settle_home()
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    for argument in rest:  # overrides may follow a flag, which argparse alone does not allow
        if "=" not in argument or argument.startswith("-") or not hasattr(options, "overrides"):
            parser.error(f"unrecognized argument: {argument}")
        options.overrides.append(argument)
    from dptt.distributed.failures import FailureSaid
    from dptt.distributed.launch import JoinError, LaunchError, detect_placement
    from dptt.logs import set_up_logging
    from dptt.runtime.failures import exit_code, explain, is_expected

    says = True  # what fails before the ranks have met is the same on all, so one says it
    try:
        placement = detect_placement(os.environ)
        says = placement.rank == 0
        if placement.size > 1 and options.command not in SHARED:
            raise LaunchError(
                f"`dptt {options.command}` runs as one process, {placement.launcher} started {placement.size}; "
                f"start it without a launcher (only {', '.join(SHARED)} share their work)"
            )
        set_up_logging(placement.rank)
        return _run(options, placement, began)
    except FailureSaid as said:
        return exit_code(said.__cause__)
    except (Exception, KeyboardInterrupt) as error:
        if not is_expected(error):
            raise
        if says or (isinstance(error, JoinError) and placement.local_rank == 0):
            print(explain(error), file=sys.stderr)
        return exit_code(error)


def _settle_home() -> None:
    """Give a user without a home, as in a container that runs under any number, one that does not exist.

    Libraries refuse to be imported without; there they find no settings, and keep no cache.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"


def _parser() -> argparse.ArgumentParser:
    from dptt.planning.options import add_options

    parser = argparse.ArgumentParser(prog="dptt", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"dptt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in CONFIG_COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, see jobs/configs")
        command.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
        if name in ("simulate", "import"):
            command.add_argument("--overwrite", action="store_true", help="replace an existing series")
        if name in ("brightfield", "ptycho"):
            command.add_argument("--share", metavar="K/N", help="share K = 0..N-1 of N of the tilts, for job arrays")
        if name == "plan":
            add_options(command)
        if name == "reconstruct":
            command.add_argument("--restart", action="store_true", help="forget an earlier run's checkpoint")
    report = commands.add_parser("report", help="one HTML page and an .mrc file of a run")
    report.add_argument("run", type=Path, metavar="RUN", help="folder of a reconstruction")
    return parser


def _run(options: argparse.Namespace, placement: "Placement", began: float) -> int:
    if options.command == "report":
        from dptt.commands.report import report

        report(options.run)
        return 0
    from dptt.config import load_config

    config = load_config(options.config, options.overrides)
    match options.command:
        case "simulate":
            from dptt.commands.simulate import simulate

            simulate(config, options.overwrite)
        case "import":
            from dptt.commands.importing import import_series

            import_series(config, options.overwrite)
        case "validate":
            from dptt.commands.validate import validate

            validate(config)
        case "plan":
            from dptt.commands.plan import plan
            from dptt.planning.options import plan_choices

            print(plan(config, options.config, options.overrides, plan_choices(options)))
        case "analyze":
            from dptt.commands.analyze import analyze

            analyze(config)
        case _:
            return _run_shared(options, placement, config, began)
    return 0


def _run_shared(options: argparse.Namespace, placement: "Placement", config: "Config", began: float) -> int:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the watch says who died, torch would add its C++ stacks
    from dptt.distributed.joining import open_communicator
    from dptt.distributed.share import Share
    from dptt.runtime.alike import check_same_choices, check_same_series
    from dptt.runtime.failures import explain
    from dptt.runtime.steps import current_identity
    from dptt.runtime.stopping import clean_stop

    share = Share.parse(getattr(options, "share", None))
    listen = options.command in STOPPABLE
    choices = config.distribution
    with (
        open_communicator(placement, choices.backend, choices.patience, explain) as communicator,
        clean_stop(choices.time_limit, began, listen) as stop,
    ):
        check_same_choices(config, communicator)

        def identity_of(step: str) -> str:
            identity = current_identity(step, config)
            check_same_series(config, identity, communicator)
            return identity

        match options.command:
            case "run":
                from dptt.commands.run import run

                run(config, communicator, stop)
            case "brightfield":
                from dptt.commands.brightfield import brightfield

                brightfield(config, identity_of("brightfield"), communicator, share)
            case "ptycho":
                from dptt.commands.ptycho import ptycho

                ptycho(config, communicator, share, stop)
            case "align":
                from dptt.commands.align import align

                align(config, identity_of("alignment"), communicator)
            case "reconstruct":
                from dptt.commands.reconstruct import reconstruct

                reconstruct(config, communicator, options.restart, stop=stop)
    return stop.exit_code

"""The command line. Torch is imported inside a command, so that `dptt --help` is instant."""

import argparse
import os
import sys
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
    "run": "every step that the configuration asks for, skipping what is done",
    "brightfield": "optics and orientation of every tilt from its bright disk, with the evidence",
    "ptycho": "every tilt alone: its probe, scan positions and projected potential",
    "align": "projections of all tilts -> poses and a linear volume; IMOD and RELION files",
    "reconstruct": "tilt series -> volume; resumes an interrupted run",
    "analyze": "resolution, spectrum, atoms and poses of the volume",
}
SHARED = ("run", "ptycho", "align", "reconstruct")
"""Commands that share their work among the processes that a launcher starts."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, or 2 for bad input, 1 for a run that failed."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    for argument in rest:  # overrides may follow a flag, which argparse alone does not allow
        if "=" not in argument or argument.startswith("-") or not hasattr(options, "overrides"):
            parser.error(f"unrecognized argument: {argument}")
        options.overrides.append(argument)
    from dptt.config import ConfigError
    from dptt.distributed.launch import LaunchError, detect_placement
    from dptt.io.errors import ProblemsError
    from dptt.logs import log, set_up_logging

    rank = 0
    try:
        placement = detect_placement(os.environ)
        rank = placement.rank
        if placement.size > 1 and options.command not in SHARED:
            raise LaunchError(
                f"`dptt {options.command}` runs as one process, {placement.launcher} started {placement.size}; "
                f"start it without a launcher (only {', '.join(SHARED)} share their work)"
            )
        set_up_logging(rank)
        _run(options, placement)
    except (ConfigError, ProblemsError, LaunchError, FileExistsError) as error:
        if rank == 0:  # the same on every rank, so said once
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        log.warning("interrupted; the same command resumes from the last complete epoch")
        return 130
    except RuntimeError as error:
        if type(error).__name__ != "NonFiniteLossError":
            raise
        if rank == 0:
            print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dptt", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"dptt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in CONFIG_COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, see jobs/configs")
        command.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
        if name in ("simulate", "import"):
            command.add_argument("--overwrite", action="store_true", help="replace an existing series")
        if name == "reconstruct":
            command.add_argument("--restart", action="store_true", help="forget an earlier run's checkpoint")
    report = commands.add_parser("report", help="one HTML page and an .mrc file of a run")
    report.add_argument("run", type=Path, metavar="RUN", help="folder of a reconstruction")
    return parser


def _run(options: argparse.Namespace, placement: "Placement") -> None:
    if options.command == "report":
        from dptt.pipeline.report import report

        report(options.run)
        return
    from dptt.config import load_config

    config = load_config(options.config, options.overrides)
    match options.command:
        case "simulate":
            from dptt.pipeline.simulate import simulate

            simulate(config, options.overwrite)
        case "import":
            from dptt.pipeline.importing import import_series

            import_series(config, options.overwrite)
        case "validate":
            from dptt.pipeline.validate import validate

            validate(config)
        case "brightfield":
            from dptt.pipeline.brightfield import brightfield
            from dptt.pipeline.steps import current_identity

            brightfield(config, current_identity("brightfield", config))
        case "analyze":
            from dptt.pipeline.analyze import analyze

            analyze(config)
        case _:
            _run_shared(options, placement, config)


def _run_shared(options: argparse.Namespace, placement: "Placement", config: "Config") -> None:
    from dptt.distributed.comm import open_communicator
    from dptt.pipeline.align import align
    from dptt.pipeline.ptycho import ptycho
    from dptt.pipeline.reconstruct import reconstruct
    from dptt.pipeline.run import run
    from dptt.pipeline.steps import current_identity

    with open_communicator(placement) as communicator:
        match options.command:
            case "run":
                run(config, communicator)
            case "ptycho":
                ptycho(config, communicator)
            case "align":
                align(config, current_identity("alignment", config), communicator)
            case "reconstruct":
                reconstruct(config, communicator, options.restart)

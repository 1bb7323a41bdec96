"""The command line: parse the arguments and call the command.

Torch is imported inside a command, so that `dptt --help` is instant.
"""

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dptt import __version__

if TYPE_CHECKING:
    from dptt.config import Config
    from dptt.distributed.launch import Placement
    from dptt.runtime.stopping import Signals

DESCRIPTION = "From a tilt series of 4D-STEM data to a 3D electrostatic potential."
COMMANDS = {
    "init": "write a commented configuration for your data: from its files, and from what it asks",
    "example": "make an example series, or write a shipped configuration, to try dptt on",
    "simulate": "simulate a tilt series of a specimen, with ground truth",
    "import": "import 4D-STEM arrays as one tilt series",
    "validate": "check configuration, files, calibration and patterns; report all errors and warnings at once",
    "plan": "estimate memory and time, recommend a layout, and write the job script; needs no GPU",
    "run": "run every step of the configuration; steps that are up to date are skipped",
    "brightfield": "estimate optics and scan orientation of every tilt from its bright disk",
    "ptycho": "reconstruct every tilt alone: its probe, scan positions and projected potential",
    "align": "align the projections of all tilts: poses, a linear volume, IMOD and RELION files",
    "reconstruct": "reconstruct the volume from the tilt series; resumes an interrupted run",
    "atoms": "fit atoms to the patterns: coordinates, elements and error bars; needs the volume",
    "analyze": "measure resolution, spectrum, atoms and poses of the volume",
    "report": "write an HTML page and an .mrc file of a run",
    "watch": "serve a live page of a running job to the browser of this machine",
    "compare": "write one page that shows several runs beside each other",
    "export": "write volume, atoms, poses or curves of a run for other programs",
    "doctor": "tell what is installed, what it gives, what is missing, and how to get it",
    "schema": "print the JSON schema of configurations, for editors",
    "completion": "print the script that completes commands and settings in your shell",
}
"""Command -> what `dptt --help` says; all but `WITHOUT_CONFIG` are called with a configuration."""

WITHOUT_CONFIG = (
    *("init", "example", "report", "watch", "compare", "export"),
    *("doctor", "schema", "completion"),
)
"""Commands that read no configuration."""

SHARED = ("simulate", "import", "run", "brightfield", "ptycho", "align", "reconstruct", "atoms")
"""Commands that share their work among the processes that a launcher starts."""

OF_SERIES = ("simulate", "import")
"""Commands whose only result is the series: they write nothing into the run folder, on any number of ranks."""

STOPPABLE = ("simulate", "run", "ptycho", "reconstruct", "atoms")
"""Commands that a signal or the time limit ends early with everything complete."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, 85 if the same command is to be started again, or the code of its failure.

    The codes of failures are those of `runtime.failures`.
    """
    began = time.monotonic()
    from dptt.runtime.environment import prepare_environment

    prepare_environment()
    options = _parse(arguments)
    from dptt.distributed.failures import FailureSaid
    from dptt.distributed.launch import LaunchError, detect_placement
    from dptt.logs import set_up_logging
    from dptt.runtime.early_failure import say_early_failure
    from dptt.runtime.failures import exit_code, explain, is_expected
    from dptt.runtime.stopping import listening

    placement = None
    try:
        placement = detect_placement(os.environ)
        if placement.size > 1 and options.command not in SHARED:
            raise LaunchError(
                f"`dptt {options.command}` runs as one process, but {placement.launcher} started {placement.size}. "
                f"Start it without a launcher; only {', '.join(SHARED)} share their work"
            )
        set_up_logging(placement.rank)
        with listening(options.command in STOPPABLE) as signals:
            return _run(options, placement, began, signals)
    except FailureSaid as failure:
        return exit_code(failure.__cause__)
    except (Exception, KeyboardInterrupt) as error:
        if placement is not None and placement.size > 1:
            say_early_failure(error, placement)
        elif is_expected(error):
            print(explain(error), file=sys.stderr)
        else:
            raise
        return exit_code(error)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    from dptt.arguments import check_command, complete, settings_among

    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        complete(parser)
    check_command(parser, arguments, COMMANDS)
    options, rest = parser.parse_known_args(arguments)
    if rest:  # overrides may follow a flag, which argparse alone does not allow
        options.overrides = [*getattr(options, "overrides", ()), *settings_among(rest, options.parser, arguments)]
    return options


def _parser() -> argparse.ArgumentParser:
    from dptt.arguments import add_settings, declare
    from dptt.planning.options import add_options

    parser = argparse.ArgumentParser(prog="dptt", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"dptt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(parser=command)
        if name in WITHOUT_CONFIG:
            declare(name, command)
            continue
        command.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, see jobs/configs")
        add_settings(command)
        if name in OF_SERIES:
            command.add_argument("--overwrite", action="store_true", help="replace an existing series")
        if name in ("brightfield", "ptycho"):
            command.add_argument("--share", metavar="K/N", help="share K = 0..N-1 of N of the tilts, for job arrays")
        if name == "plan":
            add_options(command)
        if name == "run":
            command.add_argument("--no-validate", action="store_true", help="do not check the series first")
        if name == "reconstruct":
            command.add_argument("--restart", action="store_true", help="discard the checkpoint of an earlier run")
    return parser


def _run(options: argparse.Namespace, placement: "Placement", began: float, signals: "Signals") -> int:
    if options.command in WITHOUT_CONFIG:
        return _run_without_config(options)
    from dptt.config import load_config

    config = load_config(options.config, options.overrides)
    match options.command:
        case "validate":
            from dptt.commands.validate import validate
            from dptt.runtime.run_folder import writing_into

            with writing_into(config.run, "validate", series=config.series):
                validate(config)
        case "plan":
            from dptt.commands.plan import plan, plan_atoms
            from dptt.planning.options import plan_choices
            from dptt.runtime.run_folder import writing_into

            with writing_into(config.run, "plan", series=config.series):
                if options.atoms:
                    print(plan_atoms(config, options.precision))
                else:
                    print(plan(config, options.config, options.overrides, plan_choices(options)))
        case "analyze":
            from dptt.commands.analyze import analyze
            from dptt.runtime.run_folder import writing_into

            with writing_into(config.run, "analyze", series=config.series, create=False):
                analyze(config)
        case _:
            return _run_shared(options, placement, config, began, signals)
    return 0


def _run_without_config(options: argparse.Namespace) -> int:
    match options.command:
        case "init":
            from dptt.arguments import asks_a_person
            from dptt.commands.init import init

            init(
                options.data,
                options.overrides,
                output=options.output,
                overwrite=options.overwrite,
                ask=asks_a_person(),
            )
        case "example":
            from dptt.commands.example import example

            example(options.name, options.output, overwrite=options.overwrite)
        case "report":
            from dptt.commands.report import report
            from dptt.runtime.run_folder import writing_into

            with writing_into(options.run, "report", create=False):
                report(options.run)
        case "watch":
            from dptt.commands.watch import watch

            watch(options.run, port=options.port, socket_path=options.socket)
        case "compare":
            from dptt.commands.compare import compare

            compare(options.runs, options.output)
        case "export":
            from dptt.commands.export import export

            export(
                options.run, options.kind, output=options.output, overwrite=options.overwrite, element=options.element
            )
        case "doctor":
            from dptt.commands.doctor import doctor

            return doctor()
        case "schema":
            from dptt.commands.schema import schema

            schema(options.output)
        case "completion":
            from dptt.commands.completion import completion

            completion(options.shell)
    return 0


def _run_shared(
    options: argparse.Namespace, placement: "Placement", config: "Config", began: float, signals: "Signals"
) -> int:
    from dptt.runtime.environment import hide_stacks_of_torch

    hide_stacks_of_torch()
    from dptt.distributed.share import Share
    from dptt.runtime.run_folder import writing_into
    from dptt.runtime.same_input import agreed_identity
    from dptt.runtime.session import shared_session

    share, of_series = Share.parse(getattr(options, "share", None)), options.command in OF_SERIES
    makes_series = of_series or (options.command == "run" and (config.simulation or config.import_) is not None)
    session = shared_session(
        config, placement, began=began, signals=signals, of_series=of_series, reads_series=not makes_series
    )
    with (
        session as (ranks, stop),
        nullcontext() if of_series else writing_into(config.run, options.command, ranks, share, series=config.series),
    ):
        match options.command:
            case "simulate":
                from dptt.commands.simulate import simulate

                simulate(config, options.overwrite, ranks, stop)
            case "import":
                from dptt.commands.importing import import_series

                import_series(config, options.overwrite, ranks)
            case "run":
                from dptt.commands.run import run

                run(config, ranks, stop, validated=not options.no_validate)
            case "brightfield":
                from dptt.commands.brightfield import brightfield

                brightfield(config, agreed_identity("brightfield", config, ranks), ranks, share)
            case "ptycho":
                from dptt.commands.ptycho import ptycho

                ptycho(config, ranks, share, stop)
            case "align":
                from dptt.commands.align import align

                align(config, agreed_identity("alignment", config, ranks), ranks)
            case "reconstruct":
                from dptt.commands.reconstruct import reconstruct

                reconstruct(config, ranks, restart=options.restart, stop=stop)
            case "atoms":
                from dptt.commands.atoms import atoms

                atoms(config, agreed_identity("atoms", config, ranks), ranks, stop)
    return stop.exit_code

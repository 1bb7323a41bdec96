"""Arguments of the command line that are not what they should be: what was meant, and how it is written.

Settings are written without dashes, `reconstruction.epochs=20`, so `--epochs 20` is answered with that.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MOST_SUGGESTED = 3


def check_command(parser: argparse.ArgumentParser, arguments: Sequence[str], commands: Mapping[str, str]) -> None:
    """End with exit code 2 and what was meant, if the first argument is neither an option nor a command."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in commands:
        return
    word = arguments[0]
    if Path(word).suffix.lower() in (".yaml", ".yml"):
        parser.error(f"{word} is a configuration, not a command. Run it with `dptt run {' '.join(arguments)}`")
    if Path(word).exists():
        parser.error(f"{word} is a path, not a command. For a configuration of its data: `dptt init {word}`")
    similar = difflib.get_close_matches(word, commands, n=MOST_SUGGESTED, cutoff=0.6)
    meant = f"did you mean {' or '.join(f'`{name}`' for name in similar)}?" if similar else _listed(commands)
    parser.error(f"there is no command {word!r}; {meant}")


def settings_among(rest: Sequence[str], command: argparse.ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """Return `rest`, arguments that the parser of a command left over, if all are settings; else end with hints.

    Parameters
    ----------
    arguments
        Everything after `dptt`, to find the value that follows an option.
    """
    takes_settings = any(action.dest == "overrides" for action in command._actions)
    wrong = [word for word in rest if not takes_settings or "=" not in word or word.startswith("-")]
    values = [_value_after(word, arguments) for word in wrong if word.startswith("-")]
    hints = [_hint(command, word, arguments, takes_settings) for word in wrong if word not in values]
    if wrong:
        command.error("; ".join(hints))
    return list(rest)


def _hint(command: argparse.ArgumentParser, word: str, arguments: Sequence[str], takes_settings: bool) -> str:
    """Return what `word` should be: an option of the command, or a setting of the configuration."""
    if not word.startswith("-"):
        return f"unrecognized argument: {word}"
    name, _, value = word.partition("=")
    options = [option for action in command._actions for option in action.option_strings]
    similar = difflib.get_close_matches(name, options, n=1, cutoff=0.75)
    if similar:
        return f"unrecognized option {name}; did you mean {similar[0]}?"
    setting = _setting(name) if takes_settings else None
    if setting is None:
        return f"unrecognized option {name}; {command.prog} has {', '.join(options[1:])}"  # without -h
    value = value or _value_after(word, arguments) or "..."
    return f"unrecognized option {name}; settings have no dashes, write {setting}={value}"


def _value_after(option: str, arguments: Sequence[str]) -> str | None:
    """Return the argument after an option, if it may be its value."""
    following = arguments[arguments.index(option) + 1 :][:1]
    return following[0] if following and not following[0].startswith("-") and "=" not in following[0] else None


def _setting(name: str) -> str | None:
    from dptt.config import Config
    from dptt.config.settings import nearest_setting, setting_names

    return nearest_setting(name, list(setting_names(Config)))


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks for completions, and end; the script of `dptt completion` asks by a variable."""
    import argcomplete

    argcomplete.autocomplete(parser, default_completer=argcomplete.FilesCompleter())  # type: ignore[no-untyped-call]


def setting_completions(prefix: str, **_: object) -> list[str]:
    """Return the settings that begin with `prefix`, each with its `=`; called by argcomplete."""
    from dptt.config import Config
    from dptt.config.settings import setting_names

    return [f"{name}=" for name in setting_names(Config) if name.startswith(prefix)]


def add_settings(command: argparse.ArgumentParser, help_text: str = "changes to the configuration") -> None:
    """Declare the settings `section.key=value` at the end of a command."""
    settings = command.add_argument("overrides", nargs="*", metavar="section.key=value", help=help_text)
    settings.completer = setting_completions  # type: ignore[attr-defined]


def declare(name: str, command: argparse.ArgumentParser) -> None:
    """Declare the arguments of a command that reads no configuration."""
    add = command.add_argument
    match name:
        case "init":
            add(
                "data",
                nargs="?",
                type=Path,
                metavar="DATA",
                help="file or folder of your data; without it, a simulation",
            )
            add("overrides", nargs="*", metavar="section.key=value", help="answers, such as import.energy=300e3")
            add("-o", "--output", type=Path, metavar="FILE", help="configuration to write (default: DATA.yaml here)")
            add("--overwrite", action="store_true", help="replace existing files")
        case "example":
            add("name", nargs="?", metavar="NAME", help="an example; without it, all are listed")
            add("-o", "--output", type=Path, metavar="FOLDER", help="where to write it (default: NAME)")
            add("--overwrite", action="store_true", help="replace existing files")
        case "report":
            add("run", type=Path, metavar="RUN", help="folder of a run, finished or not")
        case "watch":
            add("run", type=Path, metavar="RUN", help="folder of a run, finished or not")
            add("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
            add("--socket", type=Path, metavar="FILE", help="a Unix socket instead, for `ssh -L`")
        case "compare":
            add("runs", type=Path, metavar="RUN", nargs="+", help="folders of runs")
            add("-o", "--output", type=Path, metavar="FILE", default=Path("comparison.html"), help="page to write")
        case "export":
            from dptt.io.exporters import EXPORTS

            add("run", type=Path, metavar="RUN", help="folder of a reconstruction")
            add("kind", metavar="KIND", help="one of: " + ", ".join(EXPORTS))
            add("-o", "--output", type=Path, metavar="PATH", help="file to write (default: in RUN)")
            add("--element", metavar="SYMBOL", help="element of all atoms, if it is not known (xyz, cif)")
            add("--overwrite", action="store_true", help="replace existing files")
        case "schema":
            add("-o", "--output", type=Path, metavar="FILE", help="write it to a file instead")
        case "completion":
            add("shell", choices=("bash", "zsh", "fish"), help="your shell")


def _listed(commands: Mapping[str, str]) -> str:
    return f"the commands are {', '.join(commands)}"


def asks_a_person() -> Callable[[str], str] | None:
    """Return the function that asks at the terminal; None where nobody can answer."""
    return input if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() else None

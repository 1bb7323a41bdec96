"""The run folder of a command, or its series: nobody else writes there, and nothing of dead writers is left."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from glob import escape
from pathlib import Path

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.share import WHOLE, Share
from dptt.io.errors import ProblemsError
from dptt.logs import log_file
from dptt.runtime.agreement import on_first_rank
from dptt.runtime.failures import BAD_INPUT, exit_code
from dptt.runtime.folder_lock import NAME, OF_SERIES, locked, refuse_others
from dptt.runtime.folders import no_empty_folder_left, prepare_folder, prepare_series

SHARES = f"{NAME}.share-*-of-*"
LOG = "run.log"
"""What the commands that wrote into a run folder logged, with times; shares of one command append to one file."""
VALIDATING = ("validate", "run")
"""Commands whose log is kept although they are refused: it has the table of the validation."""


@contextmanager
def writing_into(
    run: Path,
    command: str,
    communicator: Communicator | None = None,
    share: Share = WHOLE,
    *,
    series: Path | None = None,
    create: bool = True,
) -> Iterator[None]:
    """Let `command` alone write into the folder `run` during the block; rank 0 holds the lock for all ranks.

    Different shares of one command, the tasks of a job array, may write at the same time.

    Parameters
    ----------
    series
        The series; unfinished files of that name are kept, because they belong to the lock of the series.
    create
        Whether the folder is created if it does not exist. Otherwise there is nothing to lock.

    Raises
    ------
    ProblemsError
        On every rank: another command is writing into the folder.
    """
    with ExitStack() as held:
        if create or run.is_dir():
            keep = "" if series is None else series.name
            on_first_rank(
                communicator or SerialCommunicator(), lambda: held.enter_context(_alone(run, command, share, keep))
            )
        yield


@contextmanager
def writing_series(
    series: Path, command: str, overwrite: bool, communicator: Communicator | None = None
) -> Iterator[None]:
    """Let `command` alone write the file `series` during the block; rank 0 checks that it can, and holds the lock.

    Raises
    ------
    FileExistsError
        On every rank: the series exists and `overwrite` is false.
    ProblemsError
        On every rank: the series is a folder, its folder is not writable, or another command is writing the series.
    """
    communicator = communicator or SerialCommunicator()
    with ExitStack() as stack:
        on_first_rank(communicator, lambda: stack.enter_context(_series_alone(series, command, overwrite)))
        yield


@contextmanager
def _series_alone(series: Path, command: str, overwrite: bool) -> Iterator[None]:
    with no_empty_folder_left(series.parent):
        prepare_series(series, overwrite)
        with locked(series.parent, command, f"{OF_SERIES}{series.name}"):
            for partial in series.parent.glob(f".{escape(series.name)}.*.partial*"):
                partial.unlink(missing_ok=True)
            yield


@contextmanager
def _alone(run: Path, command: str, share: Share, keep: str) -> Iterator[None]:
    with no_empty_folder_left(run), _locked(run, command, share, keep):
        yield


@contextmanager
def _locked(run: Path, command: str, share: Share, keep: str) -> Iterator[None]:
    try:
        prepare_folder(run)
    except ProblemsError:  # the command says so, beside its other errors; it will write nothing
        yield
        return
    if not share.whole:
        named = f"{command} --share {share.number}/{share.count}"
        with locked(run, named, _share_name(share)), _logged(run, named, _share_name(share)):
            refuse_others(run, NAME)
            yield
        return
    with locked(run, command):
        refuse_others(run, SHARES)
        _remove_partials(run, keep)
        with _logged(run, command, NAME):
            yield


@contextmanager
def _logged(run: Path, command: str, lock: str) -> Iterator[None]:
    """Keep a log, unless the command is refused and there is nothing else in the run folder."""
    new = not (run / LOG).exists()
    try:
        with log_file(run / LOG, command):
            yield
    except Exception as error:
        refused = new and exit_code(error) == BAD_INPUT and command not in VALIDATING
        if refused and {path.name for path in run.iterdir()} == {LOG, lock}:
            (run / LOG).unlink()
        raise


def _share_name(share: Share) -> str:
    return f"{NAME}.share-{share.number}-of-{share.count}"


def _remove_partials(run: Path, keep: str) -> None:
    """Remove the temporary files of killed writers; nobody else writes now."""
    for pattern in (".*.partial*", "*/.*.partial*"):
        for path in run.glob(pattern):
            if NAME not in path.name and not (keep and path.name.startswith(f".{keep}.")):
                path.unlink(missing_ok=True)

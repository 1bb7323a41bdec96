"""The folder of a result: one that the user names, or a temporary one that lasts as long as the result is in use."""

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dptt.config import Config
from dptt.distributed.comm import Communicator
from dptt.distributed.launch import LaunchError, detect_placement
from dptt.runtime.run_folder import writing_into
from dptt.runtime.session import shared_session
from dptt.runtime.stopping import Signals, Stop, StoppedCleanly

EARLIER = ("brightfield.h5", "ptychography.h5", "ptychography/*.h5", "alignment.h5")
"""Results on which a later step builds."""


class Folder:
    """A folder for results.

    Parameters
    ----------
    path
        The folder. None makes a temporary one, removed when nothing refers to this object any more.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.temporary = path is None
        self.path = Path(tempfile.mkdtemp(prefix="dptt-")) if path is None else path
        if self.temporary:
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def take_over(self, earlier: Path) -> None:
        """Let the results of earlier steps in the folder `earlier` be found in this one as well.

        Hard links, or copies where the file system has none: a file of results is replaced, never changed.
        """
        if earlier.resolve() == self.path.resolve():
            return
        for source in (found for pattern in EARLIER for found in sorted(earlier.glob(pattern))):
            target = self.path / source.relative_to(earlier)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)


@contextmanager
def working(config: Config, command: str) -> Iterator[tuple[Communicator, Stop]]:
    """Let this process alone work on `config.run` during the block, as `command` does.

    Raises
    ------
    LaunchError
        A launcher started several processes.
    ProblemsError
        Another command is writing into the folder.
    StoppedCleanly
        `distribution.time_limit` ended the work; the same call continues it in the same folder.
    """
    placement = detect_placement(os.environ)
    if placement.size > 1:
        raise LaunchError(
            f"dptt.{command} runs as one process, but {placement.launcher} started {placement.size}. Start Python "
            f"without a launcher, or use the command `dptt {command}`, which shares its work among processes"
        )
    with shared_session(config, placement, began=time.monotonic(), signals=Signals()) as (communicator, stop):
        with writing_into(config.run, command, communicator, series=config.series):
            yield communicator, stop
    if stop.exit_code:
        raise StoppedCleanly(
            f"distribution.time_limit ended dptt.{command}; everything so far is in {config.run}. Call it again with "
            f"run={str(config.run)!r} to continue"
        )

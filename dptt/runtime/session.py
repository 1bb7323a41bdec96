"""The ranks of one command: joined, with the same input, and ready to end early with everything complete."""

from collections.abc import Iterator
from contextlib import contextmanager

from dptt.config import Config
from dptt.distributed.comm import Communicator
from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import Placement
from dptt.kernels.disk_cache import cache_folder, check_safe
from dptt.runtime.failures import explain
from dptt.runtime.same_input import check_same_settings, check_series_everywhere
from dptt.runtime.shared_folder import FolderSecret
from dptt.runtime.stopping import Signals, Stop, clean_stop


@contextmanager
def shared_session(
    config: Config,
    placement: Placement,
    *,
    began: float,
    signals: Signals,
    of_series: bool = False,
    reads_series: bool = False,
) -> Iterator[tuple[Communicator, Stop]]:
    """Join the ranks and yield their communicator and what tells the work to end.

    Parameters
    ----------
    began
        When the process began, on the clock of `time.monotonic` [s].
    signals
        The signals to this process, which may end the work early.
    of_series
        Whether the series is the only result: nothing is written to the folder of the run.
    reads_series
        Whether the series has to be there before the work begins.

    Raises
    ------
    LaunchError
        The ranks did not find each other, do not have the same configuration, or some lack the series.
    UnsafeCacheError
        Other users can write to the folder of compiled kernels.
    FailureSaid
        If there are other ranks, from the exception that left the block, or because the ranks do not share the folder
        of the results: printed once for all that have it.
    """
    distribution = config.distribution
    check_safe(cache_folder())
    secret = FolderSecret(config.series if of_series else config.run, of_series=of_series)
    with (
        open_communicator(placement, distribution.backend, distribution.patience, explain, secret) as communicator,
        secret.no_empty_folder_left(),  # before the other ranks know, when a launcher may end this one
        clean_stop(distribution.time_limit, began, signals) as stop,
    ):
        check_same_settings(config, communicator)
        if reads_series:
            check_series_everywhere(config, communicator)
        yield communicator, stop

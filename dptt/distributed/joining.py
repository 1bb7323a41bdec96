"""From a placement to a communicator: choose the backend, join the other ranks, and leave them in order."""

import importlib.util
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.descriptors import allow_descriptors
from dptt.distributed.failures import FailureSaid
from dptt.distributed.launch import JoinError, LaunchError, Placement
from dptt.distributed.mpi_comm import MpiCommunicator
from dptt.distributed.rendezvous import NEVER, Meeting
from dptt.distributed.roster import LATE, NotReadyError
from dptt.distributed.seal import Secrets
from dptt.distributed.torch_comm import TorchCommunicator
from dptt.distributed.watch import Watch


def with_traceback(error: BaseException, name: str) -> str:
    """Return the traceback of `error`, and a line that names the only rank that failed unless `name` is empty."""
    return "".join(traceback.format_exception(error)) + (
        f"error: {name} failed with {type(error).__name__}: {error}\n" if name else ""
    )


def choose_backend(placement: Placement, backend: str, num_gpus: int, mpi4py: bool) -> str:
    """Return ``nccl``, ``mpi`` or ``gloo`` for what this rank has; `backend` may be ``auto``.

    Raises
    ------
    LaunchError
        This rank lacks what the backend needs.
    """
    has_gpu = placement.local_rank < num_gpus
    if backend == "auto":
        return "nccl" if has_gpu else "mpi" if placement.mpi and mpi4py else "gloo"
    if backend == "nccl" and not has_gpu:
        raise LaunchError(
            f"distribution.backend is nccl, but there is no GPU for local rank {placement.local_rank}: torch finds "
            f"{num_gpus} on this host. Start one process per GPU, or use distribution.backend=gloo"
        )
    if backend == "mpi" and not (placement.mpi and mpi4py):
        missing = "mpi4py is not installed" if placement.mpi else f"{placement.launcher} does not start MPI"
        raise LaunchError(
            f"distribution.backend is mpi, but {missing}. Start with mpirun, or with srun --mpi=pmix or --mpi=pmi2, "
            "in an environment with mpi4py, or use distribution.backend=gloo"
        )
    return backend


@contextmanager
def open_communicator(
    placement: Placement,
    backend: str = "auto",
    patience: float = 300.0,
    explain: Callable[[BaseException, str], str] = with_traceback,
    secrets: Secrets | None = None,
) -> Iterator[Communicator]:
    """Join the other ranks, if there are any; leave them in order at the end of the block.

    Parameters
    ----------
    backend
        ``auto``, ``gloo``, ``nccl`` or ``mpi``.
    patience
        Time after which a missing or hanging rank ends the run [s].
    explain
        Called with an exception and the name of the only rank that has it (empty if all have it); returns the text
        to print.
    secrets
        Where the ranks get the secret with which they seal their messages; an empty one if None.

    Raises
    ------
    JoinError
        Rank 0 cannot be reached.
    FailureSaid
        If there are other ranks, from the exception that left the block, or from what keeps ranks from joining: it
        has been printed once.
    """
    if placement.size == 1:
        yield SerialCommunicator()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(placement.local_rank % torch.cuda.device_count())
    chosen, lack = "gloo", ""
    try:
        chosen = choose_backend(placement, backend, torch.cuda.device_count(), _has_mpi4py())
        allow_descriptors(placement.rank, placement.size)
    except LaunchError as error:  # perhaps on this rank only, so the others have to know
        lack = str(error)
    mpi = _joined_mpi(placement) if chosen == "mpi" or placement.launcher == "mpirun" else None
    try:
        meeting = Meeting(placement, mpi, patience, secrets=secrets, backend=chosen, problem=lack)
    except NotReadyError as error:
        raise FailureSaid(1) from error
    watch = Watch(meeting, patience)
    try:
        # gloo if they differ, for example if there are fewer GPUs than ranks
        agreed = chosen if {member.backend for member in meeting.members} == {chosen} else "gloo"
        communicator = _communicator(agreed, placement, meeting, mpi, watch)
        yield communicator
    except BaseException as error:
        watch.leave_failed(f"{type(error).__name__}: {error}", partial(explain, error))
        raise FailureSaid(1) from error
    else:
        watch.leave()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def tell_the_others(placement: Placement, problem: str) -> bool:
    """Join the other ranks only to say that this one cannot take part; return whether `problem` has been printed.

    They end as soon as they hear of it, instead of waiting for this rank.
    """
    by_mpi = placement.launcher == "mpirun" or (placement.mpi and _has_mpi4py())
    try:
        Meeting(placement, _joined_mpi(placement) if by_mpi else None, LATE, problem=problem)
    except NotReadyError:
        return True
    except LaunchError:  # rank 0 is not there
        return False
    raise AssertionError("a rank with a problem was accepted")


def _has_mpi4py() -> bool:
    return importlib.util.find_spec("mpi4py") is not None


def _communicator(backend: str, placement: Placement, meeting: Meeting, mpi: Any, watch: Watch) -> Communicator:
    if backend == "mpi":
        return MpiCommunicator(mpi, watch)
    device = None
    if backend == "nccl":
        device = torch.device("cuda", placement.local_rank)
    with watch.waiting():
        dist.init_process_group(
            backend,
            store=meeting.store(),
            rank=placement.rank,
            world_size=placement.size,
            timeout=NEVER,
            device_id=device,
        )
    return TorchCommunicator(device=device, watch=watch)


def _joined_mpi(placement: Placement) -> Any:
    """Return an mpi4py communicator of all ranks."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise JoinError(
            f"{placement.launcher} started {placement.size} processes, which need MPI to find each other, but mpi4py "
            f"cannot be used ({str(error).splitlines()[0]}). Run `pip install mpi4py` and load the module of the MPI "
            f"whose {placement.launcher} you use, or start with `torchrun --nproc-per-node=N -m dptt ...`"
        ) from None
    if MPI.COMM_WORLD.size != placement.size:
        library = MPI.Get_library_version().splitlines()[0].strip(" ,\0")
        cure = (
            "use the mpirun of the library that mpi4py loads (`python -m mpi4py --mpi-library` names it), or install "
            "mpi4py for the library of this mpirun"
            if placement.launcher == "mpirun"
            else "start with the --mpi=... that this library understands (pmix for Open MPI, pmi2 for MPICH), or "
            "use distribution.backend=gloo"
        )
        raise JoinError(
            f"{placement.launcher} started {placement.size} processes, but MPI ({library}) joined "
            f"{MPI.COMM_WORLD.size} of them: each process would do all of the work. To fix this, {cure}"
        )
    return MPI.COMM_WORLD.Dup()

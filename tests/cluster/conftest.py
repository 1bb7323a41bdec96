"""Launchers, simulated hosts and a real SLURM; a test that needs what cannot be set up here says why it is skipped.

Nothing is left behind: launchers run in sessions of their own that are ended with the test, hosts and SLURM in
namespaces that the kernel ends with the tests. DPTT_REQUIRE_CLUSTER=1 makes failures of what would be skipped.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import CannotSetUpError, Hosts
from launchers import Finished, Running, torchrun
from mpi_environments import VENVS, MpiEnvironment, find_mpi_environment
from slurm_cluster import SlurmCluster
from small_run import arguments

ATTEMPTS = 3
PMI2_GARBLED = "mpi/pmi2: invalid client request"
"""MPICH 5.0.2 now and then sends more than its request to SLURM: MPI_Init fails, before anything of dptt has run."""
CRASHED, JOINED = "Segmentation fault", " rank(s)"
"""Open MPI 4.1 under PMIx once crashed in a call of address 0 (1 start of several hundred) while the ranks joined."""


def _cannot(error: CannotSetUpError) -> None:
    if os.environ.get("DPTT_REQUIRE_CLUSTER", "0") not in ("", "0"):
        pytest.fail(f"DPTT_REQUIRE_CLUSTER is set, but: {error}", pytrace=False)
    pytest.skip(str(error))


def _failed_to_start(said: str) -> bool:
    """Return whether MPI failed before the ranks had joined, for a reason that no code of dptt has a part in."""
    return PMI2_GARBLED in said or (CRASHED in said and JOINED not in said)


@pytest.fixture(scope="session")
def mpi_environment() -> Callable[[str], MpiEnvironment]:
    """Return the environment of an MPI by its name; the test is skipped where there is none."""
    found: dict[str, MpiEnvironment | CannotSetUpError] = {}

    def find(kind: str) -> MpiEnvironment:
        if kind not in found:
            try:
                found[kind] = find_mpi_environment(kind)
            except CannotSetUpError as error:
                found[kind] = error
        environment = found[kind]
        if isinstance(environment, CannotSetUpError):
            _cannot(environment)
        return environment

    assert set(VENVS) == {"openmpi", "mpich"}
    return find


@pytest.fixture
def start(tmp_path_factory) -> Iterator[Callable[..., Running]]:
    """Start a command line with changes to the environment; whatever still runs after the test is ended."""
    started: list[Running] = []

    def run(command: list[object], environment: dict[str, str] | None = None) -> Running:
        log = tmp_path_factory.mktemp("said") / "output"
        started.append(Running(list(map(str, command)), log, environment))
        return started[-1]

    yield run
    for running in started:
        running.end()


@pytest.fixture
def mpirun(start, mpi_environment) -> Callable[..., Finished]:
    """Run `python ARGUMENTS` on n ranks under Open MPI's or MPICH's mpirun."""

    def run(ranks: int, arguments: list[object], mpi: str = "openmpi") -> Finished:
        environment = mpi_environment(mpi)
        # `-m mpi4py` ends all ranks when one fails
        command = [environment.mpirun, "-n", ranks, environment.python, "-m", "mpi4py", *arguments]
        return start(command).wait()

    return run


@pytest.fixture(scope="session")
def two_hosts() -> Iterator[Hosts]:
    """Two hosts, h1 and h2, with a link between them that can be cut."""
    try:
        hosts = Hosts("h1", "h2")
    except CannotSetUpError as error:
        _cannot(error)
    yield hosts
    hosts.close()


@pytest.fixture
def torchrun_on(start, request) -> Callable[..., list[Running]]:
    """Start `python ARGUMENTS` under torchrun, so many ranks a node, on this machine or on both of `two_hosts`."""

    def run(ranks: int, arguments: list[object], nodes: int = 1) -> list[Running]:
        words = list(map(str, arguments))
        if nodes == 1:
            return [start(torchrun(words, ranks))]
        hosts: Hosts = request.getfixturevalue("two_hosts")
        return [
            start(hosts.on(host, torchrun(words, ranks, nodes, node, hosts.names[0])))
            for node, host in enumerate(hosts.names)
        ]

    return run


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A SLURM of two nodes, n1 and n2; of this machine alone where network namespaces cannot be made."""
    hosts = None
    try:
        try:
            hosts = Hosts("n1", "n2")
        except CannotSetUpError as error:
            if os.geteuid() != 0:
                raise
            print(f"SLURM has one node only: {error}", file=sys.stderr)
        cluster = SlurmCluster(hosts)
    except CannotSetUpError as error:
        if hosts:
            hosts.close()
        _cannot(error)
    yield cluster
    cluster.close()
    if hosts:
        hosts.close()


@pytest.fixture
def srun(start, slurm, mpi_environment) -> Callable[..., Finished]:
    """Run `python ARGUMENTS` on n ranks of all nodes under srun, with the process management `pmi`."""

    def run(ranks: int, arguments: list[object], pmi: str = "none") -> Finished:
        mpi = {"none": None, "pmix": "openmpi", "pmi2": "mpich"}[pmi]
        python = mpi_environment(mpi).python if mpi else sys.executable
        nodes = len(slurm.nodes)
        command = ["srun", "--kill-on-bad-exit=1", f"--mpi={pmi}", f"--nodes={nodes}", f"--ntasks={ranks}"]
        command += [f"--ntasks-per-node={-(-ranks // nodes)}", python, *arguments]
        for _ in range(ATTEMPTS):
            ended = start(slurm.on("control", list(map(str, command))), slurm.environment()).wait()
            if ended.code == 0 or not _failed_to_start(ended.output):
                break
        return ended

    return run


@pytest.fixture(scope="session")
def small_series(tmp_path_factory) -> Path:
    """The series of `small_run`; never changed."""
    folder = tmp_path_factory.mktemp("series")
    _finish(arguments("simulate", folder / "series.h5", folder), tmp_path_factory)
    return folder / "series.h5"


@pytest.fixture(scope="session")
def reconstructed_alone(small_series, tmp_path_factory) -> Callable[..., Path]:
    """Return the folder of the run that one process made of the small series, which nothing stopped."""
    folders: dict[tuple[str, ...], Path] = {}

    def run(*choices: str) -> Path:
        if choices not in folders:
            folder = tmp_path_factory.mktemp("alone")
            _finish(arguments("reconstruct", small_series, folder, *choices), tmp_path_factory)
            folders[choices] = folder
        return folders[choices]

    return run


def _finish(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    ended = Running([sys.executable, *words], tmp_path_factory.mktemp("said") / "output").wait()
    assert ended.code == 0, ended.output

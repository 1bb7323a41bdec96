"""Tests of several ranks: `mpirun -n 4 python -m pytest --with-mpi tests/cluster/mpi`; test_mpi_ranks.py does that.

A serial pytest does not collect them. Every rank runs every test; a test that fails on one rank only and leaves the
others waiting is ended by the time-out, on all ranks. DPTT_MPI_PASSED names a folder for the names of what passed.
"""

import os
from pathlib import Path

import pytest

PASSED: list[str] = []


def pytest_ignore_collect(collection_path, config):
    """Leave these tests to ranks that MPI started."""
    return None if config.getoption("--with-mpi", default=False) else True


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        PASSED.append(report.nodeid)


def pytest_sessionfinish():
    folder = os.environ.get("DPTT_MPI_PASSED")
    if folder:
        from mpi4py import MPI

        (Path(folder) / f"rank{MPI.COMM_WORLD.rank}").write_text("\n".join(PASSED))


@pytest.fixture(scope="session")
def world():
    """The communicator of all ranks; there must be four, or a wrong launcher tested nothing."""
    from mpi4py import MPI

    assert MPI.COMM_WORLD.size == 4, f"{MPI.COMM_WORLD.size} rank(s): mpirun and mpi4py belong to different MPIs?"
    return MPI.COMM_WORLD


@pytest.fixture
def shared_folder(world, tmp_path_factory) -> Path:
    """A folder that is the same on all ranks."""
    return Path(world.bcast(str(tmp_path_factory.mktemp("shared")) if world.rank == 0 else None))

"""The tests in `mpi` run on four ranks, and every rank passes every one of them."""

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("mpi")
RANKS = 4
PYTEST = ["-m", "pytest", "--with-mpi", "--only-mpi", "--color=no", "-p", "no:cacheprovider", "--strict-markers"]
# Ranks share a folder of temporary files; none of them may clean up while another does.
PYTEST += ["-o", "tmp_path_retention_count=99"]
# With the method `signal` a rank that waits in MPI would never notice.
TIME_OUT = ["--timeout=120", "--timeout-method=thread"]


@pytest.mark.parametrize("mpi", ["openmpi", "mpich"])
def test_four_ranks_pass_every_test(mpi, mpi_environment, start, tmp_path):
    """Under Open MPI with parallel HDF5, and under MPICH without it: the same tests, the same files."""
    environment = mpi_environment(mpi)
    command = [environment.mpirun, "-n", RANKS, environment.python, *PYTEST, *TIME_OUT, FOLDER]
    variables = {"DPTT_MPI_PASSED": str(tmp_path), "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    ended = start(command, os.environ | variables).wait()
    assert ended.code == 0, ended.output
    passed = [(tmp_path / f"rank{rank}").read_text().splitlines() for rank in range(RANKS)]
    assert all(names == passed[0] for names in passed), "every rank ran the same tests in the same order"
    ran = {Path(name.split("::")[0]).name for name in passed[0]}
    assert "test_mpi_communicator.py" in ran and "test_parallel_files.py" in ran
    if environment.parallel_hdf5:
        assert ran == {path.name for path in FOLDER.glob("test_*.py")}
    assert len(passed[0]) >= 20

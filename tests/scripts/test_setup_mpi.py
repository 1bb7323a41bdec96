"""What `setup_mpi.sh` says where it finds nothing to build with; it is asked only to look (--check)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "setup_mpi.sh"
NEEDED = ("bash", "dirname", "uname", "grep", "id")


@pytest.fixture
def check(tmp_path):
    """Look for an MPI where the search path has basic tools and `more`; return the exit code and what was said."""
    tools, pretended = tmp_path / "tools", tmp_path / "bin"
    tools.mkdir()
    for tool in NEEDED:
        (tools / tool).symlink_to(str(shutil.which(tool)))
    pretended.mkdir()  # a folder of its own: nothing is ever written into the one with links to the system's tools
    (tmp_path / "Python.h").touch()

    def pretend(name: str, script: str) -> None:
        path = pretended / name
        assert not path.is_symlink()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(more: dict[str, str] | None = None, **variables: str) -> tuple[int, str]:
        for name, script in {"python3": f"echo {tmp_path}/Python.h", **(more or {})}.items():
            pretend(name, script)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HDF5")}
        environment |= {"PATH": f"{pretended}:{tools}"} | variables
        command = ["bash", SCRIPT, "--check", "--beside", tmp_path / "absent"]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert ended.stderr == ""
        return ended.returncode, ended.stdout

    return run


def hdf5_folder(folder: Path, parallel: bool) -> str:
    """Make the header from which one sees whether an HDF5 was built with MPI."""
    (folder / "include").mkdir(parents=True)
    line = "#define H5_HAVE_PARALLEL 1" if parallel else "/* #undef H5_HAVE_PARALLEL */"
    (folder / "include" / "H5pubconf.h").write_text(f"#define H5_HAVE_FILTER_DEFLATE 1\n{line}\n")
    return str(folder)


def test_without_mpi_it_says_which_module_or_package_to_get(check):
    code, said = check()
    assert code == 1
    assert "missing: an MPI with its compiler wrapper mpicc" in said
    assert "module load openmpi" in said and "apt-get install openmpi-bin libopenmpi-dev" in said


def test_an_mpicc_without_a_compiler_behind_it_is_named(check):
    code, said = check({"mpicc": "echo no compiler >&2; exit 1"})
    assert code == 1
    assert "missing: a C compiler behind " in said and "/bin/mpicc" in said
    assert "wrapper" not in said


def test_an_hdf5_that_was_built_without_mpi_does_not_count(check, tmp_path):
    serial = hdf5_folder(tmp_path / "serial", parallel=False)
    code, said = check({"mpicc": "exit 0", "uname": "echo no-such-machine"}, HDF5_DIR=serial)
    assert code == 1
    assert f"missing: an HDF5 built with MPI (none in HDF5_DIR='{serial}'" in said
    assert "module load hdf5-parallel" in said and "apt-get install libhdf5-openmpi-dev" in said
    assert said.count("missing: ") == 1


def test_a_clusters_mpicc_and_hdf5_are_taken_without_root(check, tmp_path):
    parallel = hdf5_folder(tmp_path / "parallel", parallel=True)
    code, said = check({"mpicc": "exit 0"}, HDF5_DIR=parallel)
    assert code == 0, said
    assert f"HDF5 in {parallel}" in said and "a parallel h5py can be built" in said


def test_the_hdf5_beside_h5pcc_is_found(check, tmp_path):
    hdf5_folder(tmp_path, parallel=True)  # h5pcc lies in its bin
    code, said = check({"mpicc": "exit 0", "h5pcc": "exit 0"})
    assert code == 0, said
    assert f"HDF5 in {tmp_path}," in said


def test_an_unknown_argument_is_refused():
    ended = subprocess.run(["bash", SCRIPT, "--paralel"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "unknown argument --paralel" in ended.stderr


def test_missing_headers_of_python_are_named(check, tmp_path):
    (tmp_path / "Python.h").unlink()
    code, said = check({"mpicc": "exit 0"})
    assert code == 1
    assert f"missing: Python's headers ({tmp_path}/Python.h)" in said and "apt-get install python3-dev" in said

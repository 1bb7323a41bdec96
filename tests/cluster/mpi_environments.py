"""The environments that `scripts/setup_mpi.sh` makes, and the launchers that belong to them."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hosts import CannotSetUpError

ASK = "from mpi4py import MPI; import h5py; print(MPI.Get_library_version().split()[0], h5py.get_config().mpi)"
VENVS = {"openmpi": "-mpi", "mpich": "-mpich"}
LIBRARY = {"openmpi": "Open", "mpich": "MPICH"}


@dataclass(frozen=True)
class MpiEnvironment:
    """An environment whose mpi4py speaks to the MPI of `mpirun`."""

    python: Path
    mpirun: Path
    parallel_hdf5: bool
    """Its h5py writes one file from all ranks."""


def find_mpi_environment(kind: str) -> MpiEnvironment:
    """Return the environment of ``openmpi`` or ``mpich`` beside the one that runs the tests.

    Raises
    ------
    CannotSetUpError
        If it was not made, or holds another MPI; with the command that makes it.
    """
    venv = Path(sys.prefix + VENVS[kind])
    python = venv / "bin" / "python"
    cure = f"bash scripts/setup_mpi.sh{' --mpich' if kind == 'mpich' else ''}"
    if not python.exists():
        raise CannotSetUpError(f"no environment {venv}; `{cure}` makes it")
    # A process that no launcher started: without the variables of one that runs these tests.
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMI", "SLURM_"))}
    said = subprocess.run([python, "-c", ASK], capture_output=True, text=True, env=plain, timeout=120)
    if said.returncode:
        reason = said.stderr.strip().splitlines()[-1]
        raise CannotSetUpError(f"mpi4py cannot be imported in {venv} ({reason}); `{cure}` installs it")
    library, parallel = said.stdout.split()[-2:]
    if library != LIBRARY[kind]:
        raise CannotSetUpError(f"{venv} holds {library}, not {kind}: {cure} found no compiler or no MPI")
    mpirun = shutil.which("mpirun", path=f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if mpirun is None:
        raise CannotSetUpError(f"no mpirun for {venv}")
    return MpiEnvironment(python, Path(mpirun), parallel == "True")

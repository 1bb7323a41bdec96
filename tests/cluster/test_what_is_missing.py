"""A test that cannot run here is skipped with the reason: what is missing, and how to get it."""

import os
import sys

import pytest
from hosts import CannotSetUpError, Hosts
from mpi_environments import find_mpi_environment
from slurm_cluster import SlurmCluster


def test_without_root_there_are_no_hosts_and_no_slurm(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotSetUpError, match="simulated hosts need root"):
        Hosts("h1", "h2")
    with pytest.raises(CannotSetUpError, match="SLURM's daemons need root"):
        SlurmCluster(None)


def test_absent_programs_are_named_with_their_packages(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotSetUpError, match=r"need unshare and .* and ip \(packages util-linux and iproute2\)"):
        Hosts("h1", "h2")
    with pytest.raises(CannotSetUpError, match=r"no munged, .*Debian: slurmctld slurmd slurm-client munge"):
        SlurmCluster(None)


@pytest.mark.parametrize(("mpi", "command"), [("openmpi", "setup_mpi.sh`"), ("mpich", "setup_mpi.sh --mpich`")])
def test_without_an_environment_the_command_that_makes_it_is_named(mpi, command, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    with pytest.raises(CannotSetUpError, match=f"no environment {tmp_path}/venv-.*`bash scripts/{command} makes it"):
        find_mpi_environment(mpi)

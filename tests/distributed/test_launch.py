"""The placement of a process is a pure function of its environment."""

import os

import pytest

from dptt.distributed.launch import LaunchError, Placement, detect_placement

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
ELASTIC = TORCHRUN | {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}


def test_a_plain_python_is_rank_0_of_1():
    assert detect_placement({"HOME": "/root", "OMP_NUM_THREADS": "1"}) == Placement("python", 0, 1, 0)


@pytest.mark.parametrize("environment", [TORCHRUN, ELASTIC], ids=["by hand", "elastic"])
def test_the_variables_of_torchrun_give_the_placement(environment):
    assert detect_placement(environment) == Placement("torchrun", 5, 8, 1)


def test_without_a_local_rank_the_placement_is_still_found_or_refused_by_name():
    environment = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_RANK"}
    try:
        placement = detect_placement(environment)
    except LaunchError as error:
        assert "LOCAL_RANK" in str(error)
    else:
        assert (placement.rank, placement.size) == (5, 8)


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, "mpirun"),
        ({"PMI_SIZE": "2", "PMI_RANK": "0"}, "mpirun"),
        ({"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "3", "SLURM_STEP_ID": "0"}, "srun"),
    ],
)
def test_another_launcher_of_several_processes_is_refused_with_its_name_and_the_cure(environment, launcher):
    with pytest.raises(LaunchError) as failure:
        detect_placement(environment)
    variable, number = next(iter(environment.items()))
    assert str(failure.value).startswith(f"{launcher} started {number} processes ({variable})")
    assert "torchrun --nproc-per-node=N -m dptt" in str(failure.value)


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_another_launcher_of_one_process_is_as_good_as_none(variable):
    assert detect_placement({variable: "1"}) == Placement("python", 0, 1, 0)


def test_a_batch_script_in_a_large_allocation_is_one_process():
    environment = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "64", "SLURM_PROCID": "0"}
    assert detect_placement(environment) == Placement("python", 0, 1, 0)


def test_torchrun_inside_a_step_of_srun_is_torchrun():
    assert detect_placement({"SLURM_STEP_NUM_TASKS": "2", **ELASTIC}).launcher == "torchrun"


def test_the_real_environment_is_not_looked_at(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setitem(os.environ, name, value)
    assert detect_placement({}).size == 1

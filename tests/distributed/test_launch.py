"""The placement of a process is a pure function of its environment."""

import os

import pytest

from dptt.distributed.launch import LaunchError, Placement, detect_placement, first_host, port_of_step

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "29512"}
ELASTIC = TORCHRUN | {
    "TORCHELASTIC_RUN_ID": "none",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
OPEN_MPI_PMIX = {"PMIX_RANK": "2", "PMIX_NAMESPACE": "1747910657"}
HYDRA = {"PMI_SIZE": "3", "PMI_RANK": "1", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2", "PMI_FD": "9"}
BATCH = {"SLURM_JOB_ID": "712", "SLURM_NTASKS": "6", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "n[03-05]"}
STEP = BATCH | {
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "n[04-05]",
}
ONE_A_HOST = STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
"""What mpirun's daemons get, which srun carries to the hosts, and leave to the ranks."""


def test_ranks_of_one_host_under_srun_meet_where_no_other_host_can_reach_them():
    assert detect_placement(STEP | {"SLURM_STEP_NUM_NODES": "1"}).host == "127.0.0.1"
    assert detect_placement(STEP | {"SLURM_STEP_NUM_NODES": "2"}).host == "n04"
    assert detect_placement(STEP | {"SLURM_STEP_NUM_NODES": "1", "MASTER_ADDR": "n04"}).host == "n04"


def test_a_plain_python_is_rank_0_of_1():
    assert detect_placement({"HOME": "/root", "OMP_NUM_THREADS": "1"}) == Placement("python", 0, 1, 0)


@pytest.mark.parametrize(("environment", "store"), [(TORCHRUN, False), (ELASTIC, True)], ids=["by hand", "elastic"])
def test_the_variables_of_torchrun_give_the_placement(environment, store):
    expected = Placement("torchrun", 5, 8, 1, "n1", 29512, launcher_store=store)
    assert detect_placement(environment) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (OPEN_MPI | OPEN_MPI_PMIX, Placement("mpirun", 2, 4, 0, mpi=True)),
        (HYDRA, Placement("mpirun", 1, 3, 1, mpi=True)),
        (OPEN_MPI | OPEN_MPI_PMIX | ONE_A_HOST, Placement("mpirun", 2, 4, 0, mpi=True)),
        (HYDRA | ONE_A_HOST, Placement("mpirun", 1, 3, 1, mpi=True)),
        (OPEN_MPI | BATCH, Placement("mpirun", 2, 4, 0, mpi=True)),
    ],
    ids=["Open MPI", "MPICH", "Open MPI in SLURM", "MPICH in SLURM", "Open MPI on the batch host"],
)
def test_mpirun_gives_the_placement_inside_and_outside_of_slurm(environment, expected):
    assert detect_placement(environment) == expected


@pytest.mark.parametrize(
    ("pmi", "mpi"),
    [({}, False), ({"PMIX_RANK": "5"}, True), ({"PMI_RANK": "5", "PMI_SIZE": "6", "PMI_FD": "7"}, True)],
    ids=["none", "pmix", "pmi2"],
)
def test_srun_gives_the_placement_and_says_whether_mpi_can_join(pmi, mpi):
    placement = detect_placement(STEP | pmi)
    assert (placement.launcher, placement.rank, placement.size, placement.local_rank) == ("srun", 5, 6, 1)
    assert (placement.host, placement.mpi) == ("n04", mpi)


def test_the_meeting_place_under_srun_can_be_chosen():
    placement = detect_placement(STEP | {"MASTER_ADDR": "n04-ib", "MASTER_PORT": "4711"})
    assert (placement.host, placement.port) == ("n04-ib", 4711)


@pytest.mark.parametrize("other", [OPEN_MPI, HYDRA, STEP, ONE_A_HOST], ids=["Open MPI", "MPICH", "srun", "srun, 1"])
def test_torchrun_inside_another_launcher_is_torchrun(other):
    assert detect_placement(other | ELASTIC) == detect_placement(ELASTIC)


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_another_launcher_of_one_process_is_as_good_as_none(variable):
    assert detect_placement({variable: "1"}) == Placement("python", 0, 1, 0)


def test_an_mpirun_of_one_process_in_each_task_of_srun_is_one_process():
    environment = STEP | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}
    assert detect_placement(environment) == Placement("python", 0, 1, 0)


def test_a_batch_script_in_a_large_allocation_is_one_process():
    assert detect_placement(BATCH) == Placement("python", 0, 1, 0)


def test_without_a_local_rank_the_rank_stands_in():
    environment = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_RANK"}
    assert detect_placement(environment).local_rank == 5


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_RANK"),
        ({"PMI_SIZE": "2"}, "PMI_RANK"),
        ({"SLURM_STEP_NUM_TASKS": "16"}, "SLURM_PROCID"),
        (TORCHRUN | {"WORLD_SIZE": "many"}, "WORLD_SIZE"),
    ],
)
def test_a_variable_that_is_missing_or_no_number_is_named(environment, variable):
    with pytest.raises(LaunchError, match=f"^{variable} is "):
        detect_placement(environment)


def test_a_rank_beyond_the_size_is_refused():
    with pytest.raises(LaunchError, match="rank 8 of 8"):
        detect_placement(TORCHRUN | {"RANK": "8"})


def test_the_real_environment_is_not_looked_at(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setitem(os.environ, name, value)
    assert detect_placement({}).size == 1


@pytest.mark.parametrize(
    ("nodelist", "first"),
    [
        ("n1", "n1"),
        ("n[01-03,7]", "n01"),
        ("n[7,01-03],gpu4", "n7"),
        ("gpu-a4,n[1-2]", "gpu-a4"),
        ("rack[2-3]node[09-10]", "rack2node09"),
        ("n[003-128]-ib", "n003-ib"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_list_of_slurm(nodelist, first):
    assert first_host(nodelist) == first


def test_ports_of_neighbouring_jobs_and_steps_differ_and_are_free_to_use():
    ports = [port_of_step(str(job), str(step)) for job in range(1000, 1400) for step in range(3)]
    assert all(1024 < port < 32768 for port in ports)
    assert len(set(ports)) == len(ports)
    assert port_of_step("712", "2") == port_of_step("712", "2")

"""One command line under every launcher, and every time the result of one process."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from launchers import Finished, Running
from small_run import arguments, assert_same_result

EPOCHS = "reconstruction.epochs=3"


@pytest.fixture
def reconstruct_with(request, small_series, tmp_path) -> Callable[[str, int], tuple[Path, str]]:
    """Reconstruct the small series on so many ranks of a launcher; return the run's folder and what was said."""
    words = arguments("reconstruct", small_series, tmp_path / "run", EPOCHS)

    def get(name: str) -> Callable[..., object]:
        return request.getfixturevalue(name)

    launchers = {
        "torchrun": lambda ranks: _finish(get("torchrun_on")(ranks, words)),
        "torchrun on two hosts": lambda ranks: _finish(get("torchrun_on")(ranks // 2, words, nodes=2)),
        "mpirun of Open MPI": lambda ranks: get("mpirun")(ranks, words, mpi="openmpi"),
        "mpirun of MPICH": lambda ranks: get("mpirun")(ranks, words, mpi="mpich"),
        "srun": lambda ranks: get("srun")(ranks, words, pmi="none"),
        "srun --mpi=pmix": lambda ranks: get("srun")(ranks, words, pmi="pmix"),
        "srun --mpi=pmi2": lambda ranks: get("srun")(ranks, words, pmi="pmi2"),
    }

    def run(launcher: str, ranks: int) -> tuple[Path, str]:
        ended = launchers[launcher](ranks)
        assert ended.code == 0, ended.output
        return tmp_path / "run", ended.output

    return run


def _finish(started: list[Running]) -> Finished:
    ended = [one.wait() for one in started]
    assert [one.code for one in ended] == [0] * len(ended), "\n".join(one.output for one in ended)
    return ended[0]


@pytest.mark.parametrize(
    ("launcher", "ranks"),
    [
        ("torchrun", 2),
        ("torchrun on two hosts", 2),
        ("mpirun of Open MPI", 3),
        ("mpirun of MPICH", 2),
        ("srun", 3),
        ("srun --mpi=pmix", 2),
        ("srun --mpi=pmi2", 2),
    ],
)
def test_every_launcher_gives_the_result_of_one_process(launcher, ranks, reconstruct_with, reconstructed_alone):
    run, said = reconstruct_with(launcher, ranks)
    assert re.findall(r"(\d+) rank\(s\)", said) == [str(ranks)], "said once, by the one rank that speaks"
    assert_same_result(run, reconstructed_alone(EPOCHS))

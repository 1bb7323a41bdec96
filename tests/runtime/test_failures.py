"""What a command says and returns for each way to end."""

import math

import numpy as np
import pytest
import torch

from dptt.config import ConfigError
from dptt.distributed.failures import PeerError
from dptt.distributed.launch import JoinError, LaunchError
from dptt.io.errors import CheckpointError, ProblemsError, WriteError
from dptt.runtime.failures import exit_code, explain, is_expected
from dptt.solvers.tomography import DivergedError, NonFiniteLossError

PLACE = "series.h5"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProblemsError(PLACE, ["has no tilts."]), 2),
        (CheckpointError(PLACE, ["is cut short."]), 2),
        (WriteError(PLACE, ["cannot be written."]), 1),
        (LaunchError("3 ranks cannot be cut into 2 slabs"), 2),
        (JoinError("rank 2 is missing"), 2),
        (FileExistsError("series.h5 exists"), 2),
        (PeerError("connection closed"), 70),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_error_has_its_exit_code_and_is_said_without_a_traceback(error, code):
    assert is_expected(error)
    assert exit_code(error) == code
    assert "Traceback" not in explain(error)
    assert explain(error, "rank 2 (host n1, pid 7)").count("\n") == explain(error).count("\n")


@pytest.mark.parametrize("kind", [NonFiniteLossError, DivergedError])
def test_a_configuration_error_and_a_loss_that_diverged_are_expected(kind):
    assert issubclass(ConfigError, Exception) and exit_code(ConfigError.__new__(ConfigError)) == 2
    error = kind.__new__(kind)
    assert is_expected(error) and exit_code(error) == 1


def test_a_fault_of_the_program_is_shown_with_its_traceback_and_its_rank():
    try:
        raise ValueError("shapes differ")
    except ValueError as error:
        text = explain(error, "rank 2 (host n1, pid 7)")
    assert not is_expected(ValueError())
    assert text.startswith("Traceback") and "shapes differ" in text
    assert text.splitlines()[-1] == "error: rank 2 (host n1, pid 7): ValueError: shapes differ"


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.zeros((10**6,) * 3, dtype=torch.complex64),
        lambda: np.zeros((10**6,) * 3),
    ],
)
def test_an_array_that_no_memory_holds_is_answered_in_words(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_expected(caught.value) and exit_code(caught.value) == 1
    said = explain(caught.value, "rank 2")
    assert said.startswith("error: rank 2: there is not enough memory (") and "dptt plan" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "compute",
    [
        lambda: round(float("inf")),
        lambda: math.exp(1e3),
        lambda: 10**400 / 1.0,
        lambda: np.zeros((10**9,) * 3),
        lambda: np.zeros(10**30),
        lambda: np.arange(1e300),
        lambda: torch.zeros((10**9,) * 3, dtype=torch.complex64),
        lambda: torch.zeros((10**7,) * 3, dtype=torch.complex64),
        lambda: torch.zeros(10**30),
        lambda: torch.full((3,), 10**30),
        lambda: torch.arange(1e300),
        lambda: np.random.default_rng(0).poisson(1e300),
    ],
)
def test_a_number_or_a_size_beyond_64_bits_is_bad_input_and_answered_in_words(compute):
    with pytest.raises((OverflowError, ValueError, TypeError, RuntimeError)) as caught:
        compute()
    said = explain(caught.value, "rank 1 (host n1, pid 7)")
    assert is_expected(caught.value) and "Traceback" not in said
    assert exit_code(caught.value) == 2
    assert said.startswith(
        "error: rank 1 (host n1, pid 7): a number of the configuration or the series is out of all"
    )

"""Which kernels do the work on a CPU: the choice changes how long it takes, and no result but its rounding."""

import logging
from dataclasses import replace

import pytest
import torch
from checks import random_tensor, relative_error
from multislice_problems import batch, single

from dptt.kernels import SlabRows, Thresholds, cpu, dispatch
from dptt.physics.rotation import sampling_map

compiled = cpu.loaded()
pytestmark = pytest.mark.skipif(compiled is None, reason="needs numba")


@pytest.fixture
def called(monkeypatch) -> list[str]:
    """Names of the compiled functions that are called, in order; they do their work."""
    names: list[str] = []

    def remember(module, name: str) -> None:
        function = getattr(module, name)

        def remembered(*given, **named):
            names.append(name)
            return function(*given, **named)

        monkeypatch.setattr(module, name, remembered)

    for name in ("multislice_gradient", "multislice_loss"):
        remember(compiled.multislice, name)
    for name in ("deposit", "spread_", "pose_sums"):
        remember(compiled.rotation, name)
    for name in ("advance_", "threshold_"):
        remember(compiled.volume_step, name)
    return names


@pytest.mark.parametrize(
    "function", [dispatch.multislice_gradient, dispatch.multislice_loss], ids=["gradient", "loss"]
)
def test_multislice_is_compiled_for_much_work_in_single_precision_and_a_known_loss(function, called, monkeypatch):
    given = single(batch("odd and wide"), "cpu")
    function(given)
    assert not called, "it would not pay"
    work = len(given.transmission) * len(given.probe) * given.measured.numel()
    monkeypatch.setattr(dispatch, "_WORTH_WAVES", work)
    function(batch("odd and wide"))
    function(replace(given, loss=lambda model, measured: given.loss(model, measured)))
    function(replace(given, measured=given.measured.bfloat16()))
    assert not called, "double precision is the reference; no kernel knows any other loss, nor NumPy this type"
    function(given)
    assert called == [function.__name__]


SHAPE, THICKNESS = (6, 7, 10), 0.5
POSES = {"turned": ((4.0, -27.0, 11.0), (0.37, -0.26)), "not turned": ((0.0, 0.0, 0.0), (0.0, 0.0))}
ROTATED = ["deposit", "spread_"]
DERIVATIVES = ["pose_sums"]
OTHERS = [*DERIVATIVES, "advance_", "threshold_"]


def map_of(pose):
    return sampling_map(*(torch.tensor(numbers).double() for numbers in POSES[pose]), (THICKNESS, 0.4, 0.3))


@pytest.mark.parametrize(
    ("dtype", "missing", "pose", "expected"),
    [
        (torch.complex64, 0, "turned", [*ROTATED, *OTHERS]),
        (torch.float32, 0, "not turned", OTHERS),
        (torch.complex64, 1, "turned", []),
        (torch.float64, 0, "turned", []),
        (torch.complex128, 0, "turned", []),
    ],
    ids=["single", "not turned", "a voxel too small", "double", "double and complex"],
)
def test_volumes_are_turned_and_moved_by_compiled_kernels_where_it_pays(
    dtype, missing, pose, expected, called, monkeypatch
):
    """Not where nothing is turned: slices are then sums of planes."""
    volume, velocity, update = (random_tensor(*SHAPE, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    slices = random_tensor(3, *SHAPE[1:], seed=4, dtype=dtype)
    monkeypatch.setattr(dispatch, "_WORTH_VOXELS", volume.numel() + missing)
    map_ = map_of(pose)
    dispatch.project_slices(volume, map_, 3, THICKNESS)
    dispatch.backproject_slices(slices, map_, SHAPE, THICKNESS)
    dispatch.pose_derivatives(volume, map_, slices, THICKNESS)
    dispatch.advance_(volume, velocity, update, 0.5, 0.1)
    dispatch.threshold_(volume, Thresholds(shrinkage=0.1))
    assert called == expected


def test_compiled_kernels_are_told_which_rows_a_slab_has_and_wants(called, monkeypatch):
    map_, target = map_of("turned"), range(2, 5)
    rows = SlabRows(SHAPE[1], range(1, 6), target)
    volume = random_tensor(SHAPE[0], len(rows.source), SHAPE[2], seed=1, dtype=torch.complex64)
    slices = random_tensor(3, len(target), SHAPE[2], seed=2, dtype=torch.complex64)

    def results():
        yield dispatch.project_slices(volume, map_, 3, THICKNESS, rows)
        yield dispatch.backproject_slices(slices, map_, SHAPE, THICKNESS, rows)
        yield from dispatch.pose_derivatives(volume, map_, slices, THICKNESS, rows)

    plain = list(results())
    assert not called
    monkeypatch.setattr(dispatch, "_WORTH_VOXELS", 1)
    for result, expected in zip(results(), plain, strict=True):
        assert relative_error(result, expected) < 1e-5
    assert called == [*ROTATED, *DERIVATIVES]


def test_a_few_rows_are_turned_by_compiled_kernels_if_many_rows_want_them(called, monkeypatch):
    map_, rows = map_of("turned"), SlabRows(SHAPE[1], range(1), range(SHAPE[1]))
    few = random_tensor(SHAPE[0], 1, SHAPE[2], seed=1, dtype=torch.complex64)
    slices = random_tensor(3, *SHAPE[1:], seed=2, dtype=torch.complex64)
    monkeypatch.setattr(dispatch, "_WORTH_VOXELS", SHAPE[0] * SHAPE[1] * SHAPE[2])
    dispatch.project_slices(few, map_, 3, THICKNESS, rows)
    dispatch.backproject_slices(slices, map_, SHAPE, THICKNESS, rows)
    assert called == ROTATED


@pytest.mark.parametrize("missing", ["", "numba cannot be imported"])
def test_the_log_names_the_kernels_in_use(monkeypatch, caplog, missing):
    monkeypatch.setattr(logging.getLogger("dptt"), "propagate", True)
    monkeypatch.setattr(dispatch, "_say", dispatch._say.__wrapped__)  # says it every time
    monkeypatch.setattr(dispatch.cpu, "loaded", lambda: None if missing else compiled)
    monkeypatch.setattr(dispatch.cpu, "missing", lambda: missing)
    volume = torch.zeros(64, 64, 64)
    with caplog.at_level("INFO"):
        dispatch.threshold_(volume, Thresholds())
    said = {record.message for record in caplog.records}  # of the same line once for each handler
    slow = f"kernels: plain torch, several times slower, because {missing}; see `dptt doctor`"
    fast = f"kernels: compiled for this CPU; Fourier transforms: {dispatch.cpu.transforms_in_use()}"
    assert said == {slow if missing else fast}

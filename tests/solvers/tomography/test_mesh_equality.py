"""The central promise at the solver: scan, slab and both give the answer of one process to rounding.

Every mesh is started once and runs all cases; a rank returns its rows of the volume and everything else. The series
is as small as shows every way of sharing: three tilts, two minibatches, and the epochs that a refinement needs.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from small_series import GEOMETRY, make_truth, scan
from solver_settings import calibration, refinement, regularisation, tilt_groups, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.distributed.torch_comm import TorchCommunicator
from dptt.model.patterns import centre_window
from dptt.model.state import TomographyState
from dptt.physics.patches import split_positions
from dptt.physics.probe import resample_probe
from dptt.solvers.tomography import EpochRecord, reconstruct
from dptt.solvers.tomography.settings import TomographySettings

ANGLES = (-50.0, 25.0, 0.0)  # not in order


def few_updates(epochs: int = 2, batches: int = 2, **settings) -> TomographySettings:
    return tomography_settings(epochs=epochs, batches=batches, **settings)


ALL = {what: refinement(start=1) for what in ("probe", "positions", "angles", "translations")}
FILTERS = regularisation(butterworth_cutoff=0.9, layer_weight=0.5)
MORE_MINIBATCHES = "more minibatches than positions of a rank"
WITH_PADDING = "waves on finer pixels than the volume"
PADDED = replace(GEOMETRY, window_shape=(21, 26), pixels=(39, 58))
ON_THE_AXIS = "on the axis, poses refined: slopes need a row that values do not"
CASES = {
    ON_THE_AXIS: few_updates(angles=refinement(start=0), translations=refinement(start=0)),
    "phi 3°, psi -3°, everything refined": few_updates(epochs=3, **ALL),
    "filters": few_updates(regularisation=FILTERS),
    "the experiment calibrated": few_updates(
        probe=refinement(start=1), calibration=calibration(start=0, epochs=2, scan_scale=True)
    ),
    "a step so long that epochs are undone": few_updates(step=16.0, probe=refinement(start=0)),
    WITH_PADDING: few_updates(**ALL),
    MORE_MINIBATCHES: few_updates(epochs=1, batches=6, validation_fraction=0.15, probe=refinement(start=0)),
}
MESHES = {
    "2 scan ranks": (2, 1, 1),
    "3 slabs, of which none has as many rows as another": (3, 1, 3),
    "2 scan ranks of 2 slabs": (4, 1, 2),
    "2 slabs": (2, 1, 2),
    "4 slabs": (4, 1, 4),
}
FURTHER = ("2 slabs", "4 slabs", "3 slabs, of which none has as many rows as another", "3 groups")
"""Other sizes of what is shown anyway."""
GROUPED = {"2 groups for 3 tilts": (2, 2, 1), "2 groups of 2 slabs": (4, 2, 2), "3 groups": (3, 3, 1)}
AVERAGES = tilt_groups(synchronise="averages", interval=3, gain=1.5, outer_momentum=0.3)
GROUPED_CASES = {
    "updates": few_updates(**ALL, regularisation=regularisation(layer_weight=0.5)),
    "averages": few_updates(**ALL, tilt_groups=AVERAGES),
}


def make_state(mesh: Mesh, kind: torch.dtype, size: tuple[int, int] = (5, 8)) -> tuple[TomographyState, list]:
    """Return the start of a small series whose scan is wider than high, with this rank's rows of the volume."""
    angles = torch.tensor([[3.0, tilt, -3.0] for tilt in ANGLES]).double()
    translations = torch.tensor([[0.1, -0.3], [0.2, 0.1], [-1.3, 0.8]]).double()
    positions = [scan(size, seed=10 + tilt) for tilt in range(len(ANGLES))]
    truth = make_truth(positions=positions, euler_angles=angles, translations=translations)
    start = truth.start(volume_dtype=kind, euler_angles=angles + 0.1)
    rows = mesh.rows(GEOMETRY.volume_shape[1])
    start.volume, start.velocity = (t[:, rows.start : rows.stop].clone() for t in (start.volume, start.velocity))
    return start, truth.series()


def padded(state: TomographyState, series: list) -> list:
    """Return the series on the padded window, where the new pixels are unmeasured; pad the probes of the state."""
    state.probes = [resample_probe(probe, PADDED.window_shape) for probe in state.probes]
    detector = torch.ones(1, *GEOMETRY.window_shape, dtype=torch.bool)

    def on_window(patterns: torch.Tensor) -> torch.Tensor:
        return centre_window(torch.fft.fftshift(patterns, dim=(1, 2)).numpy(), PADDED.window_shape)

    mask = centre_window(detector.numpy(), PADDED.window_shape)[0]
    return [replace(tilt, data=on_window(tilt.data), mask=mask) for tilt in series]


def outcome(mesh: Mesh, case: str, settings: TomographySettings) -> dict:
    """Return what a run ends with, and what it sent."""
    if case == ON_THE_AXIS:
        state, series = untilted_state(mesh)
    else:
        state, series = make_state(mesh, KINDS[case], (2, 4) if case == MORE_MINIBATCHES else (5, 8))
    geometry, records = GEOMETRY, list[EpochRecord]()
    if case == WITH_PADDING:
        geometry, series = PADDED, padded(state, series)
    reconstruct(state, series, geometry, settings, mesh, records.append)
    return {
        "losses": torch.tensor([[r.loss, r.held_out_loss, *r.tilt_losses] for r in records], dtype=torch.float64),
        "volume": state.volume,
        "velocity": state.velocity,
        "others": [*state.probes, *state.positions, state.euler_angles, state.translations, state.tilt_weights]
        + [state.calibration, state.calibration_errors],
        "bytes": [r.bytes_sent for r in records],
        "updates": [r.updates for r in records],
        "steps": [(r.step_factor, r.undone) for r in records],
        "seconds": records[-1].ranks,
    }


def worker(rank: int, shape: tuple[int, int, int], folder: str, cases: dict) -> None:
    size, groups, slabs = shape
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=size, timeout=timedelta(seconds=120)
    )
    mesh = Mesh.of(TorchCommunicator(), groups, slabs)
    outcomes = {case: outcome(mesh, case, settings) for case, settings in cases.items()}
    torch.save(outcomes, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


KINDS = {case: torch.float64 if case == "filters" else torch.complex128 for case in {**CASES, **GROUPED_CASES}}


def outcomes_of(shapes: dict[str, tuple[int, int, int]], cases: dict, tmp_path_factory) -> Callable[[str], dict]:
    """Return what gives (case -> outcomes by rank) for the name of a mesh, whose processes are started once."""

    @functools.cache
    def outcomes(name: str) -> dict:
        folder, size = tmp_path_factory.mktemp("mesh"), shapes[name][0]
        torch.multiprocessing.start_processes(
            worker, (shapes[name], str(folder), cases), nprocs=size, start_method="forkserver"
        )
        by_rank = [torch.load(folder / f"{rank}.pt") for rank in range(size)]
        return {case: [outcomes[case] for outcomes in by_rank] for case in cases}

    return outcomes


def names(meshes: Iterable[str]) -> list:
    return [pytest.param(name, marks=[pytest.mark.thorough] if name in FURTHER else []) for name in meshes]


@pytest.fixture(scope="module")
def serial() -> dict:
    return {case: outcome(Mesh.serial(), case, settings) for case, settings in CASES.items()}


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> Callable[[str], dict]:
    return outcomes_of(MESHES, CASES, tmp_path_factory)


def whole(ranks: list[dict], what: str, slabs: int) -> torch.Tensor:
    """Return the volume from the slabs of the first ranks."""
    return torch.cat([found[what] for found in ranks[:slabs]], dim=1)


def assert_equal(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-10) -> None:
    assert (got - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mesh", names(MESHES))
def test_every_exact_mode_gives_the_answer_of_one_process(exact, serial, mesh, case):
    ranks, expected, slabs = exact(mesh)[case], serial[case], MESHES[mesh][2]
    assert expected["volume"].abs().max() > 1.0, "V"
    for what in ("volume", "velocity"):
        assert_equal(whole(ranks, what, slabs), expected[what])
    for found in ranks:
        assert_equal(found["losses"], expected["losses"])
        for got, value in zip(found["others"], expected["others"], strict=True):
            assert_equal(got, value)
        assert found["steps"] == expected["steps"]
    if case.startswith("a step so long"):
        assert expected["steps"][-1][0] < 1


@pytest.mark.parametrize("mesh", names(name for name, (_, _, slabs) in MESHES.items() if slabs > 1))
def test_no_rank_holds_more_rows_than_its_share(exact, mesh):
    _, _, slabs = MESHES[mesh]
    for found in exact(mesh)["filters"]:
        assert found["volume"].shape[1] in (26 // slabs, 26 // slabs + 1)


def test_scan_ranks_that_hold_the_same_rows_hold_the_same_numbers(exact):
    ranks = exact("2 scan ranks of 2 slabs")["filters"]
    for one, other in zip(ranks[:2], ranks[2:], strict=True):
        assert torch.equal(one["volume"], other["volume"])


def test_the_time_of_every_rank_is_known_on_every_rank(exact):
    for found in exact("2 scan ranks of 2 slabs")["filters"]:
        assert {len(seconds) for seconds in found["seconds"].values()} == {4}
        assert min(found["seconds"]["idle"]) == 0 < min(found["seconds"]["compute"])


@pytest.fixture(scope="module")
def grouped(tmp_path_factory) -> Callable[[str], dict]:
    return outcomes_of(GROUPED, GROUPED_CASES, tmp_path_factory)


@pytest.mark.parametrize("case", GROUPED_CASES)
@pytest.mark.parametrize("mesh", names(GROUPED))
def test_tilt_groups_end_an_epoch_with_one_volume_and_the_parameters_of_all_tilts(grouped, mesh, case):
    size, groups, slabs = GROUPED[mesh]
    ranks = grouped(mesh)[case]
    for rank, found in enumerate(ranks):
        twin = ranks[rank % (size // groups)]
        for what in ("volume", "velocity", "losses"):
            assert_equal(found[what], twin[what], 1e-13)
        for got, value in zip(found["others"], twin["others"], strict=True):
            assert_equal(got, value, 1e-13)
    start, _ = make_state(Mesh.serial(), torch.complex128)
    for tilt, positions in enumerate(start.positions):
        assert not torch.equal(ranks[0]["others"][len(ANGLES) + tilt], positions), "refined by its group"


def test_groups_of_slabs_do_what_groups_of_one_rank_do(grouped):
    for case in GROUPED_CASES:
        whole_volume = whole(grouped("2 groups of 2 slabs")[case], "volume", 2)
        assert_equal(whole_volume, grouped("2 groups for 3 tilts")[case][0]["volume"])


def test_tilt_groups_approach_the_same_specimen(grouped):
    _, series = make_state(Mesh.serial(), torch.complex128)
    alone = outcome(Mesh.serial(), "updates", replace(GROUPED_CASES["updates"], tilt_groups=tilt_groups()))
    for case in GROUPED_CASES:
        found = grouped("2 groups for 3 tilts")[case][0]
        assert found["losses"][-1, 0] < 1.5 * alone["losses"][-1, 0]
        assert not torch.equal(found["volume"], alone["volume"]), "approximate, by name"


COUNTED = tomography_settings(epochs=1, batches=2, validation_fraction=0.0)
PAIR = {"2 scan ranks": (2, 1, 1), "2 slabs": (2, 1, 2)}


def untilted_state(mesh: Mesh) -> tuple[TomographyState, list]:
    """Return a series turned about the tilt axis alone: no rank needs another's rows of the volume."""
    angles, translations = torch.zeros(5, 3).double(), torch.zeros(5, 2).double()
    angles[:, 1] = torch.tensor([-40.0, -20.0, 0.0, 20.0, 40.0])
    truth = make_truth(euler_angles=angles, translations=translations)
    start = truth.start(volume_dtype=torch.complex128)
    rows = mesh.rows(GEOMETRY.volume_shape[1])
    start.volume, start.velocity = (t[:, rows.start : rows.stop].clone() for t in (start.volume, start.velocity))
    return start, truth.series()


def counting_worker(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=size)
    found = {}
    for name, (_, groups, slabs) in PAIR.items():
        mesh = Mesh.of(TorchCommunicator(), groups, slabs)
        state, series = untilted_state(mesh)
        records: list[EpochRecord] = []
        reconstruct(state, series, GEOMETRY, COUNTED, mesh, records.append)
        found[name] = records[0].bytes_sent
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_what_an_update_sends_is_slices_not_volumes(tmp_path):
    """Scan: slices × y × x, the illumination, the loss. Slabs on the axis: bands of slices under foreign rows."""
    torch.multiprocessing.start_processes(counting_worker, (2, str(tmp_path)), nprocs=2, start_method="forkserver")
    sent = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    slices, (_, ny, nx) = GEOMETRY.num_slices, GEOMETRY.volume_shape
    held_out_losses = 5 * 2 * 8  # and those of vacuum
    message = slices * ny * nx * 16 + ny * nx * 8 + 8
    assert [found["2 scan ranks"] for found in sent] == [10 * message + held_out_losses] * 2

    state, _ = untilted_state(Mesh.serial())
    blocks = [range(13), range(13, 26)]
    rows = [0, 0]  # of slices sent as their owner, and of gradients sent back to it, per rank
    back = [0, 0]
    for positions in state.positions:
        corners, _ = split_positions(positions, GEOMETRY.sampling, (ny, nx), GEOMETRY.window_shape)
        for batch in torch.arange(36).tensor_split(2):
            shares = [corners[part] for part in batch.tensor_split(2)]
            for rank, share in enumerate(shares):
                band = range(int(share[:, 0].min()), int(share[:, 0].max()) + GEOMETRY.window_shape[0])
                foreign = sum(row % ny in blocks[1 - rank] for row in band)
                rows[1 - rank] += foreign
                back[rank] += foreign
    small = 10 * 8 + 10 * 16 + held_out_losses  # losses, and the sums for the typical potential
    for rank, found in enumerate(sent):
        expected = rows[rank] * slices * nx * 16 + back[rank] * (slices * nx * 16 + nx * 8) + small
        assert found["2 slabs"] == expected
        assert found["2 slabs"] < 10 * GEOMETRY.volume_shape[0] * ny * nx * 16 / 4, "a quarter of the volume"

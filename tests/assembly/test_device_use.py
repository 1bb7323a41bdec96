"""How a reconstruction uses its device: a result does not depend on where patterns wait and how they travel."""

from dataclasses import replace

import pytest
import torch
from series_files import opened, write_series

from dptt.assembly.device_use import ON_HOST, DeviceUse, gpu_use
from dptt.assembly.problem import build_problem, plan_series_geometry
from dptt.assembly.ptychography import build_tilt_problem, slice_geometry
from dptt.assembly.start import series_start
from dptt.assembly.workload import ptychography_workload, series_workload
from dptt.config import ConfigError
from dptt.config.reconstruction import PtychographyConfig
from dptt.distributed.mesh import Mesh
from dptt.model.transfer import Flight, SameMemory
from dptt.planning.gpu import on_gpu
from dptt.planning.layout import Layout
from dptt.planning.memory import peak_memory
from dptt.solvers.tomography import reconstruct


@pytest.fixture
def path(tmp_path):
    return write_series(tmp_path / "series.h5")


class LateArrival(SameMemory):
    """Patterns are zeros on the device until they are taken; remembers how many times any were sent."""

    def __init__(self):
        self.sent, self.sources = 0, {}

    def begin(self, prepared):
        self.sent += 1
        flight = Flight(torch.zeros_like(prepared[0]))
        self.sources[id(flight.patterns)] = prepared[0]
        return flight

    def take(self, flight):
        return flight.patterns.copy_(self.sources.pop(id(flight.patterns)))


@pytest.mark.parametrize(
    ("resident", "data_memory", "sent"), [(True, 0, 15), (False, 0, 45), (False, 100, 45)], ids=str
)
def test_resident_and_streamed_patterns_give_the_same_volume(path, resident, data_memory, sent):
    choices = {"epochs": 3, "batches": 4, "validation_fraction": 0.1, "data_memory": data_memory}
    choices["weigh_tilts"] = False  # which reads a sample of its own
    volumes = []
    for use in (ON_HOST, DeviceUse(LateArrival(), resident)):
        with opened(path, reconstruction=choices) as (config, series):
            problem = build_problem(config, series, use=use)
            reconstruct(problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial())
        volumes.append(problem.state.volume)
    assert volumes[0].abs().max() > 0 and torch.equal(*volumes)
    assert use.transfer.sent == sent, "4 minibatches and the held-out patterns of 3 tilts, once or in every epoch"


def test_the_chunk_of_waves_is_the_gpus_there_and_the_configurations_elsewhere(path):
    with opened(path, reconstruction={"chunk_memory": 3.0}) as (config, series):
        chunks = [
            build_problem(config, series, use=use).settings.chunk_bytes
            for use in (ON_HOST, DeviceUse(chunk_bytes=1 << 27))
        ]
    assert chunks == [3 << 20, 1 << 27]


def least_of(workload) -> int:
    """Return the fewest bytes of a GPU that do."""
    with pytest.raises(ConfigError) as failure:
        gpu_use(on_gpu(workload, 1), Layout(), SameMemory())
    return 2**20 * int(str(failure.value).split("at least ")[1].split()[0])


def test_what_a_gpu_cannot_hold_is_refused_with_what_it_needs(path):
    with opened(path) as (config, series):
        workload = series_workload(config, series)
        small = least_of(workload)
        assert gpu_use(on_gpu(workload, small), Layout(), SameMemory()).chunk_bytes == 1 << 24
        with pytest.raises(ConfigError, match=rf"a rank may use {small // 2**20 - 1} MiB .*distribution.device=cpu"):
            gpu_use(on_gpu(workload, small - 2**20), Layout(), SameMemory())
        whole = gpu_use(on_gpu(workload, 8 << 30), Layout(), SameMemory())
    assert whole.resident and whole.chunk_bytes == 1 << 30
    assert "a rank may use 8192 MiB of its GPU" in whole.description and "waves of 1024 MiB" in whole.description
    assert "patterns stay on it" in whole.description


@pytest.mark.parametrize(
    ("data_memory", "source"), [(0, "the file, read in every epoch"), (100, "the host's memory")]
)
def test_the_log_says_where_streamed_patterns_come_from(path, data_memory, source):
    with opened(path, reconstruction={"data_memory": data_memory}) as (config, series):
        workload = series_workload(config, series)
        use = gpu_use(on_gpu(workload, least_of(workload)), Layout(), SameMemory())
    assert not use.resident and f"of patterns at a time from {source}, waves of 16 MiB" in use.description


def test_poses_and_probes_of_earlier_steps_are_planned_for(path):
    with opened(path, distribution={"slabs": 2}) as (config, series):
        start = series_start(series)
        turned = {name: replace(one, euler_angles=(9.0, 20.0, 0.0)) for name, one in start.items()}
        assert series_workload(config, series, start) == series_workload(config, series)
        assert series_workload(config, series, turned).halo_rows_most > series_workload(config, series).halo_rows_most


def test_the_ptychography_of_a_tilt_is_planned_with_what_it_computes(path):
    choice = PtychographyConfig(probe={"modes": 2}, num_slices=3, batches=5)
    with opened(path) as (config, series):
        starts = series_start(series)
        geometry = slice_geometry(choice, plan_series_geometry(config, series), series.semiangle_cutoff)
        tilt = series.tilts[0]
        workload = ptychography_workload(choice, config.volume.kind, geometry, series.tilts, starts)
        use = gpu_use(on_gpu(workload, 4 << 30), Layout(), SameMemory())
        selection = torch.arange(tilt.num_positions).numpy()
        start = starts[tilt.name]
        problem = build_tilt_problem(
            choice,
            series,
            tilt,
            kind=config.volume.kind,
            start=start,
            geometry=geometry,
            selection=selection,
            use=use,
        )
        measured = problem.patterns.read(torch.arange(4))
    assert problem.settings.chunk_bytes == use.chunk_bytes
    assert (workload.volume_shape, workload.modes) == (problem.state.volume.shape, len(problem.state.probes[0]))
    assert workload.pattern_bytes == measured[0].nbytes and workload.patterns == len(problem.state.positions[0])
    held = problem.state.volume.nbytes + problem.state.velocity.nbytes
    assert peak_memory(on_gpu(workload, 1), Layout()).volume == 2 * held, "a copy undoes an epoch"

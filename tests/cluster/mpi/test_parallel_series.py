"""A series opened by all ranks through MPI gives every rank the patterns it asks for. Run it under mpirun:

mpirun -n 4 python -m pytest --with-mpi tests/cluster/mpi
"""

import h5py
import numpy as np
import pytest
import torch

from dptt.distributed.partition import block_range
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.errors import DatasetError
from dptt.io.series_data import ElectronEvents, ExternalPatterns, SeriesHeader, TiltData
from dptt.model.faulty_patterns import PatternLimits
from dptt.model.patterns import Delivery, Loaded, PatternReader, StoredPatterns, centre_window
from dptt.model.read_ahead import ReadAhead

MPI = pytest.importorskip("mpi4py.MPI", reason="mpi4py is missing: bash scripts/setup_mpi.sh")
pytestmark = [
    pytest.mark.mpi(min_size=2),
    pytest.mark.skipif(not h5py.get_config().mpi, reason="h5py is built without MPI: bash scripts/setup_mpi.sh"),
]

SCAN, DETECTOR = (37, 29), (18, 15)
COUNTS = np.random.default_rng(3).poisson(1.3, (37 * 29, *DETECTOR)).astype(np.uint16)
POSITIONS = np.random.default_rng(4).normal(size=(37 * 29, 2))


def tilts(folder) -> list[TiltData]:
    """Return the same patterns as a list, a raster, events and a link to another file."""
    with h5py.File(folder / "raw.h5", "w") as file:
        file.create_dataset("a/data", data=COUNTS.reshape(*SCAN, *DETECTOR), chunks=(5, 29, *DETECTOR))
    flat = COUNTS.reshape(len(COUNTS), -1)
    events = np.concatenate([np.repeat(np.arange(pattern.size), pattern) for pattern in flat])
    offsets = np.concatenate([np.zeros(1, int), np.cumsum(flat.sum(1, dtype=int))])
    forms = [
        COUNTS,
        COUNTS.reshape(*SCAN, *DETECTOR),
        ElectronEvents(events, offsets, DETECTOR),
        ExternalPatterns("raw.h5", "a/data"),
    ]
    return [TiltData(form, POSITIONS, (0.0, float(n), 0.0)) for n, form in enumerate(forms)]


@pytest.fixture(params=[None, "gzip"])
def path(request, mpi_tmp_path):
    """Return a series that rank 0 wrote, by the ordinary way."""
    path = mpi_tmp_path / "series.h5"
    if MPI.COMM_WORLD.rank == 0:
        header = SeriesHeader(300e3, 21.0, (2.0, 2.0))
        write_tilt_series(path, header, tilts(mpi_tmp_path), compression=request.param)
    MPI.COMM_WORLD.barrier()
    return path


def test_every_rank_reads_its_own_shards_and_nobody_waits_for_another(path):
    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    assert size >= 2, "singletons would prove nothing"
    random = np.random.default_rng(rank)
    with TiltSeries.open(path, mpi=MPI.COMM_WORLD) as series, TiltSeries.open(path) as serial:
        assert series._file.driver == "mpio" and serial._file.driver == "sec2"
        assert series.checksum() == serial.checksum()
        for tilt in series.tilts:
            for batch in np.array_split(np.arange(len(COUNTS)), 3):
                mine = batch[block_range(len(batch), size, rank)]
                np.testing.assert_array_equal(tilt.read(mine), COUNTS[mine])
            for _ in range(rank):  # ranks read different things, a different number of times
                some = random.permutation(len(COUNTS))[: 10 + rank]
                np.testing.assert_array_equal(tilt.read(some), COUNTS[some])
            np.testing.assert_array_equal(tilt.scan_positions(), POSITIONS)


def test_patterns_are_read_ahead_while_the_ranks_communicate(path):
    """The other thread reads through MPI while this one sums: MPI must allow threads."""
    assert MPI.Query_thread() == MPI.THREAD_MULTIPLE
    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    batches = torch.arange(len(COUNTS)).tensor_split(11)
    opened = TiltSeries.open(path, mpi=MPI.COMM_WORLD)
    with opened as series, ReadAhead[Loaded]() as ahead:  # the last one is never asked for
        for tilt in series.tilts:
            stored = StoredPatterns(
                tilt.read,
                np.arange(len(COUNTS)),
                DETECTOR,
                scale=1.0,
                mean_electrons=350.0,
                limits=PatternLimits(350.0, 0.0, 1e9),
            )
            reader = PatternReader(stored, Delivery(DETECTOR, ahead=ahead))
            parts = [batch[block_range(len(batch), size, rank)] for batch in batches]
            for mine, upcoming in zip(parts, [*parts[1:], parts[0]], strict=True):
                patterns = reader.read(mine)
                reader.prefetch(upcoming)
                for _ in range(20):
                    total = np.full(1000, float(rank))
                    MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, total)
                    assert (total == size * (size - 1) / 2).all()
                assert torch.equal(patterns, centre_window(COUNTS[mine.numpy()], DETECTOR))


def test_a_file_that_is_no_series_is_refused_by_every_rank(mpi_tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        TiltSeries.open(mpi_tmp_path / "absent.h5", mpi=MPI.COMM_WORLD)
    if MPI.COMM_WORLD.rank == 0:
        (mpi_tmp_path / "text.h5").write_text("not HDF5 at all")
    MPI.COMM_WORLD.barrier()
    with pytest.raises(DatasetError, match="is not an HDF5 file"):
        TiltSeries.open(mpi_tmp_path / "text.h5", mpi=MPI.COMM_WORLD)

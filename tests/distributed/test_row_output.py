"""Every rank writes its own rows of a file, without sending them, and all agree as often as for one row."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from ranks import Group

from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import detect_placement
from dptt.distributed.mesh import Mesh
from dptt.io.slab_files import allocate_rows
from dptt.runtime import row_output
from dptt.runtime.row_output import write_together

HEIGHT = 7
VOLUME = np.arange(3 * HEIGHT * 5, dtype=np.float32).reshape(3, HEIGHT, 5)


def create(path: Path) -> None:
    with h5py.File(path, "w") as file:
        allocate_rows(file, "volume", VOLUME.shape, VOLUME.dtype)
        allocate_rows(file, "velocity", VOLUME.shape, np.dtype(np.complex64))


def write(rank: int, folder: str, slabs: int) -> None:
    with open_communicator(detect_placement(os.environ), "gloo", 20.0) as world:
        mesh = Mesh.of(world, slabs=slabs)
        own = VOLUME[:, mesh.rows(HEIGHT).start : mesh.rows(HEIGHT).stop]
        gathered, written = [], []
        for communicator in {id(one): one for one in (world, mesh.slab)}.values():
            gather = communicator.gather_messages
            communicator.gather_messages = lambda message, gather=gather: gathered.append(0) or gather(message)
        write_at = row_output.write_rows_at
        row_output.write_rows_at = lambda *arguments: written.append(arguments[-2].nbytes) or write_at(*arguments)
        before = mesh.bytes_sent
        rows = {"volume": own, "velocity": own * np.complex64(1j)}
        write_together(Path(folder, "file.h5"), mesh, HEIGHT, create, rows)
        report = [len(gathered), sum(written), mesh.bytes_sent - before]
        Path(folder, f"{rank}.json").write_text(json.dumps(report))


@pytest.mark.parametrize(("ranks", "slabs"), [(3, 3), (4, 2)])
def test_every_rank_writes_its_own_rows_and_sends_none(ranks, slabs, tmp_path):
    ended = Group(ranks, write, (str(tmp_path), slabs), tmp_path / "log").wait()
    assert ended.codes == [0] * ranks, ended.said
    with h5py.File(tmp_path / "file.h5") as file:
        np.testing.assert_array_equal(file["volume"][()], VOLUME)
        np.testing.assert_array_equal(file["velocity"][()], VOLUME * np.complex64(1j))
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(ranks)]
    agreements, written, sent = (list(numbers) for numbers in zip(*reports, strict=True))
    assert agreements == [4] * ranks, "three, and where the file is"
    assert sum(written) == 3 * VOLUME.nbytes and min(written[:slabs]) > 0 and sum(written[slabs:]) == 0
    assert sent == [0] * ranks

"""No STAR, IMOD, text, NumPy, MRC, XYZ or CIF file makes its reader raise anything but the error it promises.

DPTT_MUTATIONS sets the number of changed files of each kind, as in ``DPTT_MUTATIONS=5000 pytest ...``.
"""

import io
import os
import random

import ase.build
import ase.io
import foreign_files
import mrcfile
import numpy as np
import pytest

from dptt.io.errors import ImportDescriptionError
from dptt.io.imod import AlignmentFileError, PoseTable, read_imod, write_imod
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.relion import read_relion, write_relion
from dptt.simulation.structures import read_structure

COUNT = int(os.environ.get("DPTT_MUTATIONS", "60"))
POSES = PoseTable(np.column_stack([np.zeros(5), np.linspace(-60, 60, 5), np.ones(5)]), np.ones((5, 2)))
VALUES = np.arange(24.0).reshape(2, 3, 4)
# fmt: off
WORDS = [
    b"", b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 5000, b"1_0", b"x", b"X", b"Qq", b"79", b"?", b".", b"'",
    b'"', b";", b"#", b"\n;\n", b"loop_", b"data_", b"data_b\n", b"_x", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r",
    b"(", b")", b"{", b"}", b"[", b"Lattice=", b"Properties=species:S:1:pos:R:3 ", b"pbc=", b"0.5(3)", b"1,5",
    b"\xd9\xa3", b"=",
]
# fmt: on


def mutated(generator, data):
    """Change bytes, insert or replace words, cut or repeat a part."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        start = generator.randrange(len(data) + 1)
        stop = min(len(data), start + generator.choice([0, 1, 1, 4, 30]))
        other = generator.randrange(len(data) + 1)
        word = generator.choice(WORDS)
        data[start:stop] = generator.choice([generator.randbytes(1), word, b" " + word + b" ", data[other:][:40]])
        if generator.random() < 0.1:
            del data[generator.randrange(len(data) + 1) :]
    return bytes(data)


def saved(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def stack(folder):
    with mrcfile.new(folder / "stack.mrc") as file:
        file.set_data(VALUES.astype(np.float32))
    return (folder / "stack.mrc").read_bytes()


def structure(folder, kind, atoms):
    ase.io.write(folder / f"original.{kind}", atoms)
    return (folder / f"original.{kind}").read_bytes()


def read_array(path):
    with open_array(ArraySource(str(path), "a" if path.suffix == ".npz" else None)) as array:
        return array.read_all()


def star(folder):
    return write_relion(folder / "original.star", POSES, list("abcde")).read_bytes()


def transforms(folder):
    return write_imod(folder / "original", POSES, 1.0, (8, 8))[1].read_bytes()


def read_transforms(path):
    return read_imod(path.parent / "original.tlt", path, 1.0, (8, 8))


GOLD = ase.build.bulk("Au", cubic=True)
KINDS = {
    "star": (star, read_relion, AlignmentFileError),
    "xf": (transforms, read_transforms, AlignmentFileError),
    "tlt": (lambda f: b"-60.0\n0\n 60.0\n", read_array, ImportDescriptionError),
    "csv": (lambda f: b"1, 2\n3, 4\n5, 6\n", read_array, ImportDescriptionError),
    "npy": (lambda f: saved(lambda b: np.save(b, VALUES)), read_array, ImportDescriptionError),
    "npz": (lambda f: saved(lambda b: np.savez_compressed(b, a=VALUES)), read_array, ImportDescriptionError),
    "mrc": (stack, read_array, ImportDescriptionError),
    "xyz": (lambda f: structure(f, "xyz", GOLD), read_structure, ValueError),
    "cif": (lambda f: structure(f, "cif", GOLD), read_structure, ValueError),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused(tmp_path, kind):
    original, read, error = KINDS[kind]
    data, path, refused = original(tmp_path), tmp_path / f"file.{kind}", 0
    path.write_bytes(data)
    read(path)
    for seed in range(COUNT):
        path.write_bytes(mutated(random.Random(f"{kind} {seed}"), data))
        try:
            read(path)
        except error as failure:
            assert path.name in str(failure) or error is ValueError
            assert len(str(failure)) < 10_000
            refused += 1
        except Exception as failure:
            pytest.fail(f"mutation {seed}: {type(failure).__name__}: {failure}")
    assert refused > COUNT / 10, "mutations that are all read test nothing"


FOREIGN = [
    foreign_files.write_blockfile,
    foreign_files.write_dectris,
    foreign_files.write_dm4,
    foreign_files.write_empad,
    foreign_files.write_hspy,
    foreign_files.write_matlab_5,
    foreign_files.write_merlin,
    foreign_files.write_nexus,
    foreign_files.write_py4dstem,
    foreign_files.write_tiff,
    foreign_files.write_velox,
    foreign_files.write_zarr_zip,
]


@pytest.mark.parametrize("write", FOREIGN, ids=lambda write: write.__name__)
def test_a_mutated_file_of_a_detector_is_read_or_refused(tmp_path, write):
    path = write(tmp_path)
    data, refused, count = path.read_bytes(), 0, max(COUNT // 4, 1)
    for seed in range(count):
        path.write_bytes(mutated(random.Random(f"{write.__name__} {seed}"), data))
        try:
            with open_array(ArraySource(str(path))) as array:
                if np.prod(array.shape) < 1e7:
                    array.read_all()
        except ImportDescriptionError as failure:
            assert path.name in str(failure)
            refused += 1
    assert refused > count / 10

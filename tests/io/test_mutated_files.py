"""No STAR, IMOD, text, NumPy, MRC, XYZ or CIF file makes its reader raise anything but the error it promises.

DPTT_MUTATIONS sets the number of changed files of each kind, as in ``DPTT_MUTATIONS=5000 pytest ...``.
"""

import io
import os
import random
from pathlib import Path

import ase.build
import ase.io
import mrcfile
import numpy as np
import pytest
from mutations import mutated

from dptt.io.errors import ImportDescriptionError
from dptt.io.imod import AlignmentFileError, PoseTable, read_imod, write_imod
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.tilt_tables import angles_in_table
from dptt.io.relion import read_relion, write_relion
from dptt.simulation.structures import read_structure

COUNT = int(os.environ.get("DPTT_MUTATIONS", "60"))
POSES = PoseTable(np.column_stack([np.zeros(5), np.linspace(-60, 60, 5), np.ones(5)]), np.ones((5, 2)))
VALUES = np.arange(24.0).reshape(2, 3, 4)


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


MDOC = """PixelSpacing = 2.0
ImageFile = scan.mrc
[T = SerialEM: Digitized]
[ZValue = 0]
TiltAngle = -30.0
SubFramePath = X:\\data\\first.mib
[ZValue = 1]
TiltAngle = 0.01
SubFramePath = X:\\data\\second.mib
"""
FILES = [Path("first.mib"), Path("second.mib")]


def read_angles(path):
    return angles_in_table(ArraySource(str(path)), FILES)


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
    "mdoc": (lambda f: MDOC.encode(), read_angles, ImportDescriptionError),
    "rawtlt": (lambda f: b"-60.0\n0.01\n", read_angles, ImportDescriptionError),
    "names.csv": (lambda f: b"file,angle\nfirst.mib,-30\nsecond.mib,0.5\n", read_angles, ImportDescriptionError),
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

"""No STAR, IMOD, text, NumPy, MRC, XYZ or CIF file makes its reader raise anything but the error it promises.

DPTT_MUTATIONS sets the number of changed files of each kind, as in ``DPTT_MUTATIONS=5000 pytest ...``.
"""

import io
import os
import random
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

import ase.build
import ase.io
import foreign_files
import mrcfile
import numpy as np
import pytest

from dptt.config import ConfigError, config_from_yaml
from dptt.config.starter import starter_text
from dptt.io.errors import ImportDescriptionError
from dptt.io.imod import AlignmentFileError, PoseTable, read_imod, write_imod
from dptt.io.importers import trial
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.survey import survey
from dptt.io.importers.tilt_tables import angles_in_table
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


def damaged(generator, data):
    """Change bits or bytes in their places, or as `mutated` does, after which all that follows is elsewhere."""
    if generator.random() < 0.4:
        return mutated(generator, data)
    changed = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(data))
        changed[place] = generator.choice([changed[place] ^ 1 << generator.randrange(8), generator.randrange(256), 0])
    return bytes(changed)


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


FOREIGN = {
    name.removeprefix("write_"): write
    for name, write in vars(foreign_files).items()
    if name.startswith("write_") and callable(write)
}
"""Every format that is imported; some have several files, or a folder of them."""
ALWAYS = ("hspy", "empad", "tiff", "zarr_zip", "matlab_5", "dectris")
"""One of each container, and of those with companions."""
FEW = COUNT if "DPTT_MUTATIONS" in os.environ else 5


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def ended_within(seconds):
    """End this process if the block takes longer, as nothing else ends a library that runs for ever."""
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def read_patterns(path):
    with open_array(ArraySource(str(path))) as array:
        return array.read_all() if np.prod(array.shape, dtype=float) < 1e7 else None


def start_with(path):
    """Do what `dptt init` does with a file, and load what it would write."""
    found = survey(path)
    with suppress(ConfigError):
        config_from_yaml(starter_text("scan", found.settings, found.origin, tilts=found.num_tilts))


@pytest.mark.filterwarnings("ignore")  # of the libraries that read what is damaged
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in ALWAYS else pytest.mark.thorough) for k in FOREIGN]
)
def test_a_mutated_file_of_a_detector_is_read_or_refused(tmp_path, kind, monkeypatch):
    """By import, and by `dptt init`, which reads what the file says of itself; whichever of its files is changed."""
    folder, told = tmp_path / "scan", 0
    folder.mkdir()
    path = FOREIGN[kind](folder)
    sound = {file: file.read_bytes() for file in files_of(folder)}
    read_patterns(path)
    monkeypatch.setattr(trial, "PATIENCE", 1.0)  # [s] that HDF5 may search in a damaged file
    for seed in range(FEW):
        generator = random.Random(f"{kind} {seed}")
        file = generator.choices(list(sound), [len(data) ** 0.5 for data in sound.values()])[0]
        for read in (read_patterns, start_with):
            file.unlink()  # HDF5 must not take it for the file that it had open before
            file.write_bytes(damaged(random.Random(f"{kind} {seed}"), sound[file]))
            try:
                with ended_within(30):
                    read(path)
            except ImportDescriptionError as failure:
                assert any(other.name in str(failure) for other in (*sound, *file.parents)), str(failure)
                assert len(str(failure)) < 10_000
                told += 1
            except Exception as failure:
                pytest.fail(f"mutation {seed} of {file.name}: {type(failure).__name__}: {failure}")
        file.write_bytes(sound[file])
    assert told or FEW < 50, "mutations that are all read test nothing"


CHECKED = {
    "npz": lambda folder: saved_as(folder / "scan.npz", lambda b: np.savez(b, a=foreign_files.COUNTS)),
    "nion_ndata": foreign_files.write_nion_ndata,
    "zarr_zip": foreign_files.write_zarr_zip,
}
"""Formats with checksums of all that is in a file: zip files. Those of a TIFF file are of its patterns alone."""


def saved_as(path, write):
    path.write_bytes(saved(write))
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CHECKED)
def test_a_wrong_bit_is_noticed_where_the_format_has_checksums(tmp_path, kind):
    path = CHECKED[kind](tmp_path)
    data, sound, refused = path.read_bytes(), read_patterns(path), 0
    for seed in range(COUNT):
        generator, changed = random.Random(f"{kind} {seed}"), bytearray(data)
        changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.unlink()
        path.write_bytes(changed)
        try:
            found = read_patterns(path)
        except ImportDescriptionError:
            refused += 1
        else:
            assert found.shape == sound.shape and (found == sound).all(), f"mutation {seed}"
    assert refused > COUNT / 4

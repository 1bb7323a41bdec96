"""No file of a detector, or of another program's results, makes `import` or `init` raise anything but its error.

DPTT_MUTATIONS sets the number of changed files of each kind, as in ``DPTT_MUTATIONS=5000 pytest ...``.
"""

import functools
import os
import random
import signal
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import foreign_files
import foreign_results
import numpy as np
import pytest
from mutations import damaged

from dptt.config import ConfigError, config_from_yaml
from dptt.config.starter import starter_text
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers import trial
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.reconstructions import read_reconstruction
from dptt.io.importers.survey import survey
from dptt.io.importers.zenodo13060513 import find_published

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that read what is damaged
COUNT = int(os.environ.get("DPTT_MUTATIONS", "60"))
FEW = COUNT if "DPTT_MUTATIONS" in os.environ else 5
FOREIGN = {
    name.removeprefix("write_"): write
    for name, write in vars(foreign_files).items()
    if name.startswith("write_") and callable(write)
}
"""Every format that is imported; some have several files, or a folder of them."""
ALWAYS = ("hspy", "empad", "tiff", "zarr_zip", "matlab_5", "dectris")
"""One of each container, and of those with companions."""


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


def read_source(source):
    with open_array(source) as array:
        return array.read_all() if np.prod(array.shape, dtype=float) < 1e7 else None


def read_patterns(path):
    return read_source(ArraySource(str(path)))


def start_with(path):
    """Do what `dptt init` does with a file, and load what it would write."""
    found = survey(path)
    load(starter_text("scan", found.settings, found.origin, tilts=found.num_tilts))


@functools.cache
def load(text):
    with suppress(ConfigError):
        config_from_yaml(text)


def mutate(kind: str, folder: Path, path: Path, readers: Sequence[Callable[[Path], object]]) -> None:
    """Let each reader read `path` many times, each time with another one of the files in `folder` changed."""
    sound, told = {file: file.read_bytes() for file in files_of(folder)}, 0
    for read in readers:
        read(path)
    for seed in range(FEW):
        generator = random.Random(f"{kind} {seed}")
        file = generator.choices(list(sound), [len(data) ** 0.5 for data in sound.values()])[0]
        for read in readers:
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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE", 1.0)  # [s] that HDF5 may search in a damaged file
    (tmp_path / "scan").mkdir()
    return tmp_path / "scan"


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in ALWAYS else pytest.mark.thorough) for k in FOREIGN]
)
def test_a_mutated_file_of_a_detector_is_read_or_refused(folder, kind):
    """By import, and by `dptt init`, which reads what the file says of itself; whichever of its files is changed."""
    mutate(kind, folder, FOREIGN[kind](folder), (read_patterns, start_with))


@pytest.mark.parametrize("program", foreign_results.WRITERS)
def test_a_mutated_result_of_another_program_is_read_or_refused(folder, program):
    mutate(program, folder, foreign_results.WRITERS[program](folder / "result.x"), (read_reconstruction,))


def read_published(folder):
    found = find_published(folder)
    assert np.isfinite(found.euler_angles).all() and np.isfinite(found.translations).all()
    for source in (*found.patterns, *found.probes, *found.positions):
        read_source(source)


@pytest.mark.parametrize("codec", ["json2", "pickle"])
def test_a_mutated_file_of_the_published_series_is_read_or_refused(folder, codec):
    mutate(codec, folder, foreign_results.published(folder, codec), (read_published,))


def write_npz(folder):
    np.savez(folder / "scan.npz", a=foreign_files.COUNTS)
    return folder / "scan.npz"


CHECKED = {
    "npz": write_npz,
    "nion_ndata": foreign_files.write_nion_ndata,
    "zarr_zip": foreign_files.write_zarr_zip,
}
"""Formats with checksums of all that is in a file: zip files. Those of a TIFF file are of its patterns alone."""


def test_a_wrong_length_that_hides_members_of_a_zipped_store_is_noticed(tmp_path):
    """The next entry of the directory would be a comment, and zarr would read zeros for its chunk."""
    path = foreign_files.write_zarr_zip(tmp_path)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2", 0, data.rindex(b"PK\1\2"))
    data[entry + 32] = len(data) - 22 - data.rindex(b"PK\1\2")  # all of the last entry
    path.write_bytes(data)
    with pytest.raises(ImportDescriptionError, match="in its directory is damaged"):
        read_patterns(path)


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

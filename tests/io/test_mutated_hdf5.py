"""A damaged HDF5 file is refused with the error that its reader promises, or read as if it were sound.

DPTT_MUTATIONS sets the number of damaged files of each kind, as in ``DPTT_MUTATIONS=2000 pytest ...``.
"""

import dataclasses
import os
import random
from pathlib import Path

import numpy as np
import pytest
from own_files import COMPLEX, KINDS, OTHERS, VOLUME

from dptt.io.checkpoint import load_latest_checkpoint, previous_path, save_checkpoint

COUNT = int(os.environ.get("DPTT_MUTATIONS", "25"))


def damaged(data: bytes, seed: str) -> bytes:
    """Return `data` with one bit changed, or, one time in ten, cut off."""
    generator = random.Random(seed)
    if generator.random() < 0.1:
        return data[: generator.randrange(len(data))]
    changed = bytearray(data)
    changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def plain(value: object) -> object:
    """Return nested values so that they compare equal if, and only if, every type, shape and bit is equal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).dtype.str, np.shape(value), np.asarray(value).tobytes()
    return type(value), repr(value)


def damage(path: Path, kind: str, read, error) -> tuple[int, list[str]]:
    """Read many damaged versions of `path`; return how many were refused, and which were read as something else."""
    data, sound = path.read_bytes(), plain(read(path))
    refused, changed = 0, []
    for seed in range(COUNT):
        path.unlink()  # HDF5 must not take it for the file that it had open before
        path.write_bytes(damaged(data, f"{kind} {seed}"))
        try:
            found = plain(read(path))
        except error as failure:
            assert len(str(failure)) < 10_000
            assert path.name in str(failure) or "series.h5" in str(failure), (
                "a series names itself where a link fails"
            )
            refused += 1
        except Exception as failure:
            pytest.fail(f"{kind}, mutation {seed}: {type(failure).__name__}: {failure}")
        else:
            if found != sound:
                changed.append(f"{kind}, mutation {seed}")
    return refused, changed


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_or_read_without_a_change(tmp_path, kind):
    write, read, error = KINDS[kind]
    refused, changed = damage(write(tmp_path), kind, read, error)
    assert not changed
    assert refused > COUNT / 10, "damage that is never noticed tests nothing"


@pytest.mark.parametrize("kind", OTHERS)
def test_a_damaged_file_of_another_program_never_raises_what_hdf5_raises(tmp_path, kind):
    write, read, error = OTHERS[kind]
    refused, _ = damage(write(tmp_path), kind, read, error)
    assert refused > 0


def test_whatever_the_damage_the_checkpoint_before_is_used(tmp_path):
    for epoch in (1, 2):
        save_checkpoint(tmp_path / "run.h5", {"probe": COMPLEX}, {"epoch": epoch}, {"volume": VOLUME})
    data, found = (tmp_path / "run.h5").read_bytes(), []
    for seed in range(COUNT):
        (tmp_path / "run.h5").unlink()
        (tmp_path / "run.h5").write_bytes(damaged(data, f"previous {seed}"))
        arrays, attributes, used = load_latest_checkpoint(tmp_path / "run.h5")
        assert attributes["epoch"] == (1 if used == previous_path(tmp_path / "run.h5") else 2)
        np.testing.assert_array_equal(arrays["volume"], VOLUME)
        found.append(attributes["epoch"])
    assert set(found) == {1, 2}

"""Volumes and what was found beside them come back as written; .mrc files are valid."""

import os

import h5py
import mrcfile
import numpy as np
import pytest

from dptt.io.errors import VolumeError
from dptt.io.mrc import write_mrc
from dptt.io.volumes import ReconstructedTilt, read_volume, write_volume

RANDOM = np.random.default_rng(5)
VOLUME = (RANDOM.normal(size=(3, 4, 7)) + 1j * RANDOM.normal(size=(3, 4, 7))).astype(np.complex64)
VOXEL_SIZE = (2.0, 0.5, 0.25)


@pytest.mark.parametrize("volume", [VOLUME, VOLUME.real.copy()], ids=["complex64", "float32"])
def test_a_volume_comes_back_with_its_tilts_and_provenance(tmp_path, volume):
    attributes = {"config": "optics:\n" * 20_000, "checksum": "ab12", "epochs": 6, "loss": 0.25}
    tilts = {
        "0000": ReconstructedTilt(
            (0.5, -60.0, 0.1), (1.5, -2.0), RANDOM.normal(size=(5, 2)), VOLUME[:2], {"C10_A": -200.0}
        ),
        "0001": ReconstructedTilt((0.0, 60.0, 0.0), (0.0, 0.0)),
    }
    write_volume(
        tmp_path / "volume.h5", volume, VOXEL_SIZE, attributes=attributes, tilts=tilts, origin=(0.0, 1.0, -1.0)
    )
    found = read_volume(tmp_path / "volume.h5")
    assert found.volume.dtype == volume.dtype
    np.testing.assert_array_equal(found.volume, volume)
    assert (found.voxel_size, found.origin, found.attributes) == (VOXEL_SIZE, (0.0, 1.0, -1.0), attributes)
    assert list(found.tilts) == ["0000", "0001"]
    first, second = found.tilts.values()
    assert (first.euler_angles, first.translation) == ((0.5, -60.0, 0.1), (1.5, -2.0))
    assert first.attributes == {"C10_A": -200.0}
    np.testing.assert_array_equal(first.scan_positions, tilts["0000"].scan_positions)
    np.testing.assert_array_equal(first.probe, VOLUME[:2])
    assert second.scan_positions is None and second.probe is None
    with h5py.File(tmp_path / "volume.h5") as file:
        assert file["volume"].attrs["units"] == b"V"


def test_a_volume_that_cannot_be_stored_is_refused_with_all_reasons(tmp_path):
    with pytest.raises(VolumeError) as failure:
        write_volume(tmp_path / "volume.h5", np.zeros((3, 4)), VOXEL_SIZE, attributes={"format": "x", "version": 2})
    assert len(failure.value.problems) == 3
    assert "volume has shape (3, 4), type float64; expected (z, y, x) of complex64 or float32" in str(failure.value)
    assert "attribute 'format' is part of the format. Rename it" in str(failure.value)
    assert os.listdir(tmp_path) == []


def test_unreadable_volume_files_are_named_with_the_reason(tmp_path):
    path = tmp_path / "volume.h5"
    with pytest.raises(VolumeError, match="there is no such file"):
        read_volume(path)
    write_volume(path, VOLUME, VOXEL_SIZE)
    with h5py.File(path, "r+") as file:
        del file["volume"].attrs["origin_A"]
        file["volume"].attrs["voxel_size_A"] = (1.0, 2.0)
        file.create_group("tilts/0000").attrs["theta_deg"] = 1.0
    with pytest.raises(VolumeError) as failure:
        read_volume(path)
    assert len(failure.value.problems) == 5
    assert "voxel_size_A is array([1., 2.]); expected 3 finite positive numbers [Å (z, y, x)]" in str(failure.value)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(VolumeError, match="attribute version is .*2.*; expected 1 to 1. Update dptt"):
        read_volume(path)
    os.truncate(path, 2000)
    with pytest.raises(VolumeError, match="is truncated at 2000 bytes"):
        read_volume(path)


def test_an_mrc_file_is_valid_and_has_the_voxel_size_of_each_axis(tmp_path, capsys):
    path = tmp_path / "volume.mrc"
    write_mrc(path, VOLUME.real.copy(), VOXEL_SIZE)
    assert mrcfile.validate(path)
    assert "File appears to be valid" in capsys.readouterr().out
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(mrc.data, VOLUME.real)
        assert (mrc.voxel_size.z, mrc.voxel_size.y, mrc.voxel_size.x) == VOXEL_SIZE
        assert mrc.is_volume() and mrc.header.mode == 2
    assert os.listdir(tmp_path) == ["volume.mrc"]


def test_mrc_refuses_complex_numbers_and_existing_files(tmp_path):
    with pytest.raises(VolumeError, match="type complex128; expected .* float32. Convert it"):
        write_mrc(tmp_path / "volume.mrc", np.zeros((2, 3, 4), complex), VOXEL_SIZE)
    write_mrc(tmp_path / "volume.mrc", VOLUME.real.copy(), VOXEL_SIZE)
    with pytest.raises(FileExistsError):
        write_mrc(tmp_path / "volume.mrc", VOLUME.real.copy(), VOXEL_SIZE)

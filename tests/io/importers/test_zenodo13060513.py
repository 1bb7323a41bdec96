"""The published data of [P]: their poses in dptt's convention, and files in their layout."""

import json
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_results import K_MAX, PATTERNS, PIXELS, POSES, POSITIONS, PROBES, SHIFTS, published, store_object
from scipy.spatial.transform import Rotation

from dptt.commands.importing import import_series
from dptt.config import ConfigError, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.zarr_objects import first_item
from dptt.io.importers.zenodo13060513 import find_published, invert_pose
from dptt.physics.electron import wavelength

numcodecs = pytest.importorskip("numcodecs")
pytestmark = pytest.mark.filterwarnings("ignore")  # of zarr, about its zip files


def import_of(folder: Path, *lines: str):
    text = "".join(f"  {line}\n" for line in ("kind: zenodo13060513", f"folder: {folder}", *lines))
    (folder / "te.yaml").write_text(f"series: {folder}/series.h5\nrun: {folder}/run\nimport:\n{text}")
    return load_config(folder / "te.yaml")


@pytest.mark.parametrize("codec", ["json2", "msgpack2", "pickle"])
def test_a_folder_of_published_files_becomes_a_series_with_probes_positions_and_poses(tmp_path, codec, caplog):
    caplog.set_level("INFO", "dptt")
    import_series(import_of(published(tmp_path, codec), "iterations: {173: 0}"))
    pixel = 1 / (2 * K_MAX)
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert (series.energy, series.semiangle_cutoff) == (80e3, 25.0)
        assert series.angular_sampling == pytest.approx((1e3 * wavelength(80e3) / (PIXELS * pixel),) * 2)
        for number, tilt in enumerate(series.tilts):
            iteration = 0 if number == 1 else 1
            np.testing.assert_array_equal(tilt.read(slice(None)), PATTERNS[number].reshape(-1, PIXELS, PIXELS))
            np.testing.assert_array_equal(tilt.probe(), PROBES[number, iteration])
            stored = POSITIONS[number, iteration]
            expected = np.stack([stored[1], stored[0]], axis=1) + pixel / 2
            np.testing.assert_allclose(tilt.scan_positions(), expected, atol=1e-12)
            pose = invert_pose(*(values[number] for values in POSES.values()), SHIFTS[:, number] * pixel)
            assert tilt.euler_angles == pytest.approx(pose[0])
            assert tilt.translation == pytest.approx((pose[1][1], pose[1][0]))
    assert "3 tilts: 171, 173, 204" in caplog.text and "from the paper: energy 80000" in caplog.text


def test_a_pose_takes_every_point_where_their_resampling_of_the_volume_takes_it():
    phi, theta, psi = 0.7, -0.2, 0.3
    shift = np.array([2.0, -3.0])
    about_y = Rotation.from_euler("ZYX", [phi, theta, psi]).as_matrix()  # on their axes (x, z, y), as torch samples
    points = np.random.default_rng(1).normal(0, 10, (20, 3))  # (x, y, z) in the volume
    turned = (points[:, [0, 2, 1]] - [shift[0], 0.0, shift[1]]) @ about_y  # R^-1 (r - t) = R^T (r - t)
    angles, tau = invert_pose(phi, theta, psi, shift)
    expected = Rotation.from_euler("xyz", angles, degrees=True).apply(points) + tau
    np.testing.assert_allclose(turned[:, [0, 2, 1]], expected, atol=1e-9)
    only_tilt, _ = invert_pose(0.5, 0.0, 0.0, np.zeros(2))
    assert only_tilt == pytest.approx((0.0, np.degrees(0.5), 0.0)), "their phi is the stage tilt, of the same sign"


def refused(tmp_path, *words, **options) -> None:
    with pytest.raises(ImportDescriptionError) as failure:
        find_published(tmp_path, **options)
    for word in words:
        assert word in str(failure.value)


def test_all_that_is_missing_is_named(tmp_path):
    refused(tmp_path, "no NUMBER.zip and NUMBER.h5", "no phi_astra.npy", "no psi_astra", "no translation_astra.npy")
    published(tmp_path)
    refused(tmp_path, "has no 230.h5 with probe", "has no 5.zip with patterns", tilts=[171, 230, 5])
    refused(tmp_path, "has 2 tilts ([171, 173])", "'phi': 3", "Set import.tilts", tilts=[171, 173])
    refused(tmp_path, "171.h5", "has 2 iterations", iterations={171: 2})
    with h5py.File(tmp_path / "results" / "204.h5", "a") as file:
        del file["best_positions"]
    refused(tmp_path, "204.h5", "has no dataset best_positions")


class Harmful:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize("place", ["filter", "compressor"])
def test_a_pickle_that_would_run_a_program_is_refused(tmp_path, place):
    path = tmp_path / "a.zip"
    array = np.empty(1, object)
    array[0] = Harmful()
    content = pickle.dumps(array)
    store_object(path, "meta", {}, "pickle")
    with zipfile.ZipFile(path, "a") as file:
        if place == "compressor":
            metadata = json.loads(file.read("meta/.zarray")) | {"compressor": {"id": "pickle"}, "filters": None}
            file.writestr("meta/.zarray", json.dumps(metadata))
        file.writestr("meta/0", content if place == "compressor" else numcodecs.Zlib().encode(content))
    with pytest.raises(ImportDescriptionError, match="builtins.eval, which could run a program"):
        first_item(path, "meta")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("tilt_angles: [1]", "data: a.npy"), "expected no data, tilt_angles beside it"),
        (("scan: {step: 1}",), "expected no scan beside it"),
    ],
)
def test_what_the_published_files_tell_cannot_be_told_again(tmp_path, lines, message):
    with pytest.raises(ConfigError, match=message):
        import_of(tmp_path, *lines)
    with pytest.raises(ConfigError, match="expected `folder` beside it"):
        load_config(tmp_path / "te.yaml", ["import={kind: zenodo13060513}"])

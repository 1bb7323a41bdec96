"""`dptt ptycho`: every tilt alone; done tilts are kept, a changed choice repeats them, ranks share them."""

import numpy as np
import pytest
import torch
from command_line import edit_series, files_in, replace_patterns, run_ranks

from dptt.assembly.geometry import SLICES_PER_DEPTH_OF_FIELD_OF_ONE_TILT, depth_of_field
from dptt.assembly.ptychography import cropped_positions, slice_geometry
from dptt.config import ConfigError
from dptt.config.reconstruction import PtychographyConfig
from dptt.io.dataset import TiltSeries
from dptt.io.ptychography import PtychographyError, read_tilt_image, tilt_path
from dptt.kernels import project_slices
from dptt.model.forward import Geometry
from dptt.physics.rotation import sampling_map

CHOICES = ["ptychography.epochs=6", "ptychography.batches=2"]


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    """Return the folder of a finished run on the tiny series."""
    from dptt.cli import main

    folder = tmp_path_factory.mktemp("ptycho")
    assert main(["ptycho", str(tiny / "tiny.yaml"), f"run={folder}", *CHOICES]) == 0
    return folder


def test_projections_are_those_of_the_true_potential(tiny, done):
    with TiltSeries.open(tiny / "series.h5") as series:
        truth = series.truth()
    assert truth is not None and truth.volume is not None and truth.voxel_size is not None
    for tilt in truth.tilts:
        image = read_tilt_image(done / "ptychography.h5", tilt.name)
        assert image.pixel_size == pytest.approx(truth.voxel_size[1:])
        pose = torch.tensor(tilt.euler_angles), torch.tensor(tilt.translation)
        map_ = sampling_map(*(p.double() for p in pose), truth.voxel_size)
        expected = project_slices(torch.from_numpy(truth.volume).double(), map_, 1, truth.voxel_size[0])[0].numpy()
        lit = image.illumination > 0.3
        assert np.corrcoef(expected[lit], image.projection[lit])[0, 1] > 0.85, tilt.name


def test_a_second_run_repeats_only_tilts_that_are_missing_or_were_made_otherwise(dptt, tiny, done, tmp_path):
    path = done / "ptychography.h5"
    made = {name: tilt_path(path, name).stat().st_mtime_ns for name in ("0000", "0001", "0002")}
    tilt_path(path, "0001").unlink()
    tilt_path(path, "0002").write_bytes(b"half a file")
    ended = dptt("ptycho", tiny / "tiny.yaml", f"run={done}", *CHOICES)
    assert ended.code == 0, ended.stderr
    assert [line.split()[1] for line in ended.stderr.splitlines() if line.startswith("tilt 0")] == ["0001", "0002"]
    assert tilt_path(path, "0000").stat().st_mtime_ns == made["0000"]
    ended = dptt("ptycho", tiny / "tiny.yaml", f"run={done}", *CHOICES, "ptychography.momentum=0.4")
    assert sum(line.startswith("tilt 0") for line in ended.stderr.splitlines()) == 5


def test_ranks_share_the_tilts_and_find_what_one_process_finds(tiny, done, tmp_path, dptt):
    ended = run_ranks(3, ["ptycho", tiny / "tiny.yaml", f"run={tmp_path / 'run'}", *CHOICES], tmp_path / "said")
    assert [one.code for one in ended] == [0, 0, 0], ended[0].stderr
    alone = dptt("ptycho", tiny / "tiny.yaml", f"run={tmp_path / 'alone'}", *CHOICES)
    assert alone.code == 0
    for name in ("0000", "0003", "0004"):
        images = [read_tilt_image(tmp_path / run / "ptychography.h5", name).slices for run in ("run", "alone")]
        np.testing.assert_allclose(images[0], images[1], atol=1e-5 * np.abs(images[1]).max())


def test_the_reconstruction_goes_on_from_probes_and_positions_of_the_tilts(dptt, tiny, tmp_path):
    choices = [tiny / "tiny.yaml", f"run={tmp_path / 'run'}", *CHOICES, "ptychography.positions=2"]
    ended = dptt("reconstruct", *choices)
    assert ended.code == 2 and "ptychography.h5" in ended.stderr and "dptt ptycho" in ended.stderr
    assert dptt("ptycho", *choices).code == 0
    ended = dptt("reconstruct", *choices, "reconstruction.probe=null", "reconstruction.epochs=1")
    assert ended.code == 0, ended.stderr
    from dptt.io.volumes import read_volume

    tilt = read_volume(tmp_path / "run" / "volume.h5").tilts["0002"]
    image = read_tilt_image(tmp_path / "run" / "ptychography.h5", "0002")
    np.testing.assert_array_equal(tilt.scan_positions, image.scan_positions)
    np.testing.assert_allclose(tilt.probe, image.probe, atol=1e-4 * np.abs(image.probe).max())


def test_a_tilt_that_is_no_measurement_is_named_and_the_others_are_done(dptt, tiny, tmp_path):
    def change(file) -> None:
        replace_patterns(file, "0002", lambda patterns: patterns.__setitem__((11, 5, 5), -4))

    series = edit_series(tiny / "series.h5", tmp_path / "faulty.h5", change)
    ended = dptt("ptycho", tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}", *CHOICES)
    assert ended.code == 0, ended.stderr
    assert "tilt 0002 is left out: the loss is nan in epoch 1, tilt 0002, " in ended.stderr
    assert "ptychography/0002.h5" not in files_in(tmp_path / "run")
    with pytest.raises(PtychographyError, match="no such file"):
        read_tilt_image(tmp_path / "run" / "ptychography.h5", "0002")


def test_positions_near_the_edge_are_cropped():
    positions = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0), indexing="ij"), -1).reshape(-1, 2)
    everyone = np.arange(20)
    kept = positions[cropped_positions(positions, 0.9, "0000", among=everyone)]
    assert kept.min(0).tolist() == [1.0, 1.0] and kept.max(0).tolist() == [3.0, 2.0]
    assert len(cropped_positions(positions, 0.0, "0000", among=everyone)) == 20
    with pytest.raises(ConfigError, match="edge_crop = 3.0 Å leaves no scan position of tilt 0000"):
        cropped_positions(positions, 3.0, "0000", among=everyone)


@pytest.mark.parametrize("num_slices", [1, 2, 3, 4])
def test_the_rotation_axis_is_in_the_middle_of_the_slices(num_slices):
    volume = Geometry(300e3, (40, 30, 30), (0.5, 0.5, 0.5), (16, 16), 4)
    geometry = slice_geometry(PtychographyConfig(num_slices=num_slices), volume, 21.0)
    last = geometry.first_slice_depth + (num_slices - 1) * geometry.slice_thickness
    assert geometry.first_slice_depth + last == pytest.approx(0.0, abs=1e-9)
    assert num_slices * geometry.slice_thickness == pytest.approx(20.0)


def test_slices_follow_the_depth_of_field():
    volume = Geometry(300e3, (400, 30, 30), (0.5, 0.5, 0.5), (16, 16), 40)
    geometry = slice_geometry(PtychographyConfig(), volume, 21.0)
    assert geometry.slice_thickness <= depth_of_field(300e3, 21.0) / SLICES_PER_DEPTH_OF_FIELD_OF_ONE_TILT

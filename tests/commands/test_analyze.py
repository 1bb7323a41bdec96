"""`dptt analyze` compares with whatever truth there is, and a comparison that fails does not cost the analysis."""

import json
import shutil

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dptt.analysis.summary import summary
from dptt.assembly import truth as assembled_truth
from dptt.commands.analyze import analyze
from dptt.commands.importing import import_series
from dptt.commands.report import report
from dptt.config import ConfigError, config_yaml, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import ReconstructedTilt, write_volume


@pytest.fixture
def run(tiny, tmp_path):
    """Make a run whose volume is the true one; return its configuration and a function that edits the truth."""
    shutil.copy(tiny / "series.h5", tmp_path / "series.h5")
    choices = [f"series={tmp_path / 'series.h5'}", f"run={tmp_path}"]
    config = load_config(tiny / "tiny.yaml", choices)
    with TiltSeries.open(config.series) as series:
        truth, checksum = series.truth(), series.checksum()
        tilts = {
            tilt.name: ReconstructedTilt(euler_angles=tilt.euler_angles, translation=tilt.translation)
            for tilt in series.tilts
        }
    attributes = {"series_checksum": checksum, "created": "now", "config": config_yaml(config)}
    volume = truth.volume.astype(np.complex64)
    write_volume(tmp_path / "volume.h5", volume, truth.voxel_size, attributes=attributes, tilts=tilts)

    def edit(change):
        with h5py.File(config.series, "a") as file:
            change(file["truth"])

    return config, edit


def move_atoms(turn, displacement):
    def change(truth):
        positions = truth["atom_positions"][()] @ turn.T + displacement
        del truth["atom_positions"], truth["volume"]
        truth["atom_positions"] = positions

    return change


def test_true_atoms_without_a_volume_that_are_displaced_together_are_joined(run, blank_pictures):
    config, edit = run
    edit(move_atoms(np.eye(3), [0.6, -0.7, 0.52]))
    atoms = analyze(config)["atoms"]
    assert atoms["match"]["recall"] == 1
    assert atoms["match"]["rmsd_A"] < 0.1
    assert atoms["registration"]["displacement_A"] == pytest.approx([-0.6, 0.7, -0.52], abs=0.06)
    sentences = " ".join(summary(json.loads((config.run / "analysis.json").read_text())))
    assert "displaced together by 1.0" in sentences and "atoms_centre" in sentences
    assert "displaced together by 1.0" in report(config.run).read_text()


def test_true_poses_without_a_true_volume_are_compared(run):
    config, edit = run
    edit(move_atoms(np.eye(3), [0, 0, 0]))
    analysis = analyze(config)
    assert analysis["poses"]["max_angle_error_deg"] < 1e-9
    assert analysis["atoms"]["registration"]["motion"] == "none"


def test_a_volume_none_of_whose_tilts_has_a_true_pose_is_analyzed_all_the_same(run):
    config, edit = run
    edit(lambda truth: [truth["tilts"].__delitem__(name) for name in list(truth["tilts"])])
    assert "poses" not in analyze(config), "the truth has no poses at all"
    with TiltSeries.open(config.series) as series:
        names = [tilt.name for tilt in series.tilts]
    with h5py.File(config.series, "a") as file:
        file["truth/tilts"].create_group(names[0]).attrs.update(
            phi_deg=0.0, theta_deg=0.0, psi_deg=0.0, translation_A=(0.0, 0.0)
        )
    with h5py.File(config.run / "volume.h5", "a") as file:
        del file["tilts"][names[0]]
    analysis = analyze(config)
    assert "poses" not in analysis
    assert (
        "true poses failed: none of the tilts of the volume (0001, 0002, 0003 and 1 more) has a true pose"
        in (analysis["warnings"][0])
    )


@pytest.mark.parametrize("failing", ["register_translation", "resample_volume"])
def test_a_comparison_that_fails_is_a_warning_on_the_page_and_blocks_nothing(
    run, failing, monkeypatch, blank_pictures
):
    config, _ = run

    def fail(*_):
        raise np.linalg.LinAlgError("Singular matrix")

    config = load_config_with_other_voxels(config)
    monkeypatch.setattr(assembled_truth, failing, fail)
    analysis = analyze(config)
    assert analysis["warnings"] == ["the comparison with the true potential failed: Singular matrix (LinAlgError)"]
    assert analysis["atoms"]["match"]["recall"] == 1, "the other comparisons are made"
    assert "The comparison with the true potential failed: Singular matrix" in report(config.run).read_text()


def load_config_with_other_voxels(config):
    """Return the configuration with refined translations; the truth gets voxels of another size."""
    with h5py.File(config.series, "a") as file:
        file["truth/volume"].attrs["voxel_size_A"] = file["truth/volume"].attrs["voxel_size_A"] * 0.999
    settings = config.reconstruction.model_copy(
        update={"translations": config.reconstruction.translations.model_copy(update={"from_epoch": 1})}
    )
    config = config.model_copy(update={"reconstruction": settings})
    with h5py.File(config.run / "volume.h5", "a") as file:
        file.attrs["config"] = config_yaml(config)
    return config


@pytest.mark.thorough
def test_a_volume_of_zeros_is_analyzed_and_shown(run):
    config, _ = run
    with h5py.File(config.run / "volume.h5", "a") as file:
        file["volume"][...] = 0
        del file["row_sha256"]
    analysis = analyze(config)
    assert analysis["atoms"]["num_significant"] == 0 and analysis["atoms"]["match"]["recall"] == 0
    assert "The volume is zero everywhere" in report(config.run).read_text()


def test_every_traced_peak_has_a_significance_and_peaks_are_no_atoms_without_a_truth(run, blank_pictures):
    config, _ = run
    with h5py.File(config.series, "a") as file:
        del file["truth"]
    atoms = analyze(config)["atoms"]
    assert len(atoms["significance"]) == len(atoms["positions"]) > 0
    assert any("no peak is confirmed to be an atom" in line for line in summary({"atoms": atoms}))
    page = report(config.run).read_text()
    assert "Significant peaks" in page and "Atoms traced" not in page and "Traced atoms" not in page


def test_atoms_rotated_together_where_angles_were_refined_are_joined(run):
    config, edit = run
    turn = Rotation.from_rotvec(np.radians([3.0, -2.0, 4.0])).as_matrix()
    edit(move_atoms(turn, [0.2, 0.1, -0.2]))
    refined = config.reconstruction.angles.model_copy(update={"from_epoch": 1})
    config = config.model_copy(
        update={"reconstruction": config.reconstruction.model_copy(update={"angles": refined})}
    )
    atoms = analyze(config)["atoms"]
    assert atoms["match"]["recall"] == 1 and atoms["match"]["rmsd_A"] < 0.1
    assert atoms["registration"]["angle_deg"] == pytest.approx(np.sqrt(29), abs=1.5)


def test_true_poses_of_a_foreign_simulation_are_imported(tmp_path):
    np.save(tmp_path / "counts.npy", np.random.default_rng(0).poisson(5.0, (3, 4, 5, 12, 10)).astype(np.uint16))
    (tmp_path / "import.yaml").write_text(f"""
series: {tmp_path}/series.h5
run: {tmp_path}/run
import:
  data: [{{path: {tmp_path}/counts.npy}}]
  axes: [tilt, scan_y, scan_x, ky, kx]
  tilt_angles: [-30, 0, 30]
  tilt_sign: -1
  energy: 300e3
  semiangle_cutoff: 20.0
  scan: {{step: [0.5, 0.5]}}
  detector: {{angular_sampling: [5.0, 5.0]}}
  truth: {{tilt_angles: [-31, 0.5, 29], psi: [0.1, 0.2, 0.3], translations: [[1, 2], [3, 4], [5, 6]]}}
""")
    config = load_config(tmp_path / "import.yaml")
    import_series(config)
    with TiltSeries.open(config.series) as series:
        tilts = series.truth().tilts
        assert [tilt.name for tilt in tilts] == [tilt.name for tilt in series.tilts]
        assert series.tilts[0].euler_angles == (0, 30, 0)
    assert [tilt.euler_angles for tilt in tilts] == [(0, 31, 0.1), (0, -0.5, 0.2), (0, -29, 0.3)]
    assert [tilt.translation for tilt in tilts] == [(1, 2), (3, 4), (5, 6)]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("import.truth.psi=[1, 2]", "true poses have the lengths"),
        ("import.truth.tilt_angles=null", "expected `tilt_angles`"),
        ("import.tilt_angles=[1, 2]", "has 3 values and `tilt_angles` 2"),
    ],
)
def test_true_poses_that_are_not_one_for_every_tilt_are_refused(tmp_path, choice, message):
    (tmp_path / "import.yaml").write_text(f"""
series: {tmp_path}/series.h5
run: {tmp_path}/run
import:
  data: [{{path: counts.npy}}]
  axes: [tilt, scan_y, scan_x, ky, kx]
  tilt_angles: [-30, 0, 30]
  energy: 300e3
  semiangle_cutoff: 20.0
  scan: {{step: [0.5, 0.5]}}
  detector: {{angular_sampling: [5.0, 5.0]}}
  truth: {{tilt_angles: [-31, 0.5, 29], psi: [0.1, 0.2, 0.3]}}
""")
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "import.yaml", [choice])

"""What `dptt export` writes is read back by the readers of the programs that it is for."""

import json

import ase.io
import gemmi
import h5py
import mrcfile
import numpy as np
import pytest

from dptt.cli import main
from dptt.commands.export import export
from dptt.config import ConfigError
from dptt.io.errors import ProblemsError, WriteError
from dptt.io.exporters import EXPORTS, volumes
from dptt.io.imod import read_imod
from dptt.io.relion import read_relion
from dptt.io.volumes import ReconstructedTilt, write_volume
from dptt.logs import read_metrics

SHAPE, VOXEL = (6, 9, 8), (0.5, 0.4, 0.4)
POSES = {"a": ((0.02, -50.0, 1.5), (0.3, -0.7)), "b": ((0.0, 10.0, 1.5), (0.0, 0.25))}
ATOMS = [[-0.5, 0.8, 0.4], [0.0, -1.2, 1.0]]


@pytest.fixture
def run(tmp_path):
    """A run with a complex volume, two tilts, two atoms, an FSC, and two epochs."""
    generator = np.random.default_rng(3)
    volume = (generator.normal(size=SHAPE) + 1j * generator.normal(size=SHAPE)).astype(np.complex64)
    tilts = {name: ReconstructedTilt(*pose) for name, pose in POSES.items()}
    write_volume(tmp_path / "volume.h5", volume, VOXEL, tilts=tilts)
    analysis = {
        "atoms": {
            "positions": ATOMS,
            "standard_errors": [[0.03, 0.02, 0.01], [None, None, None]],
            "heights": [900.0, 300.5],
            "significance": [50.0, None],
        },
        "fsc": {"frequency": [0.0, 0.5], "correlation": [1.0, None], "num_voxels": [1, 7], "nyquist": 1.25},
        "directional_fsc": [{"name": "z", "frequency": [0.1], "correlation": [0.9], "direction": [1, 0, 0]}],
    }
    (tmp_path / "analysis.json").write_text(json.dumps(analysis))
    lines = [{"epoch": n, "loss": 1 / n, "seconds": {"total": 2.0}} for n in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def volume_of(run) -> np.ndarray:
    with h5py.File(run / "volume.h5") as file:
        return file["volume"][()]


def test_mrc_has_both_parts_and_their_place(run):
    real, imaginary = export(run, "mrc")
    for path, part in ((real, volume_of(run).real), (imaginary, volume_of(run).imag)):
        with mrcfile.open(path) as mrc:
            assert np.array_equal(mrc.data, part)
            assert mrc.voxel_size.z == pytest.approx(0.5) and mrc.voxel_size.x == pytest.approx(0.4)
            origin = mrc.header.origin
            assert (origin.z, origin.y, origin.x) == pytest.approx((-1.5, -1.6, -1.6))
    assert mrcfile.validate(real)


def test_a_volume_without_absorption_has_one_part(run):
    write_volume(run / "volume.h5", volume_of(run).real.astype(np.complex64), VOXEL, overwrite=True)
    assert [path.name for path in export(run, "mrc")] == ["volume.mrc"]


def test_tiff_has_channels_and_lengths(run):
    tifffile = pytest.importorskip("tifffile")
    (path,) = export(run, "tiff")
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        assert (series.axes, series.shape) == ("CZYX", (2, *SHAPE))
        assert np.array_equal(series.asarray()[0], volume_of(run).real)
        assert np.array_equal(series.asarray()[1], volume_of(run).imag)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeZ"], pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == VOXEL
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "XYZ"} == {"Å"}
    assert [channel["Name"] for channel in pixels["Channel"]] == list(volumes.CHANNELS)


def test_ome_zarr_is_valid_and_has_place_and_lengths(run):
    zarr = pytest.importorskip("zarr")
    models = pytest.importorskip("ome_zarr_models.v05")
    (path,) = export(run, "zarr")
    image = models.Image.from_zarr(zarr.open_group(path, mode="r")).ome_attributes.multiscales[0]
    assert [(axis.name, axis.unit) for axis in image.axes[1:]] == [(name, "angstrom") for name in "zyx"]
    scale, translation = image.datasets[0].coordinateTransformations
    assert list(scale.scale) == [1.0, *VOXEL]
    assert list(translation.translation) == pytest.approx([0.0, -1.5, -1.6, -1.6])
    data = zarr.open_group(path, mode="r")["0"][...]
    assert np.array_equal(data, np.stack([volume_of(run).real, volume_of(run).imag]))


def test_a_folder_is_replaced_whole_or_not_at_all(run, monkeypatch):
    pytest.importorskip("zarr")
    (path,) = export(run, "zarr")
    (path / "old").touch()
    monkeypatch.setattr(volumes, "_channel", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run, "zarr", overwrite=True)
    assert (path / "old").exists()
    monkeypatch.undo()
    export(run, "zarr", overwrite=True)
    assert not (path / "old").exists()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "nothing temporary is left"


def test_xyz_has_elements_errors_and_heights(run):
    (path,) = export(run, "xyz", element="Pt")
    atoms = ase.io.read(path)
    assert atoms.get_chemical_symbols() == ["Pt", "Pt"]
    assert atoms.positions[:, ::-1].tolist() == ATOMS
    assert atoms.arrays["position_error"][0].tolist() == [0.01, 0.02, 0.03]
    assert np.isnan(atoms.arrays["position_error"][1]).all()
    assert atoms.arrays["height"].tolist() == [900.0, 300.5]
    assert atoms.arrays["significance"][0] == 50


def test_atoms_of_unknown_elements_are_dummies(run):
    assert set(ase.io.read(export(run, "xyz")[0]).get_chemical_symbols()) == {"X"}


def test_cif_has_the_atoms_in_a_cell_of_the_size_of_the_volume(run):
    (path,) = export(run, "cif", element="Pt")
    atoms = ase.io.read(path)
    lengths = np.array([3.2, 3.6, 3.0])
    assert atoms.cell.lengths() == pytest.approx(lengths)
    assert atoms.positions == pytest.approx(np.array(ATOMS)[:, ::-1] + lengths / 2, abs=1e-6)
    assert [site.element.name for site in gemmi.read_small_structure(str(path)).sites] == ["Pt", "Pt"]


def test_imod_and_relion_give_the_poses_back(run):
    paths = export(run, "imod")
    poses = read_imod(*paths[:2], 0.4, SHAPE[1:], paths[2])
    assert poses.euler_angles == pytest.approx(np.array([pose[0] for pose in POSES.values()]), abs=1e-6)
    assert poses.translations == pytest.approx(np.array([pose[1] for pose in POSES.values()]), abs=1e-6)
    starfile = pytest.importorskip("starfile")
    (path,) = export(run, "relion")
    table = starfile.read(path)
    assert table["rlnTomoYTilt"].tolist() == [-50.0, 10.0]
    assert table["rlnTomoXShiftAngst"].tolist() == [-0.7, 0.25]
    assert read_relion(path)[1] == ["a", "b"]


def test_aretomo_moves_images_as_imod_does(run):
    alnfile = pytest.importorskip("alnfile")
    (path,) = export(run, "aretomo")
    table = alnfile.read(path)
    assert table["tilt"].tolist() == [-50.0, 10.0]
    xf = np.loadtxt(export(run, "imod")[1])
    moved = alnfile.df_to_xf(table)
    assert moved[:, :, :2].reshape(-1, 4) == pytest.approx(xf[:, :4], abs=1e-5)
    assert moved[:, :, 2] == pytest.approx(xf[:, 4:], abs=2e-3)


def test_a_volume_away_from_the_rotation_centre_shifts_the_poses(run):
    tilts = {name: ReconstructedTilt(*pose) for name, pose in POSES.items()}
    write_volume(run / "volume.h5", volume_of(run), VOXEL, tilts=tilts, origin=(9.0, 0.4, -0.8), overwrite=True)
    poses, _ = read_relion(export(run, "relion")[0])
    assert poses.translations == pytest.approx(np.array([[-0.1, 0.1], [-0.4, 1.05]]))


def test_what_aretomo_cannot_hold_is_a_warning(run, caplog, monkeypatch):
    monkeypatch.setattr("dptt.commands.export.LARGEST_PHI", 0.01)
    monkeypatch.setattr("dptt.logs.log.propagate", True)
    export(run, "aretomo")
    assert "phi of up to 0.02° is left out" in caplog.text


@pytest.mark.parametrize("kind", ["imod", "aretomo"])
def test_pixels_that_are_not_square_are_refused(run, kind):
    tilts = {name: ReconstructedTilt(*pose) for name, pose in POSES.items()}
    write_volume(run / "volume.h5", volume_of(run), (0.5, 0.4, 0.3), tilts=tilts, overwrite=True)
    with pytest.raises(ProblemsError, match="needs square pixels"):
        export(run, kind)


def test_csv_has_every_curve_with_units(run):
    written = {path.name: path.read_text(encoding="utf-8").splitlines() for path in export(run, "csv")}
    assert set(written) == {"loss.csv", "fsc.csv", "fsc_z.csv", "poses.csv"}
    assert written["fsc.csv"] == ["frequency [1/Å],correlation,num_voxels", "0.0,1.0,1", "0.5,,7"]
    assert written["loss.csv"] == ["epoch,loss,held_out_loss,time [s]", "1,1.0,,2.0", "2,0.5,,2.0"]
    assert written["poses.csv"][1] == "a,0.02,-50.0,1.5,0.3,-0.7"


@pytest.mark.parametrize("kind", EXPORTS)
def test_nothing_is_overwritten_unless_told(run, kind, capsys):
    for library in {"tiff": ["tifffile"], "zarr": ["zarr"]}.get(kind, []):
        pytest.importorskip(library)
    written = export(run, kind)
    assert main(["export", str(run), kind]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(run), kind, "--overwrite"]) == 0
    assert all(path.exists() for path in written)


def test_a_chosen_path_is_used(run, tmp_path):
    assert export(run, "xyz", output=tmp_path / "new" / "mine.xyz") == [tmp_path / "new" / "mine.xyz"]


def test_a_full_disk_leaves_nothing(run, monkeypatch):
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dptt.io.exporters.atoms.Path.write_text", full)
    with pytest.raises(WriteError):
        export(run, "xyz")
    assert list((run / "export").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "element", "words"),
    [("stl", None, ["no export 'stl'", "mrc", "aretomo"]), ("xyz", "Pl", ["--element Pl", "such as Au"])],
)
def test_an_unknown_kind_or_element_is_refused(run, kind, element, words):
    with pytest.raises(ConfigError) as failure:
        export(run, kind, element=element)
    assert all(word in str(failure.value) for word in words)


@pytest.mark.parametrize(
    ("kind", "word"),
    [("mrc", "no reconstructed volume"), ("xyz", "no atoms"), ("imod", "no poses"), ("csv", "no curves")],
)
def test_a_run_without_the_result_says_what_to_run(tmp_path, kind, word):
    with pytest.raises(ProblemsError, match=word):
        export(tmp_path, kind)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_comes_with_its_cure(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ProblemsError, match="pip install"):
        export(run, "tiff")


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"atoms": ', b"\xff{}", b"[" * 100_000])
def test_a_damaged_analysis_is_refused_with_the_cure(run, content):
    (run / "analysis.json").write_bytes(content)
    with pytest.raises(ProblemsError, match=r"analysis\.json: is damaged \(.*\)\. Run `dptt analyze` again"):
        export(run, "xyz")


@pytest.mark.parametrize(
    "damage", [b"", b'{"epoch": 2, "lo\xffs', b"7", b'{"loss": 0.5}', b'{"epoch": 2, "seconds": 3}']
)
def test_a_damaged_line_of_the_metrics_is_left_out_with_a_warning_and_the_others_are_kept(run, caplog, damage):
    path = run / "metrics.jsonl"
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage, second.replace(b'"epoch": 2', b'"epoch": 3'), b'{"epoch": 4, "lo']))
    assert [line["epoch"] for line in read_metrics(path)] == [1, 3]
    assert "metrics.jsonl: damaged lines are left out: 2" in caplog.text and "4" not in caplog.text.split("out:")[1]

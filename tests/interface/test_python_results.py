"""What a series and a result say and show, and where they can be saved."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import ase.io
import h5py
import mrcfile
import numpy as np
import pytest
from matplotlib.figure import Figure

import dptt
from dptt.cli import main
from dptt.interface.tables import Table
from dptt.io.atoms import read_atoms
from dptt.io.volumes import read_volume
from dptt.logs import progress_bar


def test_arrays_are_imported_as_the_command_imports_them(here, tmp_path):
    for name, value in (("a", 3), ("b", 5)):
        np.save(tmp_path / f"{name}.npy", np.full((5, 6, 16, 16), value, np.uint8))
    series = dptt.read(
        [tmp_path / "a.npy", tmp_path / "b.npy"],
        axes=("scan_y", "scan_x", "ky", "kx"),
        tilt_angles=np.array([-30.0, 20.0]),
        energy=300e3,
        semiangle_cutoff=21,
        scan={"step": 0.9},
        detector={"angular_sampling": 1.5},
    )
    with series.open() as file:
        assert [tilt.euler_angles[1] for tilt in file.tilts] == [-30, 20]
        assert file.tilts[1].read(slice(0, 1)).tolist() == np.full((1, 16, 16), 5).tolist()
    assert "60 patterns of 16 x 16" in repr(series)


def test_missing_settings_of_arrays_are_listed_all_at_once(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 8, 8)))
    with pytest.raises(ValueError) as error:
        dptt.read(tmp_path / "a.npy", energy=300e3)
    assert all(f"import.{key}" in str(error.value) for key in ("tilt_angles", "semiangle_cutoff", "scan", "detector"))


def test_settings_that_a_source_does_not_take_are_refused(here):
    with pytest.raises(ValueError, match=r"tiny.yaml takes no settings, got energy"):
        dptt.read("tiny.yaml", energy=300e3)


def test_a_missing_or_damaged_series_is_the_error_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("series: no.h5\nrun: run\n")
    Path("bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for name in ("no.h5", "bad.h5"):
        with pytest.raises(ValueError) as error:
            dptt.read(name)
        assert main(["reconstruct", "run.yaml", f"series={name}"]) == 2
        assert f"error: {error.value}\n" in capsys.readouterr().err


def test_a_check_is_that_of_the_command(here, tmp_path):
    assert main(["validate", "tiny.yaml", f"run={tmp_path}"]) == 0
    stored = json.loads((tmp_path / "validation.json").read_text())["checks"]
    checks = dptt.read("series.h5").check(volume={"thickness": 8.0, "margin": 1, "slice_thickness": 2.5})
    assert [(check.item, check.measured, check.verdict) for check in checks] == [
        (entry["item"], entry["measured"], entry["verdict"]) for entry in stored
    ]
    assert repr(checks).splitlines()[0] == f"{len(stored)} checks, 0 wrong"
    assert checks._repr_html_().count("<tr>") == len(stored) + 1


def test_a_series_shows_the_mean_pattern_and_its_bright_field(here):
    series = dptt.read("series.h5")
    (figure,) = series.show(["0002"])
    assert isinstance(figure, Figure)
    with series.open() as file:
        patterns = file.tilts[2].read(slice(None)).astype(float)
        sampling = file.angular_sampling[0]
    image, points = figure.axes[0].images[0], figure.axes[1].collections[0]
    assert np.allclose(image.get_array(), patterns.mean(0))
    angle = np.hypot(*(np.indices((16, 14)) - np.array([8, 7])[:, None, None]) * sampling)
    assert points.get_array().shape == (42,)
    assert np.allclose(points.get_array(), patterns[:, angle <= 21].sum(1))
    with pytest.raises(KeyError, match="no tilt 7"):
        series.show(["7"])


def test_the_correlation_and_the_atoms_are_those_of_the_analysis(here):
    result = dptt.load("run")
    curve, atoms = result.fsc(), result.atoms()
    stored = json.loads(Path("run/analysis.json").read_text())
    assert curve.reference == stored["reference"] == "truth"
    assert curve.correlation.tolist() == pytest.approx(stored["fsc"]["correlation"], nan_ok=True)
    assert curve.resolution["0.5"] == pytest.approx(
        stored["resolution"]["0.5"]["resolution_A"] or np.nan, nan_ok=True
    )
    assert np.array_equal(atoms.positions, np.array(stored["atoms"]["positions"]).reshape(-1, 3))
    assert "13 true atoms among them" in repr(atoms)
    assert "&" not in repr(curve) and "<table>" in curve._repr_html_() and "<table>" in atoms._repr_html_()
    assert all(isinstance(figure, Figure) for shown in (curve.show(), atoms.show()) for figure in shown)


def test_without_a_truth_half_sets_are_reconstructed_for_the_correlation_unless_forbidden(here, tmp_path):
    (tmp_path / "series.h5").write_bytes(Path("series.h5").read_bytes())
    with h5py.File(tmp_path / "series.h5", "r+") as file:
        del file["truth"]
    series = dptt.read(tmp_path / "series.h5")
    with pytest.raises(ValueError, match="half-sets are switched off"):
        dptt.reconstruct(series, epochs=1, volume={"thickness": 6}, analysis={"half_sets": False}).fsc()
    result = dptt.reconstruct(series, epochs=1, volume={"thickness": 6})
    assert not (result.run / "half_1").exists()
    assert result.fsc().reference == "half-sets"
    assert read_volume(result.run / "half_1" / "volume.h5").volume.shape == result.volume.shape


def test_a_saved_run_can_be_loaded_and_a_saved_volume_is_the_volume(here, tmp_path):
    result = dptt.load("run")
    with mrcfile.open(result.save(tmp_path / "a.mrc")) as file:
        assert np.array_equal(file.data, result.potential)
    assert np.array_equal(read_volume(result.save(tmp_path / "a.h5")).volume, result.volume)
    copy = dptt.load(result.save(tmp_path / "copy"))
    assert np.array_equal(copy.volume, result.volume) and copy.losses.tolist() == result.losses.tolist()
    for name in ("a.mrc", "copy"):
        with pytest.raises(FileExistsError, match=name):
            result.save(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected a name that ends in .mrc or .h5"):
        result.save(tmp_path / "a.tif")


def test_pictures_are_shown_in_a_notebook_and_saved_as_png(here, tmp_path):
    shown = dptt.load("run").show()
    assert shown._repr_html_().count('src="data:image/png;base64,') == 3
    paths = shown.save(tmp_path / "pictures")
    assert [path.name for path in paths] == ["slices.png", "projections.png", "loss.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert [len(figure.axes) for figure in shown] == [6, 6, 1]


def test_a_notebook_shows_a_progress_bar_and_a_script_does_not(monkeypatch, capsys):
    for config, shown in (({"IPKernelApp": {}}, True), ({}, False)):
        interactive = SimpleNamespace(get_ipython=lambda config=config: SimpleNamespace(config=config))
        monkeypatch.setitem(sys.modules, "IPython", interactive)
        with progress_bar("reconstruct", "tilt") as bar:
            bar.update(3, 4)
        assert ("reconstruct" in capsys.readouterr().err) == shown


def test_a_table_escapes_its_cells_and_shortens_what_is_long():
    table = Table("a <b>", ("x",), [(f"<{i}>",) for i in range(100)])
    assert "<0>" not in table.html() and "&lt;0&gt;" in table.html() and "a &lt;b&gt;" in table.html()
    assert len(table.text().splitlines()) == 2 + 61 and "…" in table.text()


def test_fitted_atoms_are_those_of_the_command_and_know_their_neighbours(here, tmp_path):
    result = dptt.reconstruct(dptt.read("series.h5"), run=tmp_path, epochs=2, volume={"thickness": 8})
    atoms = dptt.atoms(result, elements=["Au"], iterations=1, rounds=0, voxel_size=0.4, draws=6)
    stored = read_atoms(tmp_path / "atoms.h5")
    assert np.array_equal(atoms.positions, stored.positions) and len(atoms) > 3
    assert set(atoms.elements) == {"Au"} and "Au; errors z" in repr(atoms) and "<table>" in atoms._repr_html_()
    near = atoms.neighbours(3.5)
    ends = atoms.positions[near.pairs]
    np.testing.assert_allclose(near.distances, np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1))
    assert atoms.pair_distances(np.array([2.0, 3.0])).shape == (2,)
    assert len(atoms.show().figures) == 1
    read = ase.io.read(atoms.save(tmp_path / "gold.xyz"))
    np.testing.assert_allclose(read.arrays["position_error"][:, ::-1], atoms.errors, atol=1e-5)
    with pytest.raises(ValueError, match="ends in .xyz, .cif or .pdb"):
        atoms.save("gold.stl")
    with pytest.raises(ValueError, match="atoms.elements"):
        dptt.atoms(result)

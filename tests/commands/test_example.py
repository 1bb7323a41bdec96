"""`dptt example` lists and writes what comes with dptt; the files of a microscope that it makes can be imported."""

from pathlib import Path

import numpy as np
import pytest

from dptt.assembly.simulation import build_specimen
from dptt.cli import main
from dptt.commands import example as examples
from dptt.commands.example import FILES, FOREIGN, example
from dptt.config import ConfigError, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.exporters.foreign_series import write_empad, write_numpy
from dptt.runtime.shipped import shipped_configurations, shipped_examples
from dptt.simulation.structure_files import read_atoms
from dptt.simulation.unit_cells import unit_cell_file, unit_cells

SMALL = """# yaml-language-server: $schema=dptt.schema.json
# One atom, two tilts.
series: particle/series.h5
run: particle/run
simulation:
  specimen: {kind: file, path: crystal:Pt, rms_displacement: 0.1}
  microscope: {energy: 300e3, semiangle_cutoff: 21.0, detector_shape: [16, 8], largest_angle: 24.0}
  scan: {shape: [3, 5], step: 0.9}
  tilts: {angles: [-10, 20]}
  fluence: 1.0e3
  multislice: {slice_thickness: 2.0}
volume: {thickness: 6.0}
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Make the example `particle` a small one, and an empty folder the current one."""
    source = tmp_path / "shipped" / "particle.yaml"
    source.parent.mkdir()
    source.write_text(SMALL)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(examples, "shipped_examples", lambda: {"particle": source})


def test_all_examples_are_listed(capsys):
    example(None)
    listed = capsys.readouterr().out
    for name in [*shipped_examples(), *FOREIGN, *FILES, *shipped_configurations()]:
        assert f"\n  {name} " in listed


@pytest.mark.parametrize("folder", [None, Path("other place")])
def test_a_series_is_made_where_its_configuration_says(small, folder):
    example("particle", folder)
    where = folder or Path("particle")
    config = load_config(where / "particle.yaml")
    assert (config.series, config.run) == (where / "series.h5", where / "run")
    with TiltSeries.open(config.series) as series:
        assert [tilt.euler_angles[1] for tilt in series.tilts] == [-10, 20]
    with pytest.raises(FileExistsError, match="--overwrite"):
        example("particle", folder)


def test_what_numpy_files_say_imports_as_the_series_that_they_were_made_from(small):
    example("particle")
    example("numpy")
    assert sorted(path.name for path in Path("numpy").iterdir()) == ["tilt_m10.npy", "tilt_p20.npy"]
    answers = ["import.energy=300e3", "import.semiangle_cutoff=21", "import.scan.step=0.9", "volume.thickness=6"]
    assert main(["init", "numpy", *answers, "import.detector.angular_sampling=[6, 6]"]) == 0
    assert main(["import", "numpy.yaml"]) == 0
    with TiltSeries.open("particle/series.h5") as made, TiltSeries.open("runs/numpy/series.h5") as imported:
        assert imported.angular_sampling == pytest.approx(made.angular_sampling)
        for one, other in zip(made.tilts, imported.tilts, strict=True):
            assert np.array_equal(one.read(slice(None)), other.read(slice(None)))
            assert one.scan_positions() == pytest.approx(other.scan_positions())
            assert one.euler_angles == other.euler_angles


def test_binned_frames_of_the_empad_are_the_patterns(small):
    example("particle")
    folder = Path("raw")
    folder.mkdir()
    with TiltSeries.open("particle/series.h5") as series:
        assert write_empad(folder, series) == (8, 16)
        frames = np.fromfile(folder / "scan_x5_y3_02.raw", "<f4").reshape(15, 130, 128)
        whole = np.pad(frames[:, :128], ((0, 0), (3, 0), (7, 0)))[
            :, :128, :128
        ]  # what is beyond the first row is lost
        binned = whole.reshape(15, 16, 8, 8, 16).sum(axis=(2, 4))
        assert np.array_equal(binned[:, 1:, 1:], np.asarray(series.tilts[1].read(slice(None)))[:, 1:, 1:])
    assert frames[:, :128].max() < binned.max(), "the electrons of a pixel are spread over it"
    assert (folder / "angles.txt").read_text() == "-10\n20\n"


def test_patterns_that_do_not_divide_an_empad_are_refused(tiny, tmp_path):
    with (
        TiltSeries.open(tiny / "series.h5") as series,
        pytest.raises(ValueError, match="16 x 14 pixels; expected divisors of 128"),
    ):
        write_empad(tmp_path, series)


def test_a_configuration_is_written_with_its_schema_and_loads(tmp_path):
    example("04_raw_series", tmp_path)
    assert load_config(tmp_path / "04_raw_series.yaml").simulation is not None
    assert (tmp_path / "dptt.schema.json").exists()
    with pytest.raises(FileExistsError):
        example("04_raw_series", tmp_path)


def test_job_scripts_are_written_complete(tmp_path):
    example("jobs", tmp_path / "jobs")
    assert (tmp_path / "jobs" / "common.sh").is_file()
    assert (tmp_path / "jobs" / "configs" / "00_minimal.yaml").exists()


def test_structures_are_written_and_name_their_source(tmp_path):
    example("structures", tmp_path / "cells")
    written = sorted((tmp_path / "cells").iterdir())
    assert [path.stem for path in written] == list(unit_cells())
    assert all(path.read_text().startswith("# ") for path in written)


@pytest.mark.parametrize(
    ("name", "atoms", "volume", "spacing"),
    [("Pt", 4, 3.94315036**3, 2.788), ("SrTiO3", 5, 3.905**3, 1.9525), ("gamma-Al2O3", 120, 7.9382**3, None)],
)
def test_a_crystal_has_its_published_cell(name, atoms, volume, spacing):
    cell = read_atoms(unit_cell_file(name))
    assert len(cell) == atoms
    assert cell.cell.volume == pytest.approx(volume)
    if spacing:
        distances = cell.get_all_distances(mic=True)
        assert distances[distances > 0].min() == pytest.approx(spacing, abs=1e-3)


def test_gamma_alumina_has_two_aluminium_for_three_oxygen():
    cell = read_atoms(unit_cell_file("gamma-Al2O3"))
    kinds = cell.arrays["spacegroup_kinds"]
    occupied = {
        kind: sum(site.values()) * np.sum(kinds == int(kind)) for kind, site in cell.info["occupancy"].items()
    }
    aluminium = sum(occupied[kind] for kind, site in cell.info["occupancy"].items() if "Al" in site)
    oxygen = sum(occupied[kind] for kind, site in cell.info["occupancy"].items() if "O" in site)
    assert oxygen == 32
    assert aluminium / oxygen == pytest.approx(2 / 3, abs=0.01)


def test_the_cells_are_those_of_the_third_party_files(shared_data):
    for name in ("Pt", "gamma-Al2O3"):
        ours, theirs = (
            read_atoms(file)
            for file in (unit_cell_file(name), shared_data / "atomic_models" / f"{name.replace('-', '_')}.cif")
        )
        assert np.array_equal(ours.positions, theirs.positions)
        assert np.array_equal(ours.numbers, theirs.numbers)
        assert ours.info.get("occupancy") == theirs.info.get("occupancy")


@pytest.mark.parametrize("name", ["20_pt_alumina", "film"])
def test_a_specimen_of_crystals_can_be_built(name):
    file = (shipped_configurations() | shipped_examples())[name]
    specimen = build_specimen(load_config(file).simulation.specimen)
    counts = {number: int(np.sum(specimen.atomic_numbers == number)) for number in set(specimen.atomic_numbers)}
    expected = {78: 63, 13: 174, 8: 332} if name == "20_pt_alumina" else {38: 243, 22: 243, 8: 729}
    assert counts == expected


def test_an_unknown_crystal_or_example_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="crystal:Au is not known; expected one of crystal:Pt"):
        unit_cell_file("Au")
    with pytest.raises(ConfigError, match="did you mean particle"):
        example("partcle")
    with pytest.raises(ConfigError, match="lists them"):
        example("qqq")


def test_numpy_files_are_named_by_their_angles(small):
    example("particle")
    folder = Path("files")
    folder.mkdir()
    with TiltSeries.open("particle/series.h5") as series:
        write_numpy(folder, series)
    assert np.load(folder / "tilt_m10.npy").shape == (3, 5, 16, 8)

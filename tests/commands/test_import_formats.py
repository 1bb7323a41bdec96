"""`dptt import` of files of other programs: what they say need not be typed again, what nobody says is asked for."""

from pathlib import Path

import foreign_files as foreign
import h5py
import numpy as np
import pytest
from foreign_files import COUNTS, ENERGY, FREQUENCIES, SEMIANGLE, SHAPE, STEPS, TILT

from dptt.commands.importing import import_series
from dptt.config import ConfigError, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.physics.electron import wavelength

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that write the files


def config_of(folder: Path, data: str, *lines: str):
    """Return the configuration of an import with these lines beside the path."""
    text = "".join(f"  {line}\n" for line in (f"data: {data}", *lines))
    (folder / "import.yaml").write_text(f"series: {folder}/series.h5\nrun: {folder}/run\nimport:\n{text}")
    return load_config(folder / "import.yaml")


def imported(folder: Path, data: str, *lines: str) -> Path:
    import_series(config_of(folder, data, *lines), overwrite=True)
    return folder / "series.h5"


ANGLE, APERTURE, BEAM = "tilt_angles: [-12]", "semiangle_cutoff: 21", "energy: 200e3"
CALIBRATION = ("scan: {step: [0.5, 0.4]}", "detector: {angular_sampling: [0.501, 0.752]}", ANGLE, APERTURE, BEAM)
LIST = ("scan: {step: [0.5, 0.4], shape: [3, 4]}", *CALIBRATION[1:])
NEEDED = {
    foreign.write_hspy: (),
    foreign.write_zspy: (),
    foreign.write_nexus: (),
    foreign.write_ncem: (ANGLE, APERTURE, BEAM),
    foreign.write_py4dstem: (ANGLE, APERTURE, BEAM),
    foreign.write_velox: (LIST[0],),
    foreign.write_dm4: (APERTURE,),
    foreign.write_dectris: (ANGLE, APERTURE, CALIBRATION[1]),
    foreign.write_nion_ndata: (),
    foreign.write_nion_h5: (),
    foreign.write_nion_nhdf: (),
    foreign.write_stempy: CALIBRATION,
    foreign.write_stempy_1: CALIBRATION,
    foreign.write_merlin: CALIBRATION,
    foreign.write_numpy: CALIBRATION,
    foreign.write_zarr: CALIBRATION,
    foreign.write_zarr_zip: CALIBRATION,
    foreign.write_matlab_5: (*CALIBRATION, "axes: [scan_y, scan_x, ky, kx]"),
    foreign.write_matlab_7_3: (*CALIBRATION, "axes: [scan_y, scan_x, ky, kx]"),
    foreign.write_mrc: LIST,
    foreign.write_tiff: LIST,
    foreign.write_tiff_pages: LIST,
}


@pytest.mark.parametrize("write", NEEDED, ids=lambda write: write.__name__.removeprefix("write_"))
def test_a_foreign_file_becomes_a_series_with_what_it_says_and_the_rest_typed(tmp_path, write):
    with TiltSeries.open(imported(tmp_path, str(write(tmp_path)), *NEEDED[write])) as series:
        (tilt,) = series.tilts
        np.testing.assert_array_equal(tilt.read(slice(None)), COUNTS.reshape(-1, *SHAPE[2:]))
        assert (series.energy, series.semiangle_cutoff) == pytest.approx((ENERGY, SEMIANGLE))
        sampling = 1e3 * wavelength(ENERGY) * np.asarray(FREQUENCIES)
        np.testing.assert_allclose(series.angular_sampling, sampling, rtol=2e-3)
        assert tilt.euler_angles[1] == pytest.approx(TILT)
        positions = tilt.scan_positions().reshape(*SHAPE[:2], 2)
        np.testing.assert_allclose(positions[1, 1] - positions[0, 0], STEPS, rtol=1e-6)


def test_a_folder_of_13_empad_files_and_a_list_of_angles_becomes_a_series(tmp_path, caplog):
    caplog.set_level("INFO", "dptt")
    raw = [foreign.write_empad(tmp_path, f"tilt_{number}", seed=number) for number in range(1, 14)]
    angles = np.arange(-60, 61, 10)
    (tmp_path / "angles.txt").write_text("\n".join(map(str, angles)))
    series = imported(tmp_path, f'"{tmp_path}/*.raw"', f"tilt_angles: {tmp_path}/angles.txt", APERTURE)
    with TiltSeries.open(series) as opened:
        assert [tilt.euler_angles[1] for tilt in opened.tilts] == list(map(float, angles))
        for path, tilt in zip(raw, opened.tilts, strict=True):
            rows = np.fromfile(path, np.float32).reshape(6, 130, 128)
            np.testing.assert_array_equal(tilt.read(slice(None)), rows[:, :128])
    said = caplog.text
    assert "13 files, tilt_1.raw ...: EMPAD, 2 x 3 x 128 x 128 float32" in said
    assert "from the file: energy 200000 eV" in said and "from the file: scan.step (0.5, 0.5) Å" in said
    assert "tilt_2.raw -50" in said, "tilt_2 comes before tilt_10"


def test_all_that_neither_file_nor_configuration_says_is_asked_for_at_once(tmp_path):
    with pytest.raises(ImportDescriptionError) as failure:
        imported(tmp_path, str(foreign.write_tiff(tmp_path)))
    said = str(failure.value)
    for name in ("scan.shape", "energy [eV]", "semiangle_cutoff [mrad]", "scan.step [Å]", "tilt_angles [degrees]"):
        assert f"{name} is missing" in said
    assert "detector.angular_sampling [mrad] is missing" in said and "6 problems" in said
    assert not (tmp_path / "series.h5").exists()


def test_contradictions_are_said_and_the_configuration_wins(tmp_path, caplog):
    path = foreign.write_hspy(tmp_path)
    with TiltSeries.open(
        imported(tmp_path, str(path), "energy: 300e3", "tilt_angles: [20]", "scan: {step: 0.5}")
    ) as s:
        assert (s.energy, s.tilts[0].euler_angles[1]) == (300e3, 20.0)
    assert "import.energy is 300000 eV, but the file says 200000 eV" in caplog.text
    assert "import.tilt_angles is 20 degrees, but the file says -12 degrees" in caplog.text
    assert "import.scan.step is (0.5, 0.5) Å, but the file says (0.5, 0.4) Å" in caplog.text


def test_files_that_contradict_each_other_are_refused(tmp_path):
    first, second = foreign.write_empad(tmp_path, "a"), foreign.write_empad(tmp_path, "b")
    xml = second.with_suffix(".xml")
    xml.write_text(xml.read_text().replace("200000.0", "300000.0"))
    with pytest.raises(ImportDescriptionError, match="energy is 200000 eV in one file and 300000 eV in another"):
        imported(tmp_path, f"[{first}, {second}]", "tilt_angles: [1, 2]", APERTURE)


def test_a_pattern_that_matches_no_file_and_a_file_that_is_absent_are_named_together(tmp_path):
    with pytest.raises(ImportDescriptionError) as failure:
        imported(tmp_path, f'["{tmp_path}/*.raw", absent.mib]', *CALIBRATION)
    assert "no file matches" in str(failure.value) and "absent.mib: there is no such file" in str(failure.value)


def test_patterns_in_one_list_that_are_no_raster_of_the_shape_are_refused_and_flyback_at_the_end_is_left_out(
    tmp_path, caplog
):
    path = str(foreign.write_tiff(tmp_path))
    with pytest.raises(ImportDescriptionError, match="has 12 patterns. Correct it"):
        imported(tmp_path, path, "scan: {step: 1, shape: [4, 4]}", *CALIBRATION[1:])
    with TiltSeries.open(imported(tmp_path, path, "scan: {step: 1, shape: [2, 5]}", *CALIBRATION[1:])) as series:
        patterns = COUNTS.reshape(-1, *SHAPE[2:])
        np.testing.assert_array_equal(series.tilts[0].read(slice(None)), patterns[:10])
    assert "has 2 patterns more than import.scan.shape" in caplog.text


def test_tilts_are_in_the_order_of_the_angles_in_their_names_and_a_list_that_differs_is_a_warning(tmp_path, caplog):
    for number, angle in enumerate(("-10", "0", "+10")):
        np.save(tmp_path / f"tilt_{angle}.npy", COUNTS + number)
    others = [line for line in CALIBRATION if line != ANGLE]
    with TiltSeries.open(imported(tmp_path, f"{tmp_path}/tilt_*.npy", *others)) as series:
        assert [tilt.euler_angles[1] for tilt in series.tilts] == [-10, 0, 10]
        assert [
            int(tilt.read(slice(1)).min() - COUNTS.reshape(-1, *SHAPE[2:])[0].min()) for tilt in series.tilts
        ] == [0, 1, 2]
    assert "the file says" not in caplog.text
    imported(tmp_path, f"{tmp_path}/tilt_*.npy", "tilt_angles: [0, 10, -10]", *others)
    assert "import.tilt_angles is 0 degrees, but the file says -10 degrees" in caplog.text


def test_an_hdf5_array_of_another_program_is_linked_to_without_its_path_typed(tmp_path):
    path = foreign.write_hspy(tmp_path)
    with TiltSeries.open(imported(tmp_path, str(path), "link: true")) as series:
        np.testing.assert_array_equal(series.tilts[0].read(slice(None)), COUNTS.reshape(-1, *SHAPE[2:]))
    assert (tmp_path / "series.h5").stat().st_size < 2**15


UNLINKABLE = {
    foreign.write_numpy: (CALIBRATION, r"NumPy"),
    foreign.write_zarr: (CALIBRATION, r"[Zz]arr"),
    foreign.write_tiff: (LIST, r"TIFF"),
    foreign.write_stempy: (CALIBRATION, r"stempy electron events"),
}


@pytest.mark.parametrize("write", UNLINKABLE, ids=lambda write: write.__name__.removeprefix("write_"))
def test_what_hdf5_cannot_link_to_is_refused_with_its_format(tmp_path, write):
    lines, kind = UNLINKABLE[write]
    with pytest.raises(ImportDescriptionError, match=rf"link is set, but .* is not an HDF5 file.*\(.*{kind}.*\)"):
        imported(tmp_path, str(write(tmp_path)), "link: true", *lines)


def test_a_link_leaves_no_patterns_out(tmp_path):
    with h5py.File(tmp_path / "list.h5", "w") as file:
        file["frames"] = COUNTS.reshape(-1, *SHAPE[2:])
    scan, *others = CALIBRATION
    with TiltSeries.open(
        imported(tmp_path, f"{tmp_path}/list.h5", "link: true", "scan: {step: 1, shape: [3, 4]}", *others)
    ) as series:
        np.testing.assert_array_equal(series.tilts[0].read(slice(None)), COUNTS.reshape(-1, *SHAPE[2:]))
    with pytest.raises(ImportDescriptionError, match=r"scan.shape leaves patterns of .*list.h5:frames out. Set link"):
        imported(tmp_path, f"{tmp_path}/list.h5", "link: true", "scan: {step: 1, shape: [2, 5]}", *others)


def test_poses_come_from_files(tmp_path):
    np.save(tmp_path / "scan.npy", np.stack([COUNTS, COUNTS]))
    np.save(tmp_path / "shifts.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    (tmp_path / "phi.txt").write_text("0.5\n-0.5\n")
    (tmp_path / "angles.rawtlt").write_text("-30\n30\n")
    lines = (f"phi: {tmp_path}/phi.txt", "psi: [1, 2]", f"translations: {{path: {tmp_path}/shifts.npy}}")
    angles = f"tilt_angles: {tmp_path}/angles.rawtlt"
    fixed = [line for line in CALIBRATION if line != ANGLE]
    with TiltSeries.open(imported(tmp_path, f"{tmp_path}/scan.npy", *lines, angles, *fixed)) as series:
        assert [tilt.euler_angles for tilt in series.tilts] == [(0.5, -30.0, 1.0), (-0.5, 30.0, 2.0)]
        assert [tilt.translation for tilt in series.tilts] == [(1.0, 2.0), (3.0, 4.0)]
    np.save(tmp_path / "shifts.npy", np.zeros((2, 3)))
    with pytest.raises(ImportDescriptionError, match=r"shape \(2, 3\); expected \(tilts, 2\)"):
        imported(tmp_path, f"{tmp_path}/scan.npy", *lines, angles, *fixed)


def test_a_pattern_of_file_names_without_the_angle_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"import.tilt_angles.* expected \{angle\} in it, once"):
        config_of(tmp_path, "a.npy", "tilt_angles: {file_name: tilt_*.npy}")

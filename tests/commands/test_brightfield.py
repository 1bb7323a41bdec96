"""`dptt brightfield` finds optics, orientation and the sign of the tilt where the file knows nothing of them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from command_line import edit_series, replace_patterns

from dptt.assembly.brightfield import BrightFieldError, bright_field_data, calibrated_tilt, raster_matrix
from dptt.assembly.brightfield_series import outlying_defocus
from dptt.assembly.validation.optics import optics_checks
from dptt.cli import main
from dptt.commands.brightfield import brightfield
from dptt.config import Config
from dptt.config.brightfield import BrightFieldConfig
from dptt.io.brightfield import SeriesCalibration, read_calibration
from dptt.io.dataset import TiltSeries

ROTATION, DEFOCUS = 64.0, 150.0  # degrees, Å
THETA = 40.0  # degrees
SHEET = 14.0  # Å, half of the side of a flat specimen


def flat_specimen() -> str:
    """Return an .xyz file of atoms in a plane, no two nearer than 1.7 Å, in no symmetric arrangement."""
    random, atoms = np.random.default_rng(4), [np.array([-SHEET, -SHEET]), np.array([SHEET, SHEET])]
    while len(atoms) < 90:
        candidate = random.uniform(-SHEET, SHEET, 2)
        if min(np.linalg.norm(candidate - atom) for atom in atoms) > 1.7:
            atoms.append(candidate)
    return f"{len(atoms)}\nflat\n" + "".join(f"Cu {x:.3f} {y:.3f} 0.0\n" for x, y in atoms)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Series of a flat specimen at 0°, ±40°: true.h5 as simulated; series.h5 in the frame of the raster."""
    folder = tmp_path_factory.mktemp("flat")
    (folder / "atoms.xyz").write_text(flat_specimen())
    config = {
        "series": str(folder / "true.h5"),
        "run": str(folder / "run"),
        "simulation": {
            "specimen": {"kind": "file", "path": str(folder / "atoms.xyz")},
            "microscope": {
                **{"energy": 300e3, "semiangle_cutoff": 21.0, "aberrations": {"defocus": DEFOCUS}},
                **{"detector_shape": [28, 26], "largest_angle": 25.0},
            },
            "scan": {"shape": [27, 25], "step": 0.8, "rotation": ROTATION},
            "tilts": {"angles": [-THETA, 0.0, THETA]},
            "fluence": 1.0e5,
            "multislice": {"oversampling": 2.0},
        },
    }
    (folder / "true.yaml").write_text(yaml.safe_dump(config))
    assert main(["simulate", str(folder / "true.yaml")]) == 0

    def forget(file: h5py.File) -> None:
        """Write the positions along the raster's axes, the tilt axis turned with them, and no aberrations."""
        a = np.radians(ROTATION)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        del file.attrs["C10_A"]
        for tilt in file["tilts"].values():
            tilt.attrs["psi_deg"] = ROTATION
            tilt["scan_positions"][...] = tilt["scan_positions"][()] @ turn

    edit_series(folder / "true.h5", folder / "series.h5", forget)
    return folder


@pytest.fixture(scope="module")
def result(folder) -> SeriesCalibration:
    config = Config(series=folder / "series.h5", run=folder / "run")
    return read_calibration(brightfield(config, "me"))


def test_rotation_defocus_and_signs_are_found(result):
    assert abs(result.rotation - ROTATION) < 2 and not result.transposed
    assert result.trusted and result.sign_significance > 3
    assert list(result.tilts) == ["0000", "0001", "0002"]
    assert abs(-result.tilts["0001"].aberrations["C10"] - DEFOCUS) < 0.05 * DEFOCUS
    assert any(finding.startswith("the sign of the tilt is right") for finding in result.findings)
    assert result.evidence["rotation"].shape == (8,)
    assert result.attributes["identity"] == "me" and "version_dptt" in result.attributes


def test_every_figure_is_a_picture(folder, result):
    for name in ("contrast", "shifts", "curl", "images"):
        assert (folder / "run" / f"brightfield_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_positions_and_tilt_axis_are_brought_to_the_frame_of_the_detector(folder, result):
    with TiltSeries.open(folder / "series.h5") as series, TiltSeries.open(folder / "true.h5") as true:
        for tilt, original in zip(series.tilts, true.tilts, strict=True):
            use = calibrated_tilt(tilt, series, result)
            error = np.asarray(use.matrix) @ tilt.scan_positions().T - original.scan_positions().T
            assert np.abs(error).max() < 0.6  # 2° at the corner of the scan
            (phi, theta, psi), _ = use.pose(tilt.euler_angles, tilt.translation)
            assert abs(psi) < 2 and (phi, theta) == original.euler_angles[:2]
            kept = calibrated_tilt(original, true, result)
            assert kept.matrix == ((1.0, 0.0), (0.0, 1.0)) and abs(kept.aberrations["C10"] + DEFOCUS) < 0.1 * DEFOCUS


@pytest.mark.thorough
def test_validate_names_a_wrong_rotation_and_confirms_a_right_one(folder):
    with TiltSeries.open(folder / "series.h5") as series:
        checks = {check.item: check for check in optics_checks(series)}
    assert [checks[item].verdict for item in ("detector parity", "scan rotation")] == ["right", "wrong"]
    assert "import.scan.rotation: 6" in checks["scan rotation"].cure
    with TiltSeries.open(folder / "true.h5") as series:
        assert [check.verdict for check in optics_checks(series)] == ["right"] * 4


@pytest.mark.thorough
def test_an_empty_tilt_is_named_and_the_others_are_evaluated(folder, tmp_path):
    def darken(file: h5py.File) -> None:
        replace_patterns(file, "0001", lambda patterns: patterns.fill(0))
        del file["tilts/0002"], file["truth"]

    series = edit_series(folder / "true.h5", tmp_path / "dark.h5", darken)
    choice = BrightFieldConfig(orientation="keep")
    config = Config(series=series, run=tmp_path / "run", brightfield=choice)
    found = read_calibration(brightfield(config, "me"))
    assert list(found.tilts) == ["0000"] and found.trusted and abs(found.rotation - ROTATION) < 1e-6
    assert any("tilt 0001 has no bright-field result" in finding for finding in found.findings)


def test_a_defocus_far_from_all_others_is_found_but_two_cannot_judge_each_other():
    assert outlying_defocus({"a": 90.0, "b": 100.0, "c": -235.0, "d": 110.0, "e": 120.0}) == (["c"], "b")
    assert outlying_defocus({"a": 90.0, "c": -235.0})[0] == []


def test_a_list_of_positions_is_refused_with_a_cure(folder, tmp_path):
    def flatten(file: h5py.File) -> None:
        for tilt in file["tilts"].values():
            data = tilt["data"][()]
            del tilt["data"]
            tilt["data"] = data.reshape(-1, *data.shape[-2:])

    with TiltSeries.open(edit_series(folder / "true.h5", tmp_path / "listed.h5", flatten)) as series:
        with pytest.raises(BrightFieldError, match="expected a raster .* scan_y and scan_x"):
            raster_matrix(series.tilts[0])
        assert {check.verdict for check in optics_checks(series)} == {"cannot be told"}


def test_faulty_patterns_do_not_spoil_the_images(folder, tmp_path):
    def spoil(file: h5py.File) -> None:
        def change(patterns: np.ndarray) -> None:
            patterns[7] = 0
            patterns[100] *= 30

        replace_patterns(file, "0001", change)

    with (
        TiltSeries.open(folder / "true.h5") as good,
        TiltSeries.open(edit_series(folder / "true.h5", tmp_path / "spoilt.h5", spoil)) as bad,
    ):
        clean, spoilt = (bright_field_data(series.tilts[1], series) for series in (good, bad))
    others = np.setdiff1d(np.arange(27 * 25), [7, 100])
    ours, theirs = (data.images.flatten(1)[:, others] for data in (spoilt, clean))
    np.testing.assert_allclose(ours, theirs)
    assert spoilt.images.max() <= 1.05 * clean.images.max()


def test_a_tilt_with_the_beam_off_most_of_the_time_is_refused(folder, tmp_path):
    def lose_the_beam(file: h5py.File) -> None:
        replace_patterns(file, "0001", lambda patterns: patterns.__setitem__(slice(300, None), 0))

    with (
        TiltSeries.open(edit_series(folder / "true.h5", tmp_path / "lost.h5", lose_the_beam)) as series,
        pytest.raises(BrightFieldError, match="tilt 0001: 375 of 675 patterns are faulty: 375 are empty"),
    ):
        bright_field_data(series.tilts[1], series)


def test_images_of_two_electrons_per_pattern_keep_their_mean(folder, tmp_path):
    """Every seventh pattern holds no electron: no fault, and a position whose centre of mass is not known."""

    def thin_out(file: h5py.File) -> None:
        def change(patterns) -> None:
            patterns[:] = np.random.default_rng(1).binomial(patterns.astype(int), 2 * len(patterns) / patterns.sum())

        replace_patterns(file, "0001", change)

    with TiltSeries.open(edit_series(folder / "true.h5", tmp_path / "thin.h5", thin_out)) as series:
        data = bright_field_data(series.tilts[1], series)
        counts = series.tilts[1].read(slice(0, 27 * 25)).sum((1, 2))
    assert (counts == 0).sum() > 50
    assert float(data.counts.sum()) <= counts.mean() * (1 + 1e-9)
    assert float(data.counts.sum()) >= 0.8 * counts.mean(), "the bright disk holds nearly all electrons"
    assert bool(data.centre_of_mass.isfinite().all())
    empty = data.centre_of_mass.flatten(1)[:, counts == 0]
    assert bool((empty == empty[:, :1]).all())


@pytest.mark.thorough
def test_the_experimental_rotavirus_gives_its_defocus_and_one_rotation_by_two_methods(shared_data, tmp_path):
    """Imported without rotation and defocus. Stated are 135000 Å and -126°; shifts, curl and ePIE say -120.5°."""
    source = shared_data / "rotavirus_cryo_4dstem_exp" / "rotavirus_64x64_bin2.h5"
    config = {
        "series": str(tmp_path / "series.h5"),
        "run": str(tmp_path / "run"),
        "import": {
            **{"data": [{"path": str(source), "dataset": "data"}], "axes": ["scan_y", "scan_x", "ky", "kx"]},
            **{"tilt_angles": [0.0], "energy": 300e3, "semiangle_cutoff": 1.03, "scan": {"step": 31.25}},
            "detector": {"angular_sampling": 0.03307, "centre": [64, 63]},
        },
    }
    (tmp_path / "rotavirus.yaml").write_text(yaml.safe_dump(config))
    assert main(["import", str(tmp_path / "rotavirus.yaml")]) == 0
    found = read_calibration(brightfield(Config(series=config["series"], run=config["run"]), "me"))
    tilt = found.tilts["0000"]
    assert tilt.method == "parallax" and found.trusted and not found.transposed
    assert abs(-tilt.aberrations["C10"] / 135000 - 1) < 0.05
    assert abs(found.rotation + 120.5) < 1
    assert found.evidence["curl"][0] < 0.2 and found.evidence["curl"][-1] > 0.4

"""Every wrong setting is named by the one line of the table that it concerns, with its cure; a right one by none."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from command_line import edit_series, without_pictures
from validation_faults import (
    angles_in_radians,
    change_patterns,
    change_positions,
    mirror,
    set_attribute,
    turn_scan,
    unit_sum,
)

from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.validation import Check, check_series
from dptt.assembly.validation.geometry import angles_check
from dptt.cli import main
from dptt.config import Config
from dptt.io.dataset import TiltSeries

SIDE = 11.0  # Å, half of the side of the specimen
STEP, DEFOCUS = 0.9, 110.0  # Å


def specimen() -> str:
    """Return an .xyz file of light atoms, in no symmetric arrangement."""
    random, atoms = np.random.default_rng(8), [np.array([-SIDE, -SIDE, 0.0]), np.array([SIDE, SIDE, 0.0])]
    while len(atoms) < 60:
        candidate = random.uniform(-1, 1, 3) * (SIDE, SIDE, 2.0)
        if min(np.linalg.norm(candidate - atom) for atom in atoms) > 1.7:
            atoms.append(candidate)
    return f"{len(atoms)}\nlight\n" + "".join(f"Al {x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in atoms)


def simulated(folder: Path, **scan: object) -> Path:
    """Return a series of three tilts of 24 x 24 patterns of 32 x 32 pixels, simulated through the command line."""
    folder.mkdir(exist_ok=True)
    (folder / "atoms.xyz").write_text(specimen())
    config = {
        "series": str(folder / "series.h5"),
        "run": str(folder / "run"),
        "simulation": {
            "specimen": {"kind": "file", "path": str(folder / "atoms.xyz")},
            "microscope": {
                **{"energy": 300e3, "semiangle_cutoff": 21.0, "aberrations": {"defocus": DEFOCUS}},
                **{"detector_shape": [32, 32], "largest_angle": 26.0},
            },
            "scan": {"shape": [24, 24], "step": STEP} | scan,
            "tilts": {"angles": [-30.0, 0.0, 25.0]},
            "fluence": 1.0e5,
            # with waves that hold more, a mirrored detector's rotation is measured 12° off, and its cure asks for it
            "multislice": {"oversampling": 2.0},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["simulate", str(folder / "config.yaml")]) == 0
    return folder / "series.h5"


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return simulated(tmp_path_factory.mktemp("validation"))


def table_of(path: Path) -> dict[str, Check]:
    """Return the table of a series by item."""
    with TiltSeries.open(path) as opened:
        config = Config(series=path, run=path.parent / "run")
        return {check.item: check for check in check_series(opened, plan_series_geometry(config, opened))}


def wrong_in(path: Path) -> dict[str, Check]:
    return {item: check for item, check in table_of(path).items() if check.verdict == "wrong"}


def hot_pixels(patterns: np.ndarray) -> np.ndarray:
    patterns = patterns.astype(np.uint16)
    patterns[:, 3, 4], patterns[:, 16, 18], patterns[:, 30, 2] = 60000, 0, 50000
    return patterns


def inverted_mask(file: h5py.File) -> None:
    change_patterns(hot_pixels)(file)
    for tilt in file["tilts"].values():
        mask = np.zeros((32, 32), bool)
        mask[3, 4] = mask[16, 18] = mask[30, 2] = True
        tilt["mask"] = mask


def right_mask(file: h5py.File) -> None:
    inverted_mask(file)
    for tilt in file["tilts"].values():
        tilt["mask"][...] = ~tilt["mask"][()]


ROTATION, UNDERFOCUS = ("import.scan.rotation: ", 0.0), ("import.aberrations.defocus: ", DEFOCUS)
"""What precedes the right value in a cure, and that value."""
FAULTS: dict[str, tuple[Callable[[h5py.File], None], str, str | tuple[str, float], bool]] = {
    "rotation off by 90°": (turn_scan(90), "scan rotation", ROTATION, False),
    "rotation off by -90°": (turn_scan(-90), "scan rotation", ROTATION, False),
    "rotation off by 180°": (turn_scan(180), "scan rotation", ROTATION, False),
    "rotation off by 34°": (turn_scan(34), "scan rotation", ROTATION, False),
    "rotation off by 6°": (turn_scan(6), "scan rotation", ROTATION, False),
    "mirrored along kx": (change_patterns(mirror(x=True)), "detector parity", "import.detector.flip_x.", False),
    "mirrored along ky": (change_patterns(mirror(y=True)), "detector parity", "import.detector.flip_y.", False),
    "transposed": (
        change_patterns(lambda patterns: patterns.transpose(0, 2, 1)),
        "detector parity",
        "import.detector.transpose.",
        False,
    ),
    "defocus of the wrong sign": (set_attribute("C10_A", lambda c: -c), "defocus", UNDERFOCUS, False),
    "defocus off by 40 Å": (set_attribute("C10_A", lambda c: c - 40), "defocus", UNDERFOCUS, False),
    "no defocus": (set_attribute("C10_A", lambda c: 0.0), "defocus", UNDERFOCUS, False),
    "step in nm": (change_positions(lambda p: p / 10), "scan step", ("by ", 10), False),
    "step in m": (change_positions(lambda p: p * 1e-10), "scan step", "positions are in Å", True),
    "step in pm": (change_positions(lambda p: p * 100), "scan step", ("by ", 0.01), False),
    "angles in radians": (angles_in_radians, "tilt angles", "-30 to 25", False),
    "energy in keV": (set_attribute("energy_eV", lambda e: e / 1000), "energy", "import.energy: 300e3", True),
    "zero angle at the corner": (
        change_patterns(lambda patterns: np.fft.ifftshift(patterns, (1, 2))),
        "zero angle",
        "zero_angle_at_corner: true",
        True,
    ),
    "zero angle 3 pixels off": (
        change_patterns(lambda patterns: np.roll(patterns, (2, -2), (1, 2))),
        "zero angle",
        "(18.0, 14.0)",
        False,
    ),
    "patterns of sum 1": (change_patterns(unit_sum), "electrons", "counts_per_electron", False),
    "patterns of maximum 1": (
        change_patterns(lambda patterns: (patterns / patterns.max((1, 2), keepdims=True)).astype(np.float32)),
        "electrons",
        "counts_per_electron",
        False,
    ),
    "gain of 7": (
        change_patterns(lambda patterns: patterns.astype(np.uint16) * 7),
        "shot noise",
        "counts_per_electron: 7",
        False,
    ),
    "scan 500 Å off the axis": (change_positions(lambda p: p + (500.0, 0.0)), "rotation axis", "scan.centre", False),
    "inverted mask": (inverted_mask, "mask", "Invert import.detector.mask", True),
    "hot and dead pixels": (change_patterns(hot_pixels), "pixels", "import.detector.mask", False),
    "aperture 10 % too large": (
        set_attribute("semiangle_cutoff_mrad", lambda a: a * 1.1),
        "aperture",
        "semiangle_cutoff",
        False,
    ),
}


def test_the_series_as_simulated_has_no_fault_and_its_optics_are_measured(series):
    table = table_of(series)
    assert wrong_in(series) == {}
    measured = ("zero angle", "aperture", "distortion", "electrons", "shot noise", "mask", "pixels", "rotation axis")
    optics = ("detector parity", "scan rotation", "scan step", "defocus", "overlap", "scan density")
    assert {item: table[item].verdict for item in measured + optics} == dict.fromkeys(measured + optics, "right")
    assert {table[item].verdict for item in ("energy", "tilt angles")} == {"cannot be told"}


IN_SHORT = ("energy in keV", "step in nm", "rotation off by 34°")


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[] if fault in IN_SHORT else pytest.mark.thorough) for fault in FAULTS]
)
def test_a_wrong_setting_is_the_only_one_named_and_its_cure_is(series, tmp_path, fault):
    change, item, cure, meaningless = FAULTS[fault]
    wrong = wrong_in(edit_series(series, tmp_path / "series.h5", change))
    assert list(wrong) == [item]
    if isinstance(cure, str):
        assert cure in wrong[item].cure
    else:
        value = float(re.search(f"{cure[0]}(-?[0-9.]*[0-9])", wrong[item].cure)[1])
        assert abs(value - cure[1]) < max(0.06 * abs(cure[1]), 1.5 * (item == "scan rotation"))
    assert wrong[item].meaningless == meaningless


def tilted(*thetas: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for tilt, theta in zip(file["tilts"].values(), thetas, strict=True):
            tilt.attrs["theta_deg"] = theta

    return change


@pytest.mark.parametrize(
    ("thetas", "verdict", "word"),
    [
        ((-60, -30, 0, 30, 60), "cannot be told", "in the range of a stage"),
        ((-90, -45, 0, 45, 90), "cannot be told", "in the range of a stage"),
        ((-90, -20, 50, 120, 180), "cannot be told", "beyond 90° only a needle"),
        ((0, 80, 160, 240, 320), "cannot be told", "beyond 90° only a needle"),
        ((-180, -90, 0, 90, 180), "wrong", "a full turn or more"),
        ((-170, -90, 0, 90, -170), "wrong", "-170° occurs 2 times"),
        ((-6, -3, 0, 3, 60), "wrong", "60° is 57° from the next, the others are 3° apart"),
        ((-60, -57, -54, -51, -48), "cannot be told", "in the range of a stage"),
    ],
)
def test_what_no_stage_does_is_said_of_tilt_angles(tiny, tmp_path, thetas, verdict, word):
    with TiltSeries.open(edit_series(tiny / "series.h5", tmp_path / "series.h5", tilted(*thetas))) as opened:
        check = angles_check(opened)
    assert check.verdict == verdict and word in check.measured
    assert bool(check.cure) == (word != "in the range of a stage")


def test_what_cannot_be_told_is_noted_with_what_to_check(tiny, tmp_path, capsys):
    path = edit_series(tiny / "series.h5", tmp_path / "series.h5", tilted(-90, -20, 50, 120, 180))
    assert main(["validate", str(tiny / "tiny.yaml"), f"series={path}", f"run={tmp_path / 'run'}"]) == 0
    assert "note: tilt angles: 5 tilts, -90° to 180°: beyond 90° only a needle" in capsys.readouterr().err


def test_a_mask_of_faulty_pixels_is_no_fault(series, tmp_path):
    assert wrong_in(edit_series(series, tmp_path / "series.h5", right_mask)) == {}


def test_a_scan_ten_times_denser_than_the_optics_can_use_is_named(tmp_path):
    """At 300 keV and 21 mrad lambda/4alpha is 0.234 Å."""
    wrong = wrong_in(simulated(tmp_path / "dense", step=0.0234))
    assert list(wrong) == ["scan density"]
    assert "every 10th pattern" in wrong["scan density"].cure and "import.scan.step" in wrong["scan density"].cure


def test_faults_end_with_the_exit_code_that_they_deserve_and_the_table_is_kept(series, tmp_path, capsys):
    config = str(series.parent / "config.yaml")
    turned = edit_series(series, tmp_path / "turned.h5", turn_scan(90))
    assert main(["validate", config, f"series={turned}", f"run={tmp_path / 'run'}"]) == 0
    rows = json.loads((tmp_path / "run/validation.json").read_text())["checks"]
    (fault,) = [row for row in rows if row["verdict"] == "wrong"]
    assert fault["item"] == "scan rotation" and fault["told"] == "90.0°" and "import.scan.rotation" in fault["cure"]
    corner = edit_series(series, tmp_path / "corner.h5", FAULTS["zero angle at the corner"][0])
    assert main(["validate", config, f"series={corner}", f"run={tmp_path / 'other'}"]) == 2
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["run.log"]


SHORT = ("simulation=null", "reconstruction.epochs=1", "reconstruction.every=16", "volume.thickness=10")


def test_a_run_stops_at_what_is_meaningless_unless_it_is_told_not_to_validate(dptt, series, tmp_path):
    config, run = series.parent / "config.yaml", f"run={tmp_path / 'run'}"
    corner = edit_series(series, tmp_path / "corner.h5", FAULTS["zero angle at the corner"][0])
    arguments = ["run", config, f"series={corner}", run, *SHORT]
    refused = dptt(*arguments)
    assert refused.code == 2 and "zero angle" in refused.stderr and "--no-validate" in refused.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.log"]
    assert dptt(*arguments, "--no-validate", before=without_pictures).code == 0
    assert (tmp_path / "run" / "volume.h5").exists() and not (tmp_path / "run" / "validation.json").exists()


def test_a_run_validates_a_series_and_a_grid_once_and_goes_on_with_warnings(dptt, series, tmp_path):
    config, run = series.parent / "config.yaml", f"run={tmp_path / 'run'}"
    turned = edit_series(series, tmp_path / "turned.h5", turn_scan(90))
    arguments = ["run", config, f"series={turned}", run, *SHORT, "reconstruction.epochs=3"]
    first = dptt(*arguments, before=without_pictures)
    assert first.code == 0 and "== validate: starting" in first.stderr and "warning: scan rotation" in first.stderr
    again = dptt(*arguments, before=without_pictures)
    assert again.code == 0 and "== validate: up to date" in again.stderr

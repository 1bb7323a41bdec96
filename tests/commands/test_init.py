"""`dptt init`: from a file or folder of data to a configuration that loads once its gaps are filled in."""

import h5py
import numpy as np
import pytest

from dptt.cli import main
from dptt.commands.init import init
from dptt.config import ConfigError, load_config
from dptt.config.starter import QUESTIONS, unanswered
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.survey import survey

ANSWERS = [
    "import.energy=300e3",
    "import.semiangle_cutoff=21",
    "import.scan.step=0.9",
    "import.detector.angular_sampling=3.0",
    "volume.thickness=22",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `data` with three tilts, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for angle in (-30.5, 0, 30):
        name = f"tilt_{'m' if angle < 0 else 'p'}{abs(angle):g}.npy"
        np.save(tmp_path / "data" / name, np.full((3, 4, 16, 14), 2, np.uint16))
    return tmp_path


def test_from_a_folder_of_arrays_to_a_series_in_two_commands(folder):
    assert main(["init", "data", *ANSWERS]) == 0
    assert main(["import", "data.yaml"]) == 0
    with TiltSeries.open("runs/data/series.h5") as series:
        assert [tilt.euler_angles[1] for tilt in series.tilts] == [-30.5, 0, 30]
        assert (series.energy, series.semiangle_cutoff, series.angular_sampling) == (3e5, 21, (3, 3))
        assert series.tilts[0].scan_shape == (3, 4)
        assert np.all(series.tilts[0].read(slice(None)) == 2)


def test_what_nobody_answers_is_left_to_be_filled_in_and_named_all_at_once(folder, capsys):
    init(folder / "data")
    assert main(["import", "data.yaml"]) == 2
    said = capsys.readouterr().err
    for setting in ("energy", "semiangle_cutoff", "scan", "detector.angular_sampling"):
        assert f"import.{setting}" in said
    text = (folder / "data.yaml").read_text(encoding="utf-8")
    assert "beam energy [eV]" in text
    assert text.count("<- fill in") == 5


def test_a_person_is_asked_only_what_the_files_do_not_say_and_again_after_a_mistake(folder, capsys):
    typed = iter(["fast", "300e3", "21", "", "0.9", "[3, 2.5]", "", "", "22"])
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return next(typed)

    config = load_config(init(folder / "data", ask=ask))
    assert not any("stage angle" in question for question in asked)
    assert len(asked) == 9
    assert "import.energy: expected a number (got 'fast')" in capsys.readouterr().err
    assert config.import_.energy == 3e5
    assert config.import_.detector.angular_sampling == (3, 2.5)
    assert config.import_.aberrations == {}
    assert config.volume.thickness == 22


def test_nothing_is_overwritten_unless_told(folder):
    (folder / "data.yaml").write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        init(folder / "data", ANSWERS)
    assert (folder / "data.yaml").read_text() == "precious"
    init(folder / "data", ANSWERS, overwrite=True)
    assert load_config("data.yaml").import_.energy == 3e5


def test_wrong_answers_are_listed_together_and_nothing_is_written(folder):
    with pytest.raises(ConfigError) as failure:
        init(folder / "data", ["energy=30", "import.scan.step=-1", "colour=red"])
    said = str(failure.value)
    assert "did you mean import.energy=30?" in said
    assert "import.scan.step: must be greater than 0 (got -1)" in said
    assert "colour is not asked here" in said
    assert not (folder / "data.yaml").exists()


@pytest.mark.parametrize("name", ["angles.rawtlt", "angles.csv"])
def test_angles_come_from_a_table_beside_the_files_in_natural_order(tmp_path, name):
    for number in range(12):
        np.save(tmp_path / f"scan_{number}.npy", np.full((2, 2, 4, 4), number, np.uint8))
    (tmp_path / name).write_text("".join(f"{5 * number - 30}\n" for number in range(12)))
    found = survey(tmp_path)
    assert found.settings["import.tilt_angles"] == {"path": str(tmp_path / name)}
    assert [entry["path"].rpartition("_")[2] for entry in found.settings["import.data"][:3]] == [
        "0.npy",
        "1.npy",
        "2.npy",
    ]


def test_numbers_that_are_no_angles_are_not_taken_for_some(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"scan_{number}.npy", np.zeros((2, 2, 4, 4), np.uint8))
    assert "import.tilt_angles" not in survey(tmp_path).settings


def test_an_hdf5_file_tells_its_largest_array_and_the_angles_in_it(tmp_path):
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["frames/data"] = np.zeros((3, 2, 5, 4, 4), np.uint8)
        file["frames/preview"] = np.zeros((3, 2), np.uint8)
        file["stage/tilt_deg"] = [-1.0, 0.0, 1.0]
    found = survey(tmp_path / "one.h5")
    assert found.settings["import.data"] == [{"path": str(tmp_path / "one.h5"), "dataset": "frames/data"}]
    assert found.settings["import.axes"] == ["tilt", "scan_y", "scan_x", "ky", "kx"]
    assert found.settings["import.tilt_angles"]["dataset"] == "stage/tilt_deg"
    assert found.num_tilts is not None and found.num_tilts == 3


def test_one_array_is_one_view_without_alignment(tmp_path):
    np.save(tmp_path / "view.npy", np.zeros((2, 5, 4, 4), np.uint8))
    text = init(tmp_path / "view.npy", output=tmp_path / "view.yaml").read_text(encoding="utf-8")
    assert "tilt_angles: [0]" in text and "num_slices: 1" in text
    assert "alignment" not in text


def test_a_series_of_dptt_needs_no_import(tiny, tmp_path):
    path = init(tiny / "series.h5", ["volume.thickness=8"], output=tmp_path / "own.yaml")
    config = load_config(path)
    assert config.series == tiny / "series.h5"
    assert config.import_ is None


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["has no data that dptt reads", "nothing"]),
        ({"a.txt": (3,)}, ["has no data", ".txt"]),
        ({"a.npy": (2, 2, 4, 4), "b.npy": (2, 3, 4, 4)}, ["2 shapes", "a.npy (2, 2, 4, 4)", "b.npy (2, 3, 4, 4)"]),
        ({"a.npy": (4, 4)}, ["shape (4, 4)", "3 to 5 axes"]),
    ],
    ids=["empty", "no data", "two shapes", "an image"],
)
def test_a_folder_without_usable_data_is_refused(tmp_path, files, words):
    for name, shape in files.items():
        with (tmp_path / name).open("wb") as file:
            np.save(file, np.zeros(shape))
    with pytest.raises(ImportDescriptionError) as failure:
        survey(tmp_path)
    for word in words:
        assert word in str(failure.value)


def test_paths_with_special_characters_are_quoted(tmp_path):
    folder = tmp_path / "50 % #1: $HOME's"
    folder.mkdir()
    np.save(folder / "~a, b.npy", np.zeros((2, 2, 4, 4), np.uint8))
    config = load_config(init(folder, ANSWERS, output=tmp_path / "odd.yaml"))
    from dptt.config import expand_path

    assert expand_path(config.import_.data[0].path) == folder / "~a, b.npy"


def test_every_question_is_about_a_setting_and_its_example_is_an_answer():
    from dptt.config.starter import answer

    for question in QUESTIONS:
        assert answer(question, question.example) is not None
    assert unanswered({"series": "a.h5"}) == [QUESTIONS[-1]]


def test_without_data_and_without_a_person_the_way_on_is_named():
    with pytest.raises(ConfigError, match="dptt example"):
        init(None)

"""Paths of the configuration: `~`, environment variables, and names that no file can have."""

import subprocess
import sys
from pathlib import Path

import pytest
from config_files import problems_of, write_config

from dptt.config import Config, ConfigError, config_from_yaml, config_yaml, expand_path, load_config


@pytest.fixture
def folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SCRATCH", "/scratch/job 7")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/run", "/home/ada/run"),
        ("~", "/home/ada"),
        ("${SCRATCH}/a.h5", "/scratch/job 7/a.h5"),
        ("$SCRATCH/a.h5", "/scratch/job 7/a.h5"),
        ("a/${EMPTY}b", "a/b"),
        ("cost$1.npy", "cost$1.npy"),
        ("cost$$SCRATCH", "cost$SCRATCH"),
        ("a~b", "a~b"),
        ("./~ada", "~ada"),
        ("Meßdaten (1) [2]/größe ü.h5", "Meßdaten (1) [2]/größe ü.h5"),
        ("n" * 255, "n" * 255),
    ],
)
def test_a_path_is_expanded(folders, text, path):
    assert expand_path(text) == Path(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${ABSENT}/a", "environment variable ABSENT not set"),
        ("$ABSENT/a", "environment variable ABSENT not set"),
        ("${ABSENT}/${SCRATCH}/${OTHER_ABSENT}/${ABSENT}", "environment variables ABSENT, OTHER_ABSENT not set"),
        ("${}", "environment variable .* not set"),
        ("~no-such-user/a", r"~no-such-user is not a home folder. Write ./~no-such-user"),
        ("${EMPTY}", "the path is empty"),
        ("n" * 256, "its longest name 256; expected at most 4095 and 255"),
        ("ü" * 128, "its longest name 256"),
        ("a/" * 2100, "the path has 42.. bytes"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
    ],
)
def test_a_path_that_cannot_be_is_refused_with_the_reason(folders, text, reason):
    with pytest.raises(ConfigError, match=reason):
        expand_path(text)


def test_series_and_run_are_expanded_when_the_file_is_loaded_and_stay_so_in_the_resolved_one(folders, tmp_path):
    config = load_config(write_config(tmp_path), ["series=${SCRATCH}/a.h5", "run=~/run"])
    assert (config.series, config.run) == (Path("/scratch/job 7/a.h5"), Path("/home/ada/run"))
    resolved = config_yaml(config)
    assert "${" not in resolved
    assert config_from_yaml(resolved) == config


@pytest.mark.parametrize("name", ["cost$1", "a$SCRATCH", "~ada", "a$$b", "${ABSENT}"])
def test_a_resolved_configuration_names_the_same_file_whatever_its_name(folders, name):
    config = Config(series=Path(name), run=Path(name))
    assert config_from_yaml(config_yaml(config)) == config


def test_every_unset_variable_of_series_and_run_is_named_at_once(folders, tmp_path):
    problems = problems_of(tmp_path, "series=${ABSENT}/a.h5", "run=$OTHER_ABSENT/b", "volume.margin=-1")
    assert ["ABSENT" in problems[0], "OTHER_ABSENT" in problems[1], "volume.margin" in problems[2]] == [True] * 3


def test_variables_of_files_that_a_command_does_not_open_need_not_be_set(folders, tmp_path):
    config = load_config(write_config(tmp_path), ["import.data=[{path: '${ABSENT}/a.h5'}]"])
    assert config.import_.data[0].path == "${ABSENT}/a.h5"


@pytest.mark.parametrize("key", ["series", "run", "import.truth.atoms.path", "alignment.start"])
@pytest.mark.parametrize("name", ['""', r'"a\0b"', r'"a\nb"', "1.5", "[a]", "true"])
def test_what_cannot_be_a_path_is_refused_by_every_key(tmp_path, key, name):
    assert problems_of(tmp_path, f"{key}={name}")[0].startswith(key)


def test_digits_can_be_a_path(tmp_path):
    config = load_config(write_config(tmp_path), ["run=2024", "import.data=[{path: 007, dataset: 5}]"])
    assert (config.run, config.import_.data[0].path, config.import_.data[0].dataset) == (Path("2024"), "007", "5")


def test_a_series_whose_temporary_file_would_have_too_long_a_name_is_refused(tmp_path):
    (problem,) = problems_of(tmp_path, f"series={'s' * 240}.h5")
    assert problem.startswith("series: the name of the file is longer than 200 bytes")


def test_a_name_outside_the_characters_of_the_locale_is_refused_with_the_cure():
    program = (
        "from dptt.config.paths import expand_path\n"
        "try: expand_path('gr\\xf6\\xdfe.h5')\n"
        "except ValueError as error: print(ascii(str(error)))"
    )
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": ":".join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert "Set LC_ALL=C.UTF-8" in printed.stdout

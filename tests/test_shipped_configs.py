"""Every configuration in jobs/configs loads, describes something that can be run, and comes in reading order."""

from pathlib import Path

import pytest
import yaml

from dptt.assembly.geometry import plan_geometry
from dptt.assembly.simulation import build_optics, build_scan, build_scheme, simulated_experiment
from dptt.config import Config, config_yaml, load_config

FOLDER = Path(__file__).resolve().parents[1] / "jobs" / "configs"
FILES = sorted(FOLDER.glob("*.yaml"))
SIMULATING = [path for path in FILES if "\nsimulation:" in path.read_text()]
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def test_the_smallest_configuration_is_there_and_leaves_the_reconstruction_to_its_defaults():
    minimal = FOLDER / "00_minimal.yaml"
    assert minimal in FILES
    assert "reconstruction:" not in minimal.read_text()


@each
def test_it_loads_and_its_resolved_form_is_equal(path, tmp_path):
    config = load_config(path)
    (tmp_path / "resolved.yaml").write_text(config_yaml(config))
    assert load_config(tmp_path / "resolved.yaml") == config


@each
def test_it_means_the_same_to_every_reader_of_yaml(path):
    assert load_config(path) == Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@each
def test_it_says_where_its_series_comes_from(path):
    config = load_config(path)
    assert (config.simulation is None) != (config.import_ is None)
    assert not config.series.is_absolute() and not config.run.is_absolute()


@each
def test_a_comment_says_what_it_adds(path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", SIMULATING, ids=lambda path: path.name)
def test_what_it_simulates_has_a_grid(path):
    config = load_config(path)
    optics, scan = build_optics(config.simulation), build_scan(config.simulation)
    geometry = plan_geometry(config.volume, simulated_experiment(optics, scan, build_scheme(config.simulation)))
    assert 0.05 < geometry.voxel_size[2] < 2.0, "Å"
    assert geometry.volume_shape[1] >= geometry.window_shape[0]
    assert len(build_scheme(config.simulation).angles) > 1


def test_no_two_of_them_write_to_one_place():
    runs = [load_config(path).run for path in FILES]
    assert len(set(runs)) == len(runs)

"""Reading the file, changing it from the command line, and writing it back."""

from pathlib import Path

import pytest
from config_files import COMPLETE, write_config

from dptt.config import ConfigError, config_yaml, load_config


def test_an_override_reaches_any_depth_and_is_typed_as_yaml(tmp_path):
    config = load_config(
        write_config(tmp_path),
        [
            "reconstruction.regularisation.butterworth_order=4",
            "simulation.tilts.angle_errors=[0.5, 1, 2.5]",
            "simulation.shot_noise=false",
            "volume.thickness=null",
            "run=runs/a=b",
        ],
    )
    assert config.reconstruction.regularisation.butterworth_order == 4
    assert config.reconstruction.regularisation.l1 == 0.01, "what is not overridden stays"
    assert config.simulation.tilts.angle_errors == (0.5, 1.0, 2.5)
    assert config.simulation.shot_noise is False
    assert config.volume.thickness is None
    assert config.run == Path("runs/a=b")


def test_an_override_creates_a_section_that_the_file_leaves_out(tmp_path):
    path = write_config(tmp_path, "series: a.h5\nrun: b\n")
    assert load_config(path, ["analysis.mask_radius=4", "volume.margin=2"]).analysis.mask_radius == 4.0


def test_of_two_overrides_of_one_key_the_last_counts(tmp_path):
    overrides = ["reconstruction.epochs=3", "reconstruction.epochs=7"]
    assert load_config(write_config(tmp_path), overrides).reconstruction.epochs == 7


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("reconstruction.epochs", "is not of the form section.key=value"),
        ("=3", "is not of the form section.key=value"),
        ("reconstruction.epochs=[3", "'[3' is not valid YAML"),
        ("series.name=3", "series is a value, not a section"),
        ("reconstruction.epochs.first=3", "reconstruction.epochs is a value, not a section"),
        ("volume.thickness.z.y=3", "volume.thickness.z is a value, not a section"),
    ],
)
def test_a_malformed_override_is_quoted_with_its_fault(tmp_path, override, reason):
    with pytest.raises(ConfigError) as failure:
        load_config(write_config(tmp_path), [override])
    assert str(failure.value).startswith(f"override {override!r}")
    assert str(failure.value).endswith(reason)


def test_the_resolved_configuration_reloads_to_an_equal_one(tmp_path):
    config = load_config(write_config(tmp_path), ["reconstruction.positions=false", "volume.kind=real"])
    resolved = config_yaml(config)
    assert load_config(write_config(tmp_path, resolved)) == config
    for default in ("momentum: 0.5", "margin: 3", "min_separation: 1.5", "tilt_sign: 1"):
        assert default in resolved


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read \(No such file or directory\)"):
        load_config(tmp_path / "absent.yaml")


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_a_binary_file_is_no_configuration(tmp_path):
    path = tmp_path / "series.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n\x00\x00\xff")
    with pytest.raises(ConfigError, match=r"series\.h5"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("series: [a\n", "is not valid YAML"),
        ("series: a\n\trun: b\n", "is not valid YAML"),
        ("- series\n- run\n", "contains a list; expected sections"),
        ("just words\n", "contains a str; expected sections"),
        ("", "series: missing"),
    ],
)
def test_text_that_is_no_mapping_is_refused(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason) as failure:
        load_config(write_config(tmp_path, text))
    assert "run.yaml" in str(failure.value)


def test_the_section_import_has_its_plain_name_in_the_file_and_in_the_resolved_one(tmp_path):
    config = load_config(write_config(tmp_path, COMPLETE))
    assert config.import_.energy == 200e3
    assert "\nimport:\n" in config_yaml(config)

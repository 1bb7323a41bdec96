"""What the number of epochs leaves without effect is said, in every section that has epochs; nothing else is."""

import pytest
from config_files import write_config

from dptt.config import load_config
from dptt.config.reconstruction import ReconstructionConfig
from dptt.config.schedules import without_effect


def said_of(folder, *overrides: str) -> list[str]:
    """Return what is said of the reconstruction in 5 epochs."""
    config = load_config(write_config(folder), [f"reconstruction.{override}" for override in overrides])
    return without_effect(config.reconstruction, "reconstruction")


@pytest.mark.parametrize("name", ["probe", "positions", "angles", "translations"])
def test_a_refinement_begins_in_the_last_epoch_at_the_latest(tmp_path, name):
    assert said_of(tmp_path, f"{name}=5") == []
    (sentence,) = said_of(tmp_path, f"{name}=6")
    assert sentence.startswith(f"reconstruction.{name}.from_epoch: epoch 6 is beyond the last, 5")


@pytest.mark.parametrize(
    ("first", "number", "expected"),
    [
        (2, 3, None),  # epoch 5 fits with all patterns
        (2, 4, "lasts to the end of 5 epochs, so that 10 % of the patterns are never fitted. Set it to at most 3"),
        (4, 1, None),
        (5, 1, "ends with the only calibration"),
        (6, 1, "epoch 6 is beyond the last, 5"),
    ],
)
def test_a_calibration_leaves_epochs_to_follow_it(tmp_path, first, number, expected):
    said = said_of(tmp_path, f"calibration={{from_epoch: {first}, epochs: {number}}}")
    assert len(said) == (expected is not None)
    assert expected is None or expected in said[0]


def test_shrinkage_that_never_begins_or_decays_from_nothing_is_named(tmp_path):
    assert said_of(tmp_path, "regularisation.l1_from_epoch=5") == []
    assert "l1_from_epoch: epoch 6" in said_of(tmp_path, "regularisation.l1_from_epoch=6")[0]
    assert "l1_half_life: has no effect" in said_of(tmp_path, "regularisation={l1: 0, l1_half_life: 2}")[0]
    assert said_of(tmp_path, "regularisation={l1: 0, l1_from_epoch: 9}") == []


def test_defaults_are_passed_over_and_every_section_with_epochs_is_judged(tmp_path):
    assert said_of(tmp_path, "epochs=1", "probe.from_epoch=2", "positions=no") == []
    assert said_of(tmp_path, "calibration=auto") == said_of(tmp_path, "calibration=2") == []
    config = load_config(write_config(tmp_path), ["ptychography={epochs: 3, positions: 4}"])
    assert config.ptychography is not None
    assert without_effect(config.ptychography, "ptychography")[0].startswith("ptychography.positions.from_epoch")
    vacuum = [f"{name}.regularisation.vacuum=true" for name in ("ptychography", "reconstruction")]
    config = load_config(write_config(tmp_path), vacuum)
    assert config.ptychography is not None and without_effect(config.reconstruction, "reconstruction") == []
    assert "vacuum: has no effect here" in without_effect(config.ptychography, "ptychography")[0]


def test_one_tilt_alone_is_calibrated_without_strain_unless_it_is_asked_for(tmp_path):
    path = write_config(tmp_path)
    config = load_config(path, ["ptychography.calibration=2", "reconstruction.calibration=2"])
    assert config.ptychography is not None
    assert not config.ptychography.calibration.scan_strain and config.reconstruction.calibration.scan_strain
    asked = load_config(path, ["ptychography.calibration={from_epoch: 2, scan_strain: true}"])
    assert asked.ptychography is not None and asked.ptychography.calibration.scan_strain


@pytest.mark.parametrize(
    ("said", "epochs", "patterns", "expected"),
    [
        ("auto", 8, 200, (2, 6)),
        ("auto", 14, 4096, (2, 6)),
        ("auto", 6, 200, (2, 4)),  # the last epoch fits all patterns
        ("auto", 5, 200, None),  # too few steps for a volume that is not there yet
        ("auto", 8, 199, None),  # 40 patterns would be more than a fifth
        ("off", 8, 4096, None),
        (3, 5, 9, (3, 2)),  # as asked
        ({"epochs": 2}, 8, 200, (2, 2)),
        ({"from_epoch": 3, "epochs": 9}, 8, 200, (3, 9)),
    ],
)
def test_a_calibration_begins_unasked_where_patterns_and_epochs_suffice(said, epochs, patterns, expected):
    calibration = ReconstructionConfig(epochs=epochs, calibration=said).calibration
    first = calibration.first_epoch(of=epochs, patterns=patterns)
    assert (first and (first, calibration.number_of_epochs(of=epochs, first=first))) == expected

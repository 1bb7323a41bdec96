"""A detuned microscope is recognised, with the way and the amount: what the patterns would have otherwise."""

import pytest
import torch
from small_series import GEOMETRY, Patterns, focused_probe, make_truth
from solver_settings import tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.solvers.tomography.detuning import (
    OPTICS,
    POSES,
    Preference,
    optics_preferences,
    preference_sentences,
    together,
    unsettled,
)

ELECTRONS = 1e6
SETTINGS = tomography_settings(validation_fraction=0.5)


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture(scope="module")
def series(truth):
    generator = torch.Generator().manual_seed(8)
    return [Patterns(torch.poisson(p.data * ELECTRONS / 1e4, generator), name=p.name) for p in truth.series()]


NAMES = [f"{tilt:04d}" for tilt in range(5)]


def preferred(truth, series, *, defocus: float = 30.0, scale: float = 1.0, turn: float = 0.0, tilts=range(5), **pose):
    """Return what the patterns prefer if some tilts are told with these optics; those of the truth if none."""
    angle = torch.deg2rad(torch.tensor(turn, dtype=torch.float64))
    # row i and column j lie at y = i cos a - j sin a, x = i sin a + j cos a: docs of simulation.scan.rotation
    y = [p[:, 0] * angle.cos() - p[:, 1] * angle.sin() for p in truth.positions]
    x = [p[:, 0] * angle.sin() + p[:, 1] * angle.cos() for p in truth.positions]
    positions = [scale * torch.stack(pair, 1) for pair in zip(y, x, strict=True)]
    positions = [moved if i in tilts else truth.positions[i] for i, moved in enumerate(positions)]
    probes = [focused_probe(ELECTRONS, defocus if i in tilts else 30.0) for i in range(5)]
    state = truth.start(probes=probes, positions=positions, **pose)
    state.volume = truth.volume.clone()
    return optics_preferences(state, series, GEOMETRY, SETTINGS, Mesh.serial())


def test_the_true_optics_are_preferred_as_they_are(truth, series):
    found = preferred(truth, series)
    assert list(found) == [parameter.name for parameter in (*OPTICS, *POSES)]
    assert all(abs(together(tilts).change) < 5 * together(tilts).sigma for tilts in found.values())
    assert preference_sentences(found, NAMES) == []


@pytest.mark.parametrize(
    ("told", "name", "change"),
    [
        ({"defocus": 45.0}, "defocus", -15.0),
        ({"defocus": 20.0}, "defocus", 10.0),
        ({"scale": 1.03}, "scan step", -3.0),
        ({"scale": 0.98}, "scan step", 2.0),
        ({"turn": 3.0}, "scan rotation", -3.0),
        ({"turn": -2.0}, "scan rotation", 2.0),
    ],
)
def test_wrong_optics_are_named_with_the_way_back(truth, series, told, name, change):
    found = preferred(truth, series, **told)
    common = together(found[name])
    assert common.change == pytest.approx(change, rel=0.35)
    assert abs(common.change) > 5 * common.sigma
    (first, *_) = preference_sentences(found, NAMES)
    assert first.startswith(f"the data prefer a {name} about") and ("larger" in first) == (change > 0)


@pytest.mark.parametrize(
    ("told", "way"), [({"defocus": 50.0}, "a defocus about 20"), ({"scale": 1.05}, "a scan step about")]
)
def test_a_single_wrong_tilt_is_named_and_does_not_make_the_others_wrong(truth, series, told, way):
    said = preference_sentences(preferred(truth, series, **told, tilts=[3]), NAMES)
    assert said[0].startswith(f"tilt 0003 differs from the others: its patterns prefer {way}")
    assert "smaller" in said[0]
    assert not [sentence for sentence in said if "0003" not in sentence]


@pytest.mark.parametrize(
    ("axis", "error", "name"), [(0, 0.2, "translation along y"), (1, -0.2, "translation along x")]
)
def test_a_single_tilt_in_a_wrong_place_is_named_with_the_way_back(truth, series, axis, error, name):
    translations = truth.translations.clone()
    translations[3, axis] += error
    found = preferred(truth, series, translations=translations)
    assert found[name][3].change == pytest.approx(-error, rel=0.35)
    said = preference_sentences(found, NAMES)
    assert said[0].startswith(f"tilt 0003 differs from the others: its patterns prefer a {name} about")
    assert ("smaller" if error > 0 else "larger") in said[0]
    assert not [sentence for sentence in said if "0003" not in sentence]


def test_a_pose_of_all_tilts_is_the_frame_of_the_volume_and_no_fault():
    found = {parameter.name: [Preference(0.0, 1.0, 0.1)] * 5 for parameter in OPTICS}
    found |= {parameter.name: [Preference(0.5, 0.01, 0.1)] * 5 for parameter in POSES}
    assert preference_sentences(found, NAMES) == []


def test_what_gains_nothing_or_is_uncertain_is_not_said():
    none = [Preference(0.0, 1.0, 0.1)] * 5
    found = {parameter.name: none for parameter in (*OPTICS, *POSES)}
    found |= {"defocus": [Preference(20.0, 1.0, 1e-5)] * 5, "scan step": [Preference(2.0, 3.0, 0.1)] * 5}
    assert preference_sentences(found, NAMES) == []


def epochs(*tilt_losses: tuple[float, float], held_out: float | None = None) -> list[dict]:
    """Return lines of metrics.jsonl of two tilts; held-out losses are `held_out` times as large as their mean."""
    return [
        {"epoch": number, "loss": sum(losses) / 2, "held_out_loss": held_out and held_out * sum(losses) / 2}
        | {"tilt_losses": list(losses), "vacuum_loss": 3.0 if number == 1 else None}
        for number, losses in enumerate(tilt_losses, 1)
    ]


@pytest.mark.parametrize(
    ("metrics", "of_all", "of_tilts"),
    [
        (epochs((1.0, 3.0)), 0.5, [0.5, 0.5]),  # from vacuum
        (epochs((1.0, 3.0), (1.0, 1.0)), 1.0, [0.0, 2.0]),
        (epochs((1.0, 3.0), (1.0, 1.0), held_out=2.0), 1.0, [0.0, 2.0]),
        (epochs((9.0, 9.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), 0.0, [0.0, 0.0]),
        (epochs((1.0, 1.0), (1.0, 1.0), (2.0, 0.8), (2.0, 0.8)), 0.4 / 1.4, [0.5, 0.25]),  # either way, one before
        (epochs((1.0, 3.0), (1.0, 1.0))[1:], 0.0, [0.0, 0.0]),  # lines are missing
        ([], 0.0, [0.0, 0.0]),
    ],
)
def test_what_is_still_changing_is_from_the_losses_of_the_last_epochs(metrics, of_all, of_tilts):
    found = unsettled(metrics, 2)
    assert found[0] == pytest.approx(of_all) and found[1] == pytest.approx(of_tilts)


def test_the_held_out_loss_tells_that_nothing_was_gained():
    metrics = epochs((1.0, 3.0), (1.0, 1.0), held_out=1.0)
    metrics[1]["held_out_loss"] = metrics[0]["held_out_loss"] = 2.0
    assert unsettled(metrics, 2)[0] == 0.5, "from vacuum to the first epoch"
    assert unsettled([*metrics, metrics[1] | {"epoch": 3}], 2)[0] == 0.0


def test_what_gains_less_than_is_still_changing_is_no_evidence():
    found = {parameter.name: [Preference(0.0, 1.0, 0.0)] * 5 for parameter in (*OPTICS, *POSES)}
    found["scan rotation"] = [Preference(1.0, 0.1, 0.02)] * 5
    found["translation along y"] = [Preference(0.0, 0.01, 0.0)] * 4 + [Preference(0.5, 0.01, 0.04)]
    for changing, words in (
        (None, ["tilt 0004", "the data"]),
        ((0.019, [0.5] * 4 + [0.039]), ["tilt 0004", "the data"]),
        ((0.021, [0.0] * 4 + [0.039]), ["tilt 0004"]),
        ((0.019, [0.0] * 4 + [0.041]), ["the data"]),
    ):
        said = preference_sentences(found, NAMES, changing)
        assert len(said) == len(words) and all(any(w in one for one in said) for w in words), said

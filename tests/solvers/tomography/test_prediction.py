"""A displaced or stretched tilt is named with the way back, after a reconstruction that has taken the error over."""

from dataclasses import replace

import pytest
import torch
from small_series import GEOMETRY, Patterns, focused_probe, make_truth, run, scan
from solver_settings import tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.solvers.tomography import prediction
from dptt.solvers.tomography import projections as module
from dptt.solvers.tomography.minibatch_update import read_usable
from dptt.solvers.tomography.prediction import (
    Contradiction,
    contradicted_tilt,
    contradiction,
    predictable,
    windows,
)
from dptt.solvers.tomography.projected_field import projection_matrix
from dptt.solvers.tomography.projections import Projections, block_sums, projections
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_plan import plan_tilt

TILTS = torch.arange(-45.0, 46, 15, dtype=torch.float64)
WRONG = 4
ELECTRONS = 3e4
SETTINGS = tomography_settings(epochs=5, batches=2)


@pytest.fixture(scope="module")
def truth():
    angles = torch.zeros(len(TILTS), 3, dtype=torch.float64)
    angles[:, 1] = TILTS
    positions = [scan((8, 9), 0.9, seed=10 + tilt) for tilt in range(len(TILTS))]
    translations = torch.zeros(len(TILTS), 2, dtype=torch.float64)
    return make_truth(
        probe=focused_probe(ELECTRONS), euler_angles=angles, positions=positions, translations=translations
    )


@pytest.fixture(scope="module")
def series(truth):
    generator = torch.Generator().manual_seed(8)
    return [Patterns(torch.poisson(p.data, generator), name=p.name) for p in truth.series()]


def judged(truth, series, *, moved=(0.0, 0.0), scale: float = 1.0) -> Contradiction | None:
    """Return what is said after a reconstruction in which one tilt is told displaced by `moved` [Å] and stretched."""
    translations, positions = truth.translations.clone(), [p.clone() for p in truth.positions]
    translations[WRONG] += torch.tensor(moved)
    positions[WRONG] *= scale
    state = truth.start(translations=translations, positions=positions, volume_dtype=torch.float32)
    state.probes = [probe.to(torch.complex64) for probe in state.probes]
    run(state, series, epochs=SETTINGS.epochs, batches=SETTINGS.batches)
    return contradicted_tilt(state, series, GEOMETRY, SETTINGS, Mesh.serial())


@pytest.mark.parametrize(
    ("wrong", "parameter", "way"),
    [
        ({"moved": (0.0, 0.8)}, "translation along x", -1),
        ({"moved": (-1.2, 0.0)}, "translation along y", 1),
        ({"scale": 0.88}, "scan step", 1),
    ],
)
def test_a_wrong_tilt_is_named_with_the_way_back(truth, series, wrong, parameter, way):
    found = judged(truth, series, **wrong)
    assert found is not None
    assert (found.tilt, found.parameter) == (WRONG, parameter)
    assert found.change * way > 0
    assert ("larger" if way > 0 else "smaller") in found.sentence([f"{n:04d}" for n in range(7)])


def test_good_tilts_do_not_contradict_each_other(truth, series):
    assert judged(truth, series) is None


@pytest.mark.parametrize("number", [5, 12, 13, 18, 41])
def test_every_tilt_is_judged_once_among_its_neighbours(number):
    theta = torch.randperm(number, generator=torch.Generator().manual_seed(1)).double()
    cuts = windows(theta)
    assert sorted(tilts[i] for tilts, inner in cuts for i in inner) == list(range(number))
    for tilts, inner in cuts:
        ranks = theta[tilts].tolist()
        assert ranks == list(range(int(ranks[0]), int(ranks[0]) + len(ranks))), "neighbours, in order"
        ends = {0, number - 1}
        assert all(2 < i < len(tilts) - 3 or ends & {ranks[0], ranks[-1]} for i in inner), "in the middle"


def images_of(state, series) -> Projections:
    mesh = Mesh.serial()
    groups = TiltGroups(mesh.tilt, SETTINGS.tilt_groups, state, len(series))
    return projections(state, series, Run(GEOMETRY, SETTINGS, mesh, groups))


def test_a_part_of_many_patterns_tells_the_same_projections(truth, series, monkeypatch):
    state = truth.start()
    state.volume = 0.8 * truth.volume
    whole = images_of(state, series)
    read: list[int] = []
    monkeypatch.setattr(module, "read_usable", lambda tilt, own: (read.append(len(own)), read_usable(tilt, own))[1])
    number = len(state.positions[0])
    monkeypatch.setattr(module, "MOST_PATTERNS", round(0.6 * number))
    part = images_of(state, series)
    assert sum(read) == pytest.approx(0.6 * number * len(series), rel=0.15)
    share = part.weight.sum() / whole.weight.sum()
    assert share == pytest.approx(0.6, abs=0.12)
    both = (whole.weight > 0) & (part.weight > 0)
    a, b = (image.gradient[both] / image.weight[both] for image in (whole, part))
    assert (a * b).sum() / (a.norm() * b.norm()) > 0.9, "in the unit of the potential: the same image"
    assert b.norm() == pytest.approx(a.norm().item(), rel=0.15)


def test_a_row_is_projected_as_the_forward_model_does(truth, series):
    translations = torch.tensor([[0.0, 0.31]], dtype=torch.float64).repeat(len(TILTS), 1)
    state = truth.start(translations=translations)
    state.volume = truth.volume.clone()
    images = images_of(state, series)
    height, width = GEOMETRY.volume_shape[1:]
    ours = (images.volume.permute(1, 0, 2).reshape(height, -1) @ projection_matrix(images, range(7)).T).reshape(
        height, 7, width
    )
    offset = (truth.volume - images.volume).mean() * GEOMETRY.volume_shape[0] * GEOMETRY.voxel_size[0]
    mesh = Mesh.serial()
    run_ = Run(GEOMETRY, SETTINGS, mesh, TiltGroups(mesh.tilt, SETTINGS.tilt_groups, state, 7))
    for tilt in range(7):
        theirs = plan_tilt(state, series[tilt], tilt, run_).tilted.slices(state.volume, 1)[0]
        inside = slice(8, 21)
        difference = ours[:, tilt, inside] + offset - theirs[:, inside]
        assert difference.norm() < 0.07 * theirs.norm(), "a linear interpolation smooths"


def test_blocks_are_summed_with_one_that_begins_in_the_middle():
    image = torch.arange(7.0).reshape(1, 1, 7)
    assert block_sums(image, (1, 1, 2)).flatten().tolist() == [0, 3, 7, 11]
    sums = block_sums(torch.ones(4, 5, 7), (3, 3, 3))
    assert sums.sum() == 4 * 5 * 7
    assert sums.shape == (2, 2, 3)


def test_what_is_not_about_y_or_has_no_vacuum_is_not_judged(truth, series):
    state = truth.start()
    state.volume = truth.volume.clone()
    images = images_of(state, series)
    assert predictable(images)
    turned = replace(images, angles=images.angles + torch.tensor([0.0, 0.0, 4.0]))
    for not_judged in (turned, replace(images, specimen=torch.ones_like(images.specimen))):
        assert not predictable(not_judged)
        assert contradiction(not_judged) is None


def test_a_good_neighbour_that_looks_worse_than_the_wrong_tilt_does_not_hide_it(monkeypatch):
    """What is left without each of three tilts; only without tilt 0 the others agree."""
    zeros = torch.zeros((3, 2, 2), dtype=torch.float64)
    images = Projections(
        gradient=zeros,
        weight=zeros + 1,
        angles=torch.zeros((3, 3), dtype=torch.float64),
        shifts=torch.zeros(3, dtype=torch.float64),
        volume=zeros,
        specimen=zeros + 0.5,
        voxel_size=(1.0, 1.0, 1.0),
        bins=1,
        likelihood=1.0,
    )

    def found(given, residuals):
        lit = given.weight.amax((1, 2)) > 0
        all_of_them = [Contradiction(1, 8, 7.0), Contradiction(2, 8, 5.0), Contradiction(0, 11, 4.0)]
        return [one for one in all_of_them if lit[one.tilt] and lit[0]]

    monkeypatch.setattr(prediction, "_contradictions", found)
    assert contradiction(images) == Contradiction(0, 11, 4.0)
    monkeypatch.setattr(prediction, "MOST_TRIED", 2)
    assert contradiction(images) is None

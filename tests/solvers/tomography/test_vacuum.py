"""The total potential of a specimen in vacuum is found whatever constant and smooth part the constraints left."""

import math

import pytest
import torch
from small_series import GEOMETRY, Patterns, isolated_truth, make_truth
from solver_settings import tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.distributed.slabs import Rows
from dptt.solvers.tomography.constraints import gaussian_
from dptt.solvers.tomography.vacuum import FEWEST_FREE, set_constant_, specimen

SETTINGS = tomography_settings(validation_fraction=0.0)
VOXEL = math.prod(GEOMETRY.voxel_size)


@pytest.fixture(scope="module")
def truth():
    return isolated_truth()


@pytest.fixture(scope="module")
def series(truth):
    return truth.series()


def corrected(truth, series, volume):
    """Return what the vacuum tells of a finished `volume`, and the corrected one."""
    state = truth.start(volume_dtype=volume.dtype)
    state.volume = volume.clone()
    return set_constant_(state, series, GEOMETRY, SETTINGS, Mesh.serial()), state.volume


@pytest.mark.parametrize(("missing", "pedestal"), [(-2.0, -2.0), (2.0, 6.0)])
def test_neither_a_constant_nor_a_lack_of_smooth_potential_changes_the_total(truth, series, missing, pedestal):
    whole = Rows(GEOMETRY.volume_shape[1], Mesh.serial().slab)
    smooth = gaussian_(specimen(truth.volume, whole, Mesh.serial()), 1.0)
    told, volume = corrected(truth, series, truth.volume - missing * smooth + pedestal)
    total = truth.volume.sum().item()
    assert abs(2 * smooth.sum().item() / total) > 0.18, "what is to be found"
    assert told.told and told.offset == pytest.approx(pedestal, abs=0.4)
    assert volume.sum().item() == pytest.approx(total, rel=0.06)
    assert told.total == pytest.approx(volume.sum().item() * VOXEL, rel=1e-9)


@pytest.mark.slow
def test_the_error_is_the_scatter_by_shot_noise(truth):
    totals, errors = [], []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        noisy = [Patterns(torch.poisson(p.data, generator), name=p.name) for p in truth.series()]
        told, _ = corrected(truth, noisy, 0.9 * truth.volume)
        totals.append(told.total)
        errors.append(told.error * told.total)
    scatter = torch.tensor(totals).std().item()
    assert 0.5 < scatter / torch.tensor(errors).mean().item() < 2


def test_only_re_v_is_changed_and_features_in_the_vacuum_stay(truth, series):
    volume = torch.complex(0.8 * truth.volume, 0.01 * truth.volume)
    volume[6, 2:4, 3:5] += 8.0  # a faint cluster beside the particle
    _, after = corrected(truth, series, volume)
    assert torch.equal(after.imag, volume.imag)
    moved = (after - volume).real
    assert moved[6, 2:4, 3:5].std() < 1e-3 and (after.real[6, 2:4, 3:5] > 7).all()


def test_a_specimen_that_fills_the_scanned_area_is_left_as_it_is():
    filled = make_truth()
    filled.volume = filled.volume + 100.0 * (torch.arange(12)[:, None, None] % 4 < 3)
    told, volume = corrected(filled, filled.series(), filled.volume)
    assert not told.told and told.free < FEWEST_FREE and torch.equal(volume, filled.volume)
    assert "the total potential cannot be told" in told.sentence()


def test_the_specimen_is_told_from_noise_around_it_and_nothing_from_an_empty_volume(truth):
    mesh = Mesh.serial()
    whole = Rows(GEOMETRY.volume_shape[1], mesh.slab)
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(GEOMETRY.volume_shape, generator=generator, dtype=torch.float64) * 10
    weight = specimen(truth.volume + noise, whole, mesh)
    assert weight[truth.volume > 20].min() == 1 and weight[truth.volume < 1e-4].mean() < 0.02
    assert not specimen(torch.zeros_like(noise), whole, mesh).any()

"""Refinement moves neither scan positions nor translations past the border of the volume, and says so."""

import logging
from dataclasses import replace

import pytest
import torch
from checks import random_tensor
from small_series import GEOMETRY, Patterns, make_truth, run
from solver_settings import refinement, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.model.forward import model_intensity
from dptt.physics.patches import split_positions
from dptt.solvers.tomography import EpochRecord, reconstruct
from dptt.solvers.tomography.borders import MARGIN, advice, over_the_scan, within_volume

NARROW = replace(GEOMETRY, volume_shape=(12, 22, 23))
"""So narrow that the outermost windows of the scan touch the border."""


def outside(positions, geometry=NARROW):
    """Count the windows that wrap around."""
    corners, _ = split_positions(positions, geometry.sampling, geometry.volume_shape[1:], geometry.window_shape)
    ends = corners + torch.tensor(geometry.window_shape)
    return ((corners < 0) | (ends > torch.tensor(geometry.volume_shape[1:]))).any(1)


def refined(geometry, **settings):
    """Refine the positions of one tilt whose true ones are scattered about the border."""
    truth = make_truth()
    inside = torch.cartesian_prod(torch.linspace(-1.9, 1.9, 6), torch.linspace(-2.2, 2.2, 6)).double()
    true = inside + 0.7 * random_tensor(36, 2, seed=21)
    volume = truth.volume[:, 2:24, 3:26].clone()
    pose = torch.zeros(1, 3).double(), torch.zeros(1, 2).double()
    data = model_intensity(volume, truth.probe, true, pose[0][0], pose[1][0], geometry)
    state = truth.start(probes=[truth.probe], positions=[inside], euler_angles=pose[0], translations=pose[1])
    state.volume, state.velocity = volume.clone(), torch.zeros_like(volume)
    records: list[EpochRecord] = []
    chosen = tomography_settings(epochs=4, step=0.0, positions=refinement(start=0), **settings)
    reconstruct(state, [Patterns(data)], geometry, chosen, Mesh.serial(), records.append)
    return state, records


def test_refined_positions_stay_inside_and_are_counted_with_the_cure(caplog):
    with caplog.at_level(logging.WARNING, "dptt"):
        state, records = refined(NARROW)
    assert not outside(state.positions[0]).any()
    counts = [record.positions_at_border for record in records]
    assert counts[-1] > 0
    assert f"epoch 4: {counts[-1]} refined scan position(s) would leave the volume" in caplog.messages[-1]
    assert f"Raise volume.margin by {MARGIN} voxels or more" in caplog.messages[-1]


def test_positions_of_a_periodic_specimen_wrap_around(caplog):
    state, records = refined(replace(NARROW, periodic=True))
    assert outside(state.positions[0]).any()
    assert [record.positions_at_border for record in records] == [0] * 4 and not caplog.messages


def test_every_position_whose_window_is_inside_is_left_as_it_is():
    positions = 8 * random_tensor(400, 2, seed=3)
    kept, moved = within_volume(positions, NARROW, torch.zeros(400, 2).double())
    assert torch.equal(kept[~moved], positions[~moved])
    assert not outside(kept).any()
    assert outside(positions).any() and (outside(positions) & ~moved).sum() == 0
    assert (moved & ~outside(positions)).sum() < 4, "but for those within a thousandth of a pixel"


def test_a_position_that_starts_outside_goes_no_further_and_does_not_jump():
    before, step = torch.tensor([[9.0, 0.0]] * 2).double(), torch.tensor([[0.25, 0.5], [-0.25, 0.5]]).double()
    kept, moved = within_volume(before + step, NARROW, before)
    assert kept.tolist() == [[9.0, 0.5], [8.75, 0.5]] and moved.tolist() == [True, False]


@pytest.mark.parametrize("periodic", [True, False])
def test_a_translation_is_at_most_half_the_volume(periodic):
    geometry = replace(GEOMETRY, periodic=periodic)  # 13 x 13.05 Å
    kept, limited = over_the_scan(torch.tensor([-9.0, 2.0]).double(), geometry)
    assert limited is not periodic
    assert kept.tolist() == ([-9.0, 2.0] if periodic else [-6.5, 2.0])
    assert over_the_scan(torch.tensor([6.4, -6.5]).double(), GEOMETRY)[1] is False


def test_a_translation_beyond_its_limit_is_kept_at_it_and_counted(caplog):
    truth = make_truth()
    state = truth.start()
    state.volume = truth.volume.clone()
    state.translations[2] = torch.tensor([9.0, 0.0])
    with caplog.at_level(logging.WARNING, "dptt"):
        (record,) = run(state, truth.series(), epochs=1, step=0.0, translations=refinement(start=0))
    assert state.translations[2, 0] == 6.5 and record.translations_at_limit == 1
    assert "1 refined translation(s) would leave the volume and is kept at its border" in caplog.messages[-1]


def test_nothing_is_said_if_nothing_is_kept():
    assert advice(0, 0) == ""

import torch
from checks import random_tensor

from dptt.model.state import TomographyState


def test_windows_may_be_smaller_than_the_volume_and_every_tilt_may_have_its_own_number_of_positions():
    probes = [random_tensor(modes, 3, 4, dtype=torch.complex128) for modes in (1, 2)]
    positions = [random_tensor(n, 2) for n in (5, 6)]
    for _ in range(30):  # beartype checks one random item of a list at a time
        state = TomographyState.initial(
            (3, 5, 7), torch.float64, probes, positions, random_tensor(2, 3), random_tensor(2, 2)
        )
    assert [len(p) for p in state.positions] == [5, 6]


def test_initial_state_knows_nothing_of_the_specimen_and_keeps_the_acquisition():
    probes = [random_tensor(2, 3, 4, seed=s, dtype=torch.complex128) for s in (1, 2)]
    positions = [random_tensor(n, 2, seed=3) for n in (5, 6)]
    angles, translations = random_tensor(2, 3, seed=4), random_tensor(2, 2, seed=5)
    state = TomographyState.initial((3, 4, 5), torch.complex128, probes, positions, angles, translations)
    assert state.epoch == 0
    for zero in (state.volume, state.velocity):
        assert zero.shape == (3, 4, 5) and zero.dtype == torch.complex128 and (zero == 0).all()
    assert torch.equal(state.euler_angles, angles) and torch.equal(state.translations, translations)
    for kept, given in zip(state.probes + state.positions, probes + positions, strict=True):
        assert torch.equal(kept, given)


def test_refining_in_place_leaves_the_given_numbers_alone():
    positions, angles, translations = [random_tensor(5, 2)], random_tensor(1, 3), random_tensor(1, 2)
    given = [x.clone() for x in (positions[0], angles, translations)]
    probe = random_tensor(1, 3, 4, dtype=torch.complex128)
    state = TomographyState.initial((3, 4, 5), torch.float64, [probe], positions, angles, translations)
    for refined in (state.positions[0], state.euler_angles, state.translations):
        refined += 1
    for now, before in zip((positions[0], angles, translations), given, strict=True):
        assert torch.equal(now, before)

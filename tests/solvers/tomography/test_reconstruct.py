"""[P] Algorithm 3 on a series of a few atoms made with the reference model: does it find the atoms?"""

import copy
from dataclasses import fields, replace

import pytest
import torch
from checks import random_tensor, relative_error
from scipy.spatial.transform import Rotation
from small_series import GEOMETRY, TILTS, Patterns, focused_probe, make_truth, run, scan
from solver_settings import refinement, regularisation
from torch import Tensor

from dptt.model.state import TomographyState
from dptt.physics.multislice import diffraction_intensity
from dptt.physics.probe import hermite_modes
from dptt.solvers.tomography import NonFiniteLossError
from dptt.solvers.tomography.constraints import butterworth_, regularise_layers_
from dptt.solvers.tomography.steps import PROBE_SHARE

FREE = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0, nonnegative_absorption=False)
ONLY_CONSTRAINTS = {"step": 0.0, "momentum": 0.0, "validation_fraction": 0.0}


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture
def series(truth):
    return truth.series()


def correlation(volume: Tensor, expected: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(volume.flatten(), expected.flatten(), dim=0).item()


@pytest.mark.parametrize(
    ("order", "loss"),
    [
        ("random", "amplitude"),
        ("sequential", "poisson"),
        pytest.param("random", "poisson", marks=pytest.mark.thorough),
        pytest.param("sequential", "amplitude", marks=pytest.mark.thorough),
    ],
)
def test_the_specimen_is_found_from_noise_free_patterns(truth, series, order, loss):
    state = truth.start()
    # without noise all losses are excess, and tilts would lose weight for their place in the order alone
    records = run(state, series, epochs=6, tilt_order=order, loss=loss, weigh_tilts=False)
    assert all(later.loss < sooner.loss for sooner, later in zip(records, records[1:], strict=False))
    assert records[-1].loss < 0.03 * records[0].loss
    assert records[-1].held_out_loss < 0.1 * records[0].held_out_loss
    assert correlation(state.volume, truth.volume) > 0.92
    assert relative_error(state.volume, truth.volume) < 0.4  # the missing wedge and the aperture hide the rest


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_the_specimen_is_found_from_integer_counts(truth, series, loss):
    generator = torch.Generator().manual_seed(5)
    counted = [Patterns(torch.poisson(p.data, generator=generator).to(torch.int16)) for p in series]
    state = truth.start()
    run(state, counted, epochs=4, loss=loss)
    assert correlation(state.volume, truth.volume) > 0.85


@pytest.mark.slow
def test_absorption_is_found_beside_the_potential(truth):
    absorbing = make_truth(volume=torch.complex(truth.volume, 0.1 * truth.volume))
    state = absorbing.start()
    run(state, absorbing.series(), epochs=6)
    assert correlation(state.volume.real, truth.volume) > 0.92
    assert correlation(state.volume.imag, truth.volume) > 0.85
    assert state.volume.imag.sum().item() == pytest.approx(0.1 * truth.volume.sum().item(), rel=0.3)


def test_single_precision_follows_double_precision(truth, series):
    double, single = truth.start(), truth.start(volume_dtype=torch.float32)
    single.probes = [probe.to(torch.complex64) for probe in single.probes]
    for state in (double, single):
        run(state, series, epochs=2)
    assert single.volume.dtype == torch.float32
    assert relative_error(single.volume, double.volume) < 1e-4


def test_dose_and_detector_gain_do_not_change_the_volume(truth, series):
    bright = [Patterns(400 * p.data, scale=0.25) for p in series]
    states = [truth.start(), truth.start(probes=[10 * truth.probe for _ in TILTS])]
    for state, patterns in zip(states, (series, bright), strict=True):
        run(state, patterns, epochs=2)
    assert relative_error(states[1].volume, states[0].volume) < 1e-9


@pytest.mark.slow
def test_dead_pixels_do_not_disturb(truth, series):
    mask = torch.ones(GEOMETRY.window_shape, dtype=torch.bool)
    mask[2, 3] = mask[0, -1] = mask[7] = False
    electrons = series[0].mean_electrons
    spoilt = [Patterns(torch.where(mask, p.data, 1e5), mask=mask) for p in series]
    for patterns in spoilt:
        patterns.mean_electrons = electrons
    state = truth.start()
    records = run(state, spoilt, epochs=6)
    assert records[-1].loss < 0.05 * records[0].loss
    assert correlation(state.volume, truth.volume) > 0.9


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_the_step_scales_the_update(truth, series, kind):
    dtype = torch.complex128 if kind == "complex" else torch.float64
    states = [truth.start(volume_dtype=dtype) for _ in range(2)]
    for state, step in zip(states, (1.0, 0.3), strict=True):
        run(state, series[1:2], epochs=1, batches=1, step=step, regularisation=FREE)
    assert states[0].volume.abs().max() > 1
    assert relative_error(states[1].volume, 0.3 * states[0].volume) < 1e-12


def test_momentum_keeps_its_fraction_of_earlier_updates(truth, series):
    settings = {"batches": 1, "regularisation": FREE, "validation_fraction": 0.0}
    state, fresh = truth.start(), truth.start()
    run(state, series[1:2], epochs=1, momentum=0.4, **settings)
    fresh.volume, fresh.epoch = state.volume.clone(), 1
    carried = state.velocity.clone()
    run(state, series[1:2], epochs=2, momentum=0.4, **settings)
    run(fresh, series[1:2], epochs=2, momentum=0.0, **settings)
    assert relative_error(state.velocity, 0.4 * carried + fresh.velocity) < 1e-12
    assert relative_error(state.volume, fresh.volume - 0.4 * carried) < 1e-12


def test_one_update_of_the_probe_explains_the_patterns_of_vacuum():
    """Without a specimen the amplitude loss is quadratic beyond the phase: a Newton step sets every modulus."""
    modes = hermite_modes(focused_probe()[0], 2, power_of_first=0.7)
    vacuum = make_truth(volume=torch.zeros(GEOMETRY.volume_shape, dtype=torch.float64), probe=modes)
    start = hermite_modes(focused_probe(electrons=1.3e4, defocus=60.0)[0], 2)
    state = vacuum.start(probes=[start.clone() for _ in TILTS])
    settings = {"step": 0.0, "batches": 3, "epsilon": 1e-12, "regularisation": FREE}
    settings["probe"] = refinement(start=1, step=1 / PROBE_SHARE)
    run(state, vacuum.series(), epochs=1, **settings)
    assert all(torch.equal(probe, start) for probe in state.probes)  # not before its epoch
    run(state, vacuum.series(), epochs=2, **settings)
    for probe in state.probes:
        assert relative_error(diffraction_intensity(probe), diffraction_intensity(modes)) < 1e-5


def density(modes: Tensor) -> Tensor:
    flat = modes.flatten(1)
    return flat.T @ flat.conj()


@pytest.mark.slow
def test_mixed_state_probe_is_recovered_with_the_specimen():
    modes = hermite_modes(focused_probe()[0], 2, power_of_first=0.7)
    partial = make_truth(probe=modes)
    start = hermite_modes(focused_probe()[0], 2, power_of_first=0.95)
    fixed, refined = (partial.start(probes=[start.clone() for _ in TILTS]) for _ in range(2))
    without = run(fixed, partial.series(), epochs=6)
    records = run(refined, partial.series(), epochs=6, probe=refinement(start=1))
    assert records[-1].loss < 0.01 * without[-1].loss
    assert correlation(refined.volume, partial.volume) > correlation(fixed.volume, partial.volume) + 0.1
    for probe in refined.probes:
        assert relative_error(density(probe), density(modes)) < 0.9 * relative_error(density(start), density(modes))


def test_a_spoilt_pattern_is_named_by_epoch_tilt_and_minibatch(truth, series):
    series[3].data[20] = torch.nan
    series[3].mean_electrons = series[0].mean_electrons
    state = truth.start()
    state.epoch = 6
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan in epoch 7, tilt 0003, minibatch 2;"):
        run(state, series, epochs=7, batches=4, validation_fraction=0.0)  # pattern 20 of 36: batch 2 of 0 to 3


@pytest.mark.thorough
@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_bits(truth, series):
    every = refinement(start=1)
    settings = {"probe": every, "positions": every, "angles": every, "translations": every}
    settings |= {"regularisation": regularisation(butterworth_cutoff=0.8, layer_weight=0.5, l1_start=2)}
    uninterrupted = truth.start()
    run(uninterrupted, series, epochs=4, **settings)
    stopped = truth.start()
    run(stopped, series, epochs=2, **settings)
    resumed = copy.deepcopy(stopped)
    assert len(run(resumed, series, epochs=4, **settings)) == 2
    for entry in fields(TomographyState):
        one, other = getattr(resumed, entry.name), getattr(uninterrupted, entry.name)
        if entry.name == "epoch":
            assert (one, other) == (4, 4)
        elif entry.name == "descent":
            assert one == other
        elif entry.name == "nominal":
            assert torch.equal(one.euler_angles, other.euler_angles) and torch.equal(
                one.translations, other.translations
            )
        else:
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), entry.name


def test_a_complete_run_runs_no_further(truth, series):
    state = truth.start()
    state.epoch = 3
    assert run(state, series, epochs=3) == []
    assert (state.volume == 0).all()


def test_a_tilt_with_fewer_positions_than_batches_works():
    positions = [scan(seed=10), scan((1, 2), seed=11), scan(seed=12), scan(seed=13), scan((3, 1), seed=14)]
    few = make_truth(positions=positions)
    series, state = few.series(), few.start()
    records = run(state, series, epochs=4, batches=4, validation_fraction=0.0, weigh_tilts=False)
    assert sorted(index for read in series[1].reads for index in read) == [0] * 4 + [1] * 4
    assert records[-1].loss < 0.2 * records[0].loss
    assert correlation(state.volume, few.volume) > 0.7


def test_the_record_counts_the_updates_that_were_made():
    few = make_truth(positions=[scan((1, 2), seed=11) if tilt == 1 else scan(seed=10 + tilt) for tilt in range(5)])
    (record,) = run(few.start(), few.series(), epochs=1, batches=4, validation_fraction=0.0)
    assert record.updates == 4 * 4 + 2


def test_the_loss_is_reported_per_electron(truth, series):
    """Model and data with equal electrons in different pixels: the sum of (sqrt I - sqrt D)² is 2 per electron."""
    plane_wave = torch.full((1, *GEOMETRY.window_shape), 10.0, dtype=torch.complex128)
    elsewhere = truth.start(probes=[plane_wave for _ in TILTS])
    data = torch.zeros_like(series[0].data)
    data[:, 3, 4] = 100.0 * data[0].numel()
    settings = {"step": 0.0, "epsilon": 1e-12, "regularisation": FREE, "validation_fraction": 0.25}
    (record,) = run(elsewhere, [Patterns(data) for _ in TILTS], epochs=1, **settings)
    assert record.loss == pytest.approx(2, rel=1e-4)
    assert record.held_out_loss == pytest.approx(2, rel=1e-4)
    assert record.tilt_losses == pytest.approx([2] * 5, rel=1e-4)


def volume_after(truth, series, epochs, **changes):
    """Return a noisy volume after `epochs` in which nothing but the constraints acts."""
    state = truth.start()
    state.volume = random_tensor(*GEOMETRY.volume_shape, seed=4)
    regularisation = replace(FREE, **changes)
    run(state, series, epochs=epochs, tilt_order="sequential", regularisation=regularisation, **ONLY_CONSTRAINTS)
    return state.volume


def noise():
    return random_tensor(*GEOMETRY.volume_shape, seed=4)


@pytest.mark.slow
def test_l1_shrinks_from_its_epoch_on(truth, series):
    assert torch.equal(volume_after(truth, series, 2, l1=0.1, l1_start=2), noise())
    assert (volume_after(truth, series, 3, l1=0.1, l1_start=2) == 0).any()


def test_butterworth_filter_acts_once_an_epoch(truth, series):
    expected = noise()
    for _ in range(2):
        butterworth_(expected, GEOMETRY.voxel_size, 0.6, 4)
    filtered = volume_after(truth, series, 2, butterworth_cutoff=0.6, butterworth_order=4)
    torch.testing.assert_close(filtered, expected, rtol=0, atol=1e-13)


def test_layer_filter_acts_along_the_beam_of_every_tilt(truth, series):
    expected = noise()
    for angles in truth.euler_angles.numpy():
        beam = Rotation.from_euler("xyz", angles, degrees=True).inv().apply([0.0, 0.0, 1.0])[::-1].copy()
        regularise_layers_(expected, GEOMETRY.voxel_size, torch.from_numpy(beam), 1.5, 0.6)
    filtered = volume_after(truth, series, 1, layer_weight=1.5, layer_strength=0.6)
    torch.testing.assert_close(filtered, expected, rtol=0, atol=1e-12)


def test_negative_potentials_are_reduced_by_every_minibatch(truth, series):
    expected = torch.where(noise() < 0, 0.9**20 * noise(), noise())  # 5 tilts of 4 batches
    torch.testing.assert_close(volume_after(truth, series, 1, nonnegativity=0.1), expected)

"""The figure of fit is 1 where the model is the truth, at any dose, and above 1 where it is not."""

from dataclasses import replace

import pytest
import torch
from small_series import GEOMETRY, Patterns, focused_probe, make_truth, run
from solver_settings import regularisation, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.model.state import TomographyState
from dptt.solvers.tomography import FinalFits, final_fits
from dptt.solvers.tomography import fit as module

UNREGULARISED = regularisation(nonnegativity=0.0, l1=0.0, shrinkage=0.0)


@pytest.fixture(scope="module")
def truth():
    return make_truth()


def counted(truth, electrons: float, *, mask=None, counts_per_electron: float = 1.0) -> list[Patterns]:
    """Return the series as Poisson counts of `electrons` per pattern of 1e4."""
    generator = torch.Generator().manual_seed(5)
    series = []
    for exact in truth.series():
        counts = torch.poisson(exact.data * electrons / 1e4, generator) * counts_per_electron
        series.append(Patterns(counts, scale=1 / counts_per_electron, mask=mask, name=exact.name))
    return series


def fits_of(state: TomographyState, series: list[Patterns], geometry=GEOMETRY, **settings) -> FinalFits:
    values = tomography_settings(**{"validation_fraction": 0.5} | settings)
    return final_fits(state, series, geometry, values, Mesh.serial())


def true_state(truth, electrons: float, **changes) -> TomographyState:
    probes = [truth.probe * (electrons / 1e4) ** 0.5 for _ in truth.positions]
    state = truth.start(**{"probes": probes} | changes)
    state.volume = truth.volume.clone()
    return state


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("electrons", [30.0, 1e3, 1e5])
def test_the_truth_has_a_figure_of_one(truth, loss, electrons):
    fits = fits_of(true_state(truth, electrons), counted(truth, electrons), loss=loss)
    assert fits.held_out
    assert fits.together.electrons == pytest.approx(5 * 18 * electrons, rel=0.01)
    for fit in [*fits.tilts, fits.together]:
        assert abs(fit.figure - 1) < 4 * fit.uncertainty
    assert abs(fits.together.figure - 1) < 0.03


@pytest.mark.parametrize(
    ("of_each", "of_one", "of_all", "looked_at"), [(4, 512, 50, 10), (12, 512, 50, 12), (4, 6, 500, 6)]
)
def test_many_tilts_share_a_sample(truth, monkeypatch, of_each, of_one, of_all, looked_at):
    """Of the 18 held-out patterns of each of 5 tilts, and of each tilt a few in any case."""
    for name, number in (("SAMPLE", of_each), ("LARGEST_SAMPLE", of_one), ("OF_ALL_TILTS", of_all)):
        monkeypatch.setattr(module, name, number)
    fits = fits_of(true_state(truth, 1e4), counted(truth, 1e4))
    assert [one.electrons / 1e4 for one in fits.tilts] == pytest.approx([looked_at] * 5, rel=0.01)
    assert [one.electrons / 1e4 for one in fits.fitted] == pytest.approx([of_each] * 5, rel=0.01)


def test_counts_of_several_an_electron_and_a_mask_change_nothing(truth):
    mask = torch.ones(GEOMETRY.window_shape, dtype=torch.bool)
    mask[2:5] = False
    series = counted(truth, 1e3, mask=mask, counts_per_electron=7.0)
    assert abs(fits_of(true_state(truth, 1e3), series).together.figure - 1) < 0.03


@pytest.mark.parametrize("dose", [1e5, 1e6])
@pytest.mark.parametrize("wrong", ["defocus", "rotation", "volume"])
def test_a_wrong_model_has_a_figure_above_one(truth, wrong, dose):
    state = true_state(truth, dose)
    if wrong == "defocus":
        state.probes = [focused_probe(dose, defocus=60.0)] * 5
    elif wrong == "rotation":
        turn = torch.deg2rad(torch.tensor(5.0)).double()
        matrix = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).reshape(2, 2)
        state.positions = [positions @ matrix for positions in state.positions]
    else:
        state.volume = 0.5 * state.volume
    fit = fits_of(state, counted(truth, dose)).together
    assert fit.figure > 1 + 4 * fit.uncertainty
    assert 0 < fit.unexplained < 1


def test_without_held_out_patterns_the_fitted_ones_are_used_and_said_to_be(truth):
    fits = fits_of(true_state(truth, 1e3), counted(truth, 1e3), validation_fraction=0.0)
    assert not fits.held_out
    assert fits.together.electrons == pytest.approx(5 * 36 * 1e3, rel=0.01)


def test_a_volume_that_fits_noise_fits_its_own_patterns_better_than_others(truth):
    """Started from the truth, with many electrons in every pixel: fewer bias the amplitudes that are fitted."""
    series = counted(truth, 1e4)
    state = true_state(truth, 1e4)
    true = fits_of(state, series, validation_fraction=0.25).together.figure
    records = run(state, series, epochs=6, batches=1, validation_fraction=0.25, regularisation=UNREGULARISED)
    fitted = sum(fit.loss for fit in records[-1].fits) / sum(fit.expected for fit in records[-1].fits)
    fits = fits_of(state, series, validation_fraction=0.25)
    above = fits.together.figure - true
    assert above > 0.03 and fitted < fits.together.figure - 0.5 * above
    assert 0.3 * above < fits.fitted_noise < above, "the rest is what few epochs leave wrong in the model"


def test_what_the_model_gets_wrong_is_not_counted_as_noise_that_it_has_fitted(truth):
    state = true_state(truth, 1e5)
    state.probes = [focused_probe(1e5, defocus=60.0)] * 5
    fits = fits_of(state, counted(truth, 1e5))
    assert fits.fitted_noise < 0.15 * (fits.together.figure - 1)
    assert torch.tensor(fits_of(state, counted(truth, 1e5), validation_fraction=0.0).fitted_noise).isnan()


def test_faulty_patterns_are_left_out(truth):
    state, counts = true_state(truth, 1e3), counted(truth, 1e3)
    spoilt = 4
    for patterns in counts:
        patterns.data[spoilt] = 1e6
        patterns.usable = lambda indices: indices != spoilt
    fits = fits_of(state, counts, validation_fraction=0.0)
    assert abs(fits.together.figure - 1) < 0.03


def test_the_state_is_not_changed(truth):
    state = true_state(truth, 1e3)
    before = replace(state, volume=state.volume.clone(), probes=[p.clone() for p in state.probes])
    fits_of(state, counted(truth, 1e3))
    assert torch.equal(state.volume, before.volume) and torch.equal(state.probes[2], before.probes[2])

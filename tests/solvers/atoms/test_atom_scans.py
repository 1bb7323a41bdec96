"""Errors of scans that are fitted with atoms: exact derivatives, and what tells the scale that all scans share."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from checks import random_tensor
from test_atom_objective import away_from_truth, fourth_order, on_ranks
from three_atoms import GEOMETRY, problem_of, scan, true_model

from dptt.analysis.summary import scan_sentence
from dptt.assembly.fitted_atoms import scan_errors
from dptt.io.atoms import SCANS, AtomsError, AtomsFile, read_atoms, write_atoms
from dptt.io.volumes import ReconstructedTilt
from dptt.model.calibration import SCAN_SHAPES
from dptt.model.coherence import Coherence, aperture_radius
from dptt.physics.probe import hermite_modes
from dptt.physics.rotation import rotation_matrix
from dptt.solvers.atoms import SCANS_DOUBT, AtomFitSettings, fit_atoms
from dptt.solvers.atoms.information import information
from dptt.solvers.atoms.objective import evaluate
from dptt.solvers.atoms.scans import STRAINS, scans_doubt, strains_of_specimen
from dptt.solvers.atoms.unknowns import Unknowns


@pytest.mark.parametrize("poses", [True, False])
def test_the_gradient_by_all_unknowns_together_is_exact(poses):
    problem, model = problem_of(true_model()), away_from_truth()
    model = replace(model, scans=0.01 * random_tensor(3, 4, seed=2))
    found = information(problem, model, draws=6, patterns=5)
    unknowns = Unknowns(problem, model, found, probes=True, poses=poses, scans=True)
    place = unknowns.vector(model)
    assert torch.equal(unknowns.vector(unknowns.model_of(place)), place)
    parts = unknowns._parts(place)
    place = unknowns._joined(parts._replace(strain=torch.tensor([0.02, -0.01, 0.015]).double()))
    direction = unknowns._parts(random_tensor(*place.shape, seed=5))
    weak = [0.01 * model.probes[0].abs().max().item() * probe for probe in direction.probes]
    direction = unknowns._joined(
        direction._replace(scans=0.1 * direction.scans, strain=0.1 * direction.strain, probes=weak)
    )

    def value(change: float) -> float:
        return evaluate(problem, unknowns.model_of(place + change * direction)).loss

    slope = torch.dot(unknowns.gradient(place, evaluate(problem, unknowns.model_of(place))), direction).item()
    assert slope == pytest.approx(fourth_order(value, 5e-4), rel=1e-6)


def test_the_specimen_follows_a_common_strain_of_the_scans_as_far_as_its_tilts_allow():
    angles = torch.tensor([[1.0, theta, -2.0] for theta in (-50.0, -20.0, 5.0, 40.0)], dtype=torch.float64)
    shapes = strains_of_specimen(angles)
    torch.testing.assert_close(shapes[0], torch.eye(3).double(), atol=1e-9, rtol=0)
    turns = [rotation_matrix(each).flip(0, 1) for each in angles]
    seen = torch.stack([(turn @ shapes[1] @ turn.T)[1:, 1:] for turn in turns])
    torch.testing.assert_close(seen.mean(0), SCAN_SHAPES[STRAINS[1]], atol=0.1, rtol=0)


@pytest.mark.parametrize("column", [0, pytest.param(2, marks=pytest.mark.thorough)], ids=["scale", "shear"])
def test_information_tells_how_surely_a_common_strain_is_known(column):
    """The loss of patterns of the model rises as the information says when everything grows with its scans."""
    model = true_model()
    problem = problem_of(model)
    found = information(problem, model, draws=600, patterns=25)
    unknowns = Unknowns(problem, model, found, probes=False, poses=True, scans=True)
    parts = unknowns._parts(unknowns.vector(model))

    def rise(strain: float) -> float:
        moved = torch.zeros(3).double()
        moved[column] = strain
        return evaluate(problem, unknowns.model_of(unknowns._joined(parts._replace(strain=moved)))).loss

    curvature = (rise(8e-3) + rise(-8e-3) - rise(4e-3) - rise(-4e-3)) / (8e-3**2 - 4e-3**2)
    assert curvature == pytest.approx(found.strain[column, column].item(), rel=0.15)


SETTINGS = AtomFitSettings(
    elements=(28, 46, 78),
    iterations=12,
    rounds=0,
    probes=False,
    poses=False,
    scans=True,
    least_scan=SCANS_DOUBT,
    thermal="smeared",
    false_rate=0.05,
    draws=60,
    min_separation=1.2,
)


@pytest.mark.parametrize(
    ("scale", "rotation"),
    [(0.02, 0.0), (0.0, 0.0), pytest.param(0.0, 0.02, marks=pytest.mark.thorough)],
)
def test_a_fit_finds_by_how_much_scans_are_larger_and_turned_than_told(scale, rotation):
    """From atoms that have followed the wrong scan; where nothing is wrong, scans are left alone."""
    truth = replace(true_model(1e5), scans=torch.tensor([[scale, 0.0, rotation, 0.0]] * 3).double())
    problem = problem_of(truth, seed=4, scanned=scan(12, 0.3))
    atoms = truth.atoms.with_parameters(truth.atoms.packed() * torch.tensor([1 - scale] * 3 + [1.0, 1.0]))
    start = replace(truth, atoms=atoms, translations=truth.translations * (1 - scale), scans=0 * truth.scans)
    said: list[str] = []
    fitted = fit_atoms(problem, problem, start, SETTINGS, said.append)
    mean = fitted.model.scans.mean(0)
    assert mean[0].item() == pytest.approx(scale, abs=2e-3)
    assert mean[2].item() == pytest.approx(rotation, abs=2e-3)
    assert torch.equal(fitted.model.scans, 0 * truth.scans) == (scale == rotation == 0)
    assert ("the scans are right as far as the patterns tell" in "".join(said)) == (scale == rotation == 0)
    off = fitted.model.atoms.positions - truth.atoms.positions
    assert off.abs().max() < 0.02
    assert (off.abs() < 4 * fitted.errors[:, :3]).all()


def partially_coherent(model, size=0.2, spread=15.0):
    radius = aperture_radius(model.probes[0], GEOMETRY.sampling)
    return replace(model, coherence=Coherence(size, spread, GEOMETRY.wavelength, radius))


def test_the_gradient_by_probes_and_their_coherence_is_exact_and_the_same_on_ranks():
    truth = partially_coherent(true_model())
    problem, model = problem_of(truth), partially_coherent(away_from_truth(), 0.17, 20.0)
    found = information(problem, model, draws=60, patterns=25)
    unknowns = Unknowns(problem, model, found, probes=True, poses=False, scans=False)
    place = unknowns.vector(model)
    assert torch.equal(unknowns.vector(unknowns.model_of(place)), place)
    parts = unknowns._parts(random_tensor(*place.shape, seed=5))
    weak = [0.01 * model.probes[0].abs().max().item() * probe for probe in parts.probes]
    direction = unknowns._joined(
        parts._replace(coherence=torch.tensor([0.3, 40.0]).double(), probes=weak, atoms=0 * parts.atoms)
    )

    def value(change):
        return evaluate(problem, unknowns.model_of(place + change * direction)).loss

    evaluation = evaluate(problem, unknowns.model_of(place))
    slope = torch.dot(unknowns.gradient(place, evaluation), direction).item()
    assert slope == pytest.approx(fourth_order(value, 1e-3), rel=1e-6)
    shared = on_ranks(
        2, lambda ranks: information(replace(problem, communicator=ranks), model, draws=60, patterns=25)
    )
    of_ranks = on_ranks(2, lambda ranks: evaluate(replace(problem, communicator=ranks), model))
    for of_information, of_rank in zip(shared, of_ranks, strict=True):
        torch.testing.assert_close(of_information.coherence, found.coherence, rtol=1e-10, atol=0)
        torch.testing.assert_close(of_rank.by_coherence, evaluation.by_coherence, rtol=1e-10, atol=0)


@pytest.mark.parametrize("coherent", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_fit_finds_source_and_focal_spread_of_the_patterns_instead_of_broader_atoms(coherent):
    """From two modes that are not those of a source; a probe that is coherent stays so."""
    truth = true_model(1e5) if coherent else partially_coherent(true_model(1e5))
    problem = problem_of(truth, seed=4, scanned=scan(12, 0.3))
    start = (
        truth if coherent else replace(true_model(1e5), probes=tuple(hermite_modes(p[0], 2) for p in truth.probes))
    )
    said: list[str] = []
    fitted = fit_atoms(problem, problem, start, replace(SETTINGS, probes=True, scans=False), said.append)
    assert any("a source of" in line for line in said) != coherent
    assert fitted.model.atoms.b_factors.sub(0.4).abs().max() < 0.4
    if coherent:
        assert fitted.model.coherence is None
    else:
        assert abs(fitted.model.coherence.source_size) == pytest.approx(0.2, abs=0.03)
        assert abs(fitted.model.coherence.focal_spread) == pytest.approx(15, abs=4)  # it starts at 10


@pytest.mark.parametrize(
    ("figure", "coherent", "doubt"),
    [(1.02, True, 0.003), (1.02, False, 0.005), (1.2, True, 0.01), (1.2, False, 0.01)],
)
def test_a_fit_is_doubted_more_where_it_explains_less_or_probes_are_not_coherent(figure, coherent, doubt):
    assert scans_doubt(figure, coherent=coherent) == doubt


def test_scans_of_a_fit_are_in_its_file_and_said(tmp_path):
    scans = np.array([[0.012, 0.001, 0.005, -0.002], [0.018, 0.003, 0.001, 0.0]])
    tilts = {
        str(number): ReconstructedTilt(
            (0.0, 10.0 * number, 0.0), (0.0, 0.0), attributes=dict(zip(SCANS, row, strict=True))
        )
        for number, row in enumerate(scans.tolist())
    }
    atoms = AtomsFile(
        np.zeros((1, 3)),
        np.array([78]),
        np.ones(1),
        np.ones(1),
        np.ones((1, 5)),
        np.ones((1, 1)),
        np.array([78]),
        np.array([True]),
        attributes={"figure_of_fit": 1.01, "figure_uncertainty": 0.01},
        tilts=tilts,
    )
    write_atoms(tmp_path / "atoms.h5", atoms)
    read = read_atoms(tmp_path / "atoms.h5").tilts
    assert [[tilt.attributes[name] for name in SCANS] for tilt in read.values()] == scans.tolist(), "to the last bit"
    said = scan_sentence(scan_errors(read.values(), doubt=0.003))
    assert (
        said.startswith("the scans are 1.50 ± 0.3 % larger than told")
        and "angles of the detector so much smaller" in said
    )
    assert (
        "turned by 0.17°, sheared by -0.20 %, and y is 0.40 % longer than x. Tilts differ by 0.30 % and 0.11°" in said
    )
    assert "1.0 % larger" in scan_sentence(scan_errors(read.values(), doubt=0.01))
    assert scan_errors([replace(read["0"], attributes={})], 1.0) == {}
    for wrong in ("wide", float("nan")):
        with h5py.File(tmp_path / "atoms.h5", "a") as file:
            file["tilts/1"].attrs["scan_scale"] = wrong
        with pytest.raises(
            AtomsError, match=r"tilts/1: attribute scan_scale is \[?'?(wide|nan).*expected 1 finite number"
        ):
            read_atoms(tmp_path / "atoms.h5")

"""`dptt atoms`: from a volume to coordinates, elements and error bars in files, and to a line of the analysis."""

import json
import os
import re
import signal
from dataclasses import replace

import ase.io
import gemmi
import h5py
import numpy as np
import pytest
import torch

import dptt.commands.atoms
import dptt.commands.plan
from dptt.analysis.summary import summary
from dptt.assembly.planned_atoms import planned_atoms
from dptt.cli import main
from dptt.commands.analyze import analyze
from dptt.commands.export import export
from dptt.config import ConfigError, config_yaml, load_config
from dptt.io.atoms import SCANS, AtomsError, read_atoms
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedTilt, read_volume, write_volume
from dptt.model.atoms import PARAMETERS
from dptt.runtime.steps import current_identity, is_up_to_date, step_identity, steps_of
from dptt.runtime.stopping import EXIT_CODE, Stop
from dptt.runtime.unfinished_atoms import COUNTS, NAME, read_progress, write_progress
from dptt.solvers.atoms import Stage, information_by_tilt, standard_errors

SECTION = "atoms={elements: [Ni, Pd, Pt], iterations: 6, rounds: 1, voxel_size: 0.3, slice_thickness: 3, draws: 60}"


@pytest.fixture(scope="module")
def fitted(tiny, tmp_path_factory):
    """Return arguments and configuration of a run whose volume is the true one, after `dptt atoms`."""
    folder = tmp_path_factory.mktemp("atoms")
    arguments = [str(tiny / "tiny.yaml"), f"run={folder}", SECTION, "distribution.device=cpu"]
    config = load_config(arguments[0], arguments[1:])
    with TiltSeries.open(config.series) as series:
        truth, checksum = series.truth(), series.checksum()
        tilts = {t.name: ReconstructedTilt(t.euler_angles, t.translation) for t in series.tilts}
    attributes = {"series_checksum": checksum, "created": "2026-01-01T00:00:00+00:00", "config": config_yaml(config)}
    write_volume(
        folder / "volume.h5", truth.volume.astype(np.complex64), truth.voxel_size, attributes=attributes, tilts=tilts
    )
    assert main(["atoms", *arguments]) == 0
    return arguments, config, truth


def test_the_file_has_all_atoms_with_errors_and_elements(fitted):
    _, config, truth = fitted
    atoms = read_atoms(config.run / "atoms.h5")
    assert len(atoms.positions) == len(truth.atom_positions)
    distances = np.linalg.norm(atoms.positions[:, None] - truth.atom_positions, axis=2)
    assert distances.min(axis=1).max() < 0.15
    assert atoms.standard_errors.shape == (7, 5)
    assert (atoms.standard_errors > 0).all()
    assert atoms.elements.tolist() == [28, 46, 78]
    np.testing.assert_allclose(atoms.probabilities.sum(axis=1), 1)
    assert set(atoms.tilts) == {"0000", "0001", "0002", "0003", "0004"}
    assert atoms.tilts["0001"].probe.dtype == np.complex64


def test_other_programs_read_the_same_atoms(fitted):
    _, config, _ = fitted
    written = [(config.run / name).stat().st_mtime_ns for name in ("atoms.xyz", "atoms.h5")]
    assert written == sorted(written), "the mark of the step is its last file"
    atoms, other = read_atoms(config.run / "atoms.h5"), ase.io.read(config.run / "atoms.xyz")
    np.testing.assert_allclose(other.positions[:, ::-1], atoms.positions, atol=1e-5)
    np.testing.assert_array_equal(other.numbers, atoms.atomic_numbers)
    np.testing.assert_allclose(other.arrays["pos_error"][:, ::-1], atoms.standard_errors[:, :3], atol=1e-5)


def test_exports_are_of_the_fitted_atoms(fitted):
    _, config, _ = fitted
    atoms, origin = read_atoms(config.run / "atoms.h5"), read_volume(config.run / "volume.h5").origin
    (xyz,), (cif,), (pdb,) = (export(config.run, kind, overwrite=True) for kind in ("xyz", "cif", "pdb"))
    other = ase.io.read(xyz)
    np.testing.assert_allclose(other.positions[:, ::-1], atoms.positions - origin, atol=1e-5)
    np.testing.assert_array_equal(other.numbers, atoms.atomic_numbers)
    np.testing.assert_allclose(other.arrays["position_error"][:, ::-1], atoms.standard_errors[:, :3], atol=1e-5)
    np.testing.assert_allclose(other.arrays["b_factor_error"], atoms.standard_errors[:, 4], atol=1e-5)
    sites = gemmi.make_small_structure_from_block(gemmi.cif.read(str(cif)).sole_block()).sites
    np.testing.assert_allclose([site.occ for site in sites], atoms.occupancies, atol=1e-4)
    np.testing.assert_allclose([8 * np.pi**2 * site.u_iso for site in sites], atoms.b_factors, atol=1e-2)
    read = [each.atom for each in gemmi.read_structure(str(pdb))[0].all()]
    np.testing.assert_allclose([a.pos.tolist()[::-1] for a in read], atoms.positions - origin, atol=6e-4)
    np.testing.assert_allclose([a.b_iso for a in read], atoms.b_factors, atol=6e-3)
    assert [a.element.atomic_number for a in read] == atoms.atomic_numbers.tolist()


def test_a_plan_promises_the_errors_that_the_fit_then_has(fitted, capsys, monkeypatch):
    arguments, config, _ = fitted
    monkeypatch.setattr(dptt.commands.plan, "DRAWS", 150)
    assert main(["plan", *arguments, "--atoms", "--precision", "0.02"]) == 0
    text = capsys.readouterr().out
    assert (config.run / "plan" / "atoms.txt").read_text() in text
    atoms = read_atoms(config.run / "atoms.h5")
    factors = [atoms.attributes[f"misfit_{name}"] for name in PARAMETERS]
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith(("Ni", "Pd", "Pt"))}
    for number, symbol in ((28, "Ni"), (46, "Pd"), (78, "Pt")):
        errors = np.median(atoms.standard_errors[atoms.atomic_numbers == number] / factors, axis=0)
        np.testing.assert_allclose([float(each) for each in rows[symbol][2:5]], errors[:3], rtol=0.3)
    planned = next(line for line in text.splitlines() if line.startswith("as planned")).split()
    worst, dose = max(float(each) for each in planned[-4:-1]), float(planned[-1])
    assert dose == pytest.approx(5e5 * (worst / 0.02) ** 2, rel=0.05)  # four decimals are printed
    halved = planned_atoms(load_config(arguments[0], [*arguments[1:], "simulation.fluence=5e4"]))
    whole = planned_atoms(config)
    blocks = [information_by_tilt(*each, draws=20, patterns=42).sum(0) for each in (halved, whole)]
    ratio = (standard_errors(blocks[0]) / standard_errors(blocks[1])).median().item()
    assert ratio == pytest.approx(2**0.5, rel=0.05)


def test_the_analysis_compares_them_with_the_truth(fitted):
    _, config, _ = fitted
    analyze(config)
    analysis = json.loads((config.run / "analysis.json").read_text())
    found = analysis["fitted_atoms"]["against_truth"]
    assert found["recall"] == found["precision"] == 1
    assert found["rmsd_A"] == pytest.approx(np.linalg.norm(found["rmsd_axes_A"]))
    assert any("fitted against true atoms: recall 1.000" in line for line in summary(analysis))


def test_atoms_of_other_settings_are_left_out_of_the_analysis_and_said(fitted, caplog):
    arguments, _, _ = fitted
    changed = load_config(arguments[0], [*arguments[1:], "atoms.iterations=7"])
    assert "fitted_atoms" not in analyze(changed)
    assert "atoms.h5 is not of the present settings and is left out; `dptt atoms` renews it" in caplog.text


def test_the_step_is_up_to_date_until_something_it_depends_on_changes(fitted):
    arguments, config, _ = fitted
    identity = current_identity("atoms", config)
    assert steps_of(config) == ["reconstruction", "atoms"]
    assert is_up_to_date("atoms", config, identity)
    for change in ("atoms.iterations=7", "reconstruction.epochs=9", "volume.margin=3", "analysis.min_separation=1.2"):
        changed = load_config(arguments[0], [*arguments[1:], change])
        assert current_identity("atoms", changed) != identity, change
    unrelated = load_config(arguments[0], [*arguments[1:], "analysis.match_distance=0.5"])
    assert current_identity("atoms", unrelated) == identity
    half = config.model_copy(update={"half": 1})
    assert steps_of(half) == ["reconstruction"]
    assert step_identity("reconstruction", config, "x") == step_identity(
        "reconstruction", config.model_copy(update={"atoms": None}), "x"
    )


def test_a_damaged_file_is_named_with_the_cure(fitted, tmp_path):
    _, config, _ = fitted
    copy = tmp_path / "atoms.h5"
    copy.write_bytes((config.run / "atoms.h5").read_bytes())
    with h5py.File(copy, "a") as file:
        del file["told"], file["b_factors"]
        file["b_factors"] = np.zeros(3)
    with pytest.raises(AtomsError, match="told is None; expected a dataset .atoms,.. Run `dptt atoms` again"):
        read_atoms(copy)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("atoms={elements: [Ni, Xx]}", "atoms.elements names Xx; expected symbols"),
        ("atoms={elements: []}", "atoms.elements"),
        ("atoms.elements=[Ni]", ""),
    ],
)
def test_wrong_elements_are_refused(fitted, capsys, section, message):
    arguments, _, _ = fitted
    if not message:
        assert load_config(arguments[0], [section]).atoms.elements == ("Ni",)
        return
    assert main(["atoms", arguments[0], arguments[1], section]) != 0
    assert message in capsys.readouterr().err


def test_without_section_volume_or_atoms_the_cure_is_said(fitted, tmp_path):
    from dptt.commands.atoms import atoms
    from dptt.distributed.comm import SerialCommunicator

    arguments, config, truth = fitted
    with pytest.raises(ConfigError, match="no section `atoms`"):
        atoms(config.model_copy(update={"atoms": None}), "", SerialCommunicator())
    with pytest.raises(ProblemsError, match="Run `dptt reconstruct` first"):
        atoms(config.model_copy(update={"run": tmp_path}), "", SerialCommunicator())
    attributes = {"created": "2026-01-01T00:00:00+00:00", "config": config_yaml(config)}
    noise = torch.randn(truth.volume.shape, generator=torch.Generator().manual_seed(1)).numpy()
    tilts = {"0000": ReconstructedTilt((0.0, 0.0, 0.0), (0.0, 0.0))}
    write_volume(tmp_path / "volume.h5", noise, truth.voxel_size, attributes=attributes, tilts=tilts)
    with pytest.raises(ProblemsError, match="no atom is traced"):
        atoms(config.model_copy(update={"run": tmp_path}), "", SerialCommunicator())


@pytest.mark.thorough
def test_a_fit_that_is_stopped_goes_on_where_it_was(fitted, tmp_path, monkeypatch, capsys):
    """With few steps and draws: `tests/solvers/atoms` has that it comes to the same atoms."""
    arguments, config, _ = fitted
    (tmp_path / "volume.h5").write_bytes((config.run / "volume.h5").read_bytes())
    section = SECTION.replace("iterations: 6, rounds: 1", "iterations: 4, rounds: 0").replace("60", "20")
    command = ["atoms", arguments[0], f"run={tmp_path}", section, "distribution.device=cpu"]
    assert main([*command, "distribution.time_limit=1e-6"]) == EXIT_CODE
    first = capsys.readouterr().err
    assert re.search(r"stopped after \d+ passes of the fit of atoms: .*distribution.time_limit", first)
    assert not (tmp_path / "atoms.h5").exists()
    stage, last = read_atoms(tmp_path / NAME, COUNTS).attributes["stage"], losses(first)[-1]
    assert stage == Stage.COARSE

    asked, reason = [], Stop.reason

    def signalled(self: Stop) -> str:
        asked.append(1)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return reason(self)

    monkeypatch.setattr(Stop, "reason", signalled)
    for expected in (EXIT_CODE, 0):
        assert main(command) == expected
        said = capsys.readouterr().err
        assert "continuing the fit of 7 atoms after" in said
        assert losses(said)[0][1] < last[1] and losses(said)[0][0] == last[0] + 1
        last = losses(said)[-1]
    assert not (tmp_path / NAME).exists()
    assert len(read_atoms(tmp_path / "atoms.h5").positions) == 7


@pytest.mark.thorough
def test_a_fit_with_scans_goes_on_from_the_same_atoms_poses_and_scans_to_the_last_bit(fitted, tmp_path, monkeypatch):
    """One step a start: elements that may be undone are no place to stop, so that what is stored is kept."""
    arguments, config, _ = fitted
    (tmp_path / "volume.h5").write_bytes((config.run / "volume.h5").read_bytes())
    section = SECTION.replace("iterations: 6, rounds: 1", "iterations: 2, rounds: 0, scans: true").replace("60", "20")
    command = ["atoms", arguments[0], f"run={tmp_path}", section, "distribution.device=cpu"]
    stopped, resumed = [], []

    def write(run, fit, progress, identity):
        stopped.append(progress)
        write_progress(run, fit, progress, identity)

    def read(*inputs):
        resumed.append(read_progress(*inputs))
        return resumed[-1]

    monkeypatch.setattr(dptt.commands.atoms, "write_progress", write)
    monkeypatch.setattr(dptt.commands.atoms, "read_progress", read)
    while not (len(stopped) > 1 and stopped[-2].model.scans.any()):
        assert main([*command, "distribution.time_limit=1e-6"]) == EXIT_CODE
    assert resumed[0] is None and {progress.stage for progress in stopped} == {Stage.COARSE, Stage.FINE}
    for before, after in zip(stopped, resumed[1:], strict=False):
        assert replace(before, model=after.model) == after
        for name in ("euler_angles", "translations", "scans"):
            assert torch.equal(getattr(before.model, name), getattr(after.model, name)), name
        for name in ("positions", "occupancies", "b_factors", "atomic_numbers"):
            assert torch.equal(getattr(before.model.atoms, name), getattr(after.model.atoms, name)), name
        for probe, again in zip(before.model.probes, after.model.probes, strict=True):
            assert (again - probe).abs().max() < 1e-6 * probe.abs().max()
    assert main(command) == 0
    assert any(tilt.attributes[name] for tilt in read_atoms(tmp_path / "atoms.h5").tilts.values() for name in SCANS)


def losses(said: str) -> list[tuple[int, float]]:
    """Return the steps of a fit, and their losses."""
    return [(int(n), float(loss)) for n, loss in re.findall(r"step (\d+)  loss (\S+)", said)]

"""A misspelt key is an error that names it and the key that was probably meant, in every section."""

import pytest
from config_files import problems_of


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("seris", "series"),
        ("simulation.fluense", "fluence"),
        ("simulation.specimen.diametr", "diameter"),
        ("simulation.microscope.semiangle_cutof", "semiangle_cutoff"),
        ("simulation.scan.roation", "rotation"),
        ("simulation.tilts.angle_error", "angle_errors"),
        ("simulation.multislice.oversampeling", "oversampling"),
        ("import.tilt_angels", "tilt_angles"),
        ("import.scan.centre_", "centre"),
        ("import.detector.flipy", "flip_y"),
        ("import.truth.atoms_axis", "atoms_axes"),
        ("import.truth.atoms.datset", "dataset"),
        ("volume.voxelsize", "voxel_size"),
        ("reconstruction.epoch", "epochs"),
        ("reconstruction.probe.mode", "modes"),
        ("reconstruction.positions.from_epochs", "from_epoch"),
        ("reconstruction.angles.stepp", "step"),
        ("reconstruction.translations.from_epochs", "from_epoch"),
        ("reconstruction.regularisation.layer_wieght", "layer_weight"),
        ("analysis.match_distanse", "match_distance"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_known_one(tmp_path, misspelt, meant):
    (problem,) = problems_of(tmp_path, f"{misspelt}=1")
    section, _, key = misspelt.rpartition(".")
    assert problem.startswith(section)
    assert f"{key}: unknown key; did you mean `{meant}`?" in problem


def test_a_misspelt_key_of_an_array_in_a_list_is_named_with_the_nearest_known_one(tmp_path):
    (problem,) = problems_of(tmp_path, "import.data=[{path: a.h5, dataset: b}, {path: a.h5, datset: b}]")
    assert problem == "import.data.1.datset: unknown key; did you mean `dataset`?"


def test_a_key_unlike_any_other_is_answered_with_all_that_are_known(tmp_path):
    (problem,) = problems_of(tmp_path, "reconstruction.angles.when=3")
    assert problem == "reconstruction.angles.when: unknown key (known keys: from_epoch, step)"


def test_an_unknown_kind_of_specimen_is_answered_with_the_known_ones(tmp_path):
    (problem,) = problems_of(tmp_path, "simulation.specimen.kind=nanotube")
    for kind in ("nanotube", "file", "nanoparticle", "alloy", "core-shell", "amorphous"):
        assert kind in problem

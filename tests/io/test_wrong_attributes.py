"""An attribute of the wrong kind in a file of dptt is refused by its name, with what was found and expected."""

import h5py
import numpy as np
import pytest
from own_files import KINDS

NUMBER = (b"wide", "wide", np.array([1.0, 2.0]), h5py.Empty("f"))
FINITE = (*NUMBER, np.nan, np.inf)
TEXT = (3.0, np.array([1, 2]))
WRONG = {
    ("atoms", "/", "figure_of_fit"): FINITE,
    ("atoms", "/", "misfit_z"): (np.array([1.0, 2.0]),),
    ("atoms", "/", "scan_doubt"): FINITE,
    ("atoms", "/", "focal_spread_A"): FINITE,
    ("atoms", "/", "created"): TEXT,
    ("atoms", "tilts/0000", "theta_deg"): FINITE,
    ("atoms", "tilts/0000", "scan_scale"): FINITE,
    ("volume", "/", "figure_of_fit"): NUMBER,
    ("volume", "/", "epochs"): NUMBER,
    ("volume", "/", "preferences"): TEXT,
    ("volume", "/", "config"): TEXT,
    ("volume", "volume", "voxel_size_A"): (*FINITE, np.array([1.0, 0.0, 1.0]), np.array([1.0, -1.0, 1.0])),
    ("volume", "tilts/0000", "loss"): NUMBER,
    ("tilt image", "tilt", "held_out_loss"): NUMBER,
    ("tilt image", "tilt", "slice_thickness_A"): FINITE,
    ("alignment", "tilts/0000", "misfit"): FINITE,
    ("alignment", "tilts/0000", "angle_errors_deg"): NUMBER,
    ("alignment", "/", "identity"): TEXT,
    ("calibration", "/", "rotation_deg"): FINITE,
    ("calibration", "/", "rotation_uncertainty_deg"): NUMBER,
    ("calibration", "/", "trusted"): ("no", 2.0, np.array([True, False])),
    ("calibration", "/", "findings"): TEXT,
    ("calibration", "tilts/0000", "C10_A"): FINITE,
    ("calibration", "tilts/0000", "explained_energy"): NUMBER,
    ("calibration", "tilts/0000", "method"): TEXT,
    ("series", "/", "energy_eV"): FINITE,
    ("series", "tilts/0000", "counts_per_electron"): FINITE,
    ("series", "tilts/0000", "translation_A"): (b"wide", np.nan, 1.0),
    ("truth", "truth/volume", "origin_A"): FINITE,
    ("truth", "truth/tilts/0000/errors", "C10"): FINITE,
}
"""Kind of file, object in it and attribute -> values that it must not have."""


@pytest.mark.parametrize(("kind", "where", "name"), WRONG)
def test_an_attribute_of_the_wrong_kind_is_refused_by_its_name(tmp_path, kind, where, name):
    write, read, error = KINDS[kind]
    path = write(tmp_path)
    read(path)
    for value in WRONG[kind, where, name]:
        with h5py.File(path, "a") as file:
            file.get(where, file).attrs[name] = value
        with pytest.raises(error, match=rf"attribute {name} is .*; expected"):
            read(path)


def test_one_number_may_be_stored_as_an_array_of_one(tmp_path):
    write, read, _ = KINDS["series"]
    path = write(tmp_path)
    with h5py.File(path, "a") as file:
        file["tilts/0000"].attrs["counts_per_electron"] = np.array([2.5])
    _, tilts, *_ = read(path)
    assert tilts[0][3] == 2.5

"""The tilt series of an independent program [Lee et al., Phys. Rev. Appl. 19 054062] is reproduced from its atoms."""

import h5py
import numpy as np
import pytest
from simulated import simulated_tilts

from dptt.simulation.acquisition import Acquisition, Exposure, Optics, Scan, TiltScheme
from dptt.simulation.diffraction import MultisliceSettings
from dptt.simulation.specimen import Specimen

CELL, CENTRE, BEAMS = 9.6, 4.8, 333  # [Å], [Å], frequencies inside its aperture, each of power one


@pytest.fixture(scope="module")
def third_party(shared_data):
    path = shared_data / "mset_auNP_4dstem_tilt_sim" / "mset_auNP_4dstem_tilt.h5"
    with h5py.File(path) as file:
        yield {name: file[name][()] for name in ("data", "tilt_deg", "gt/atoms_angstrom", "gt/Z")}


def amplitude_errors(third_party, sign):
    positions = (third_party["gt/atoms_angstrom"] - CENTRE)[:, ::-1].copy()
    specimen = Specimen(positions, third_party["gt/Z"], np.zeros(len(positions)))
    angle = 1e3 * Optics(300e3, 21.0, (24, 24), (1.0, 1.0)).wavelength / CELL
    # Its probe of C10 = +200 Å is that of the first slice, whose middle is here at z' = -3.8 Å.
    optics = Optics(300e3, 21.0, (24, 24), (angle, angle), {"C10": 200.0 + 3.8}, soft_aperture=False)
    settings = MultisliceSettings(
        slice_thickness=2.0, oversampling=3.0, band_limit=False, cell=(CELL, CELL), depth_range=(-4.8, 5.2)
    )
    acquisition = Acquisition(
        optics,
        Scan((24, 24), (0.4, 0.4)),
        TiltScheme(tuple((sign * third_party["tilt_deg"]).tolist())),
        Exposure(BEAMS / 0.4**2, shot_noise=False),
    )
    tilts = simulated_tilts(specimen, acquisition, settings)
    for tilt, frames in zip(tilts, third_party["data"], strict=True):
        data = frames.transpose(1, 0, 3, 2).reshape(-1, 24, 24)  # it stores (x, y, kx, ky)
        yield np.abs(np.sqrt(tilt.patterns) - np.sqrt(data)).sum() / np.sqrt(data).sum()


@pytest.mark.slow
def test_every_tilt_is_reproduced_within_one_percent(third_party):
    assert max(amplitude_errors(third_party, sign=-1)) < 0.01


@pytest.mark.slow
def test_the_wrong_sign_of_the_tilt_is_noticed(third_party):
    errors = np.array(list(amplitude_errors(third_party, sign=+1)))
    assert errors[third_party["tilt_deg"] != 0].min() > 0.05

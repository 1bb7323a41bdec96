"""From the `simulation` section to optics, scan and poses."""

import numpy as np
import pytest

from dptt.assembly.simulation import build_optics, build_scan, build_scheme, build_specimen, resolve_defocus
from dptt.config.simulation import SimulationConfig

CHOICES = {
    "specimen": {"kind": "nanoparticle", "element": "Au", "diameter": 9.0},
    "microscope": {
        "energy": 200e3,
        "semiangle_cutoff": 20.0,
        "aberrations": {"defocus": 35.0, "C30": 1e4},
        "detector_shape": [15, 20],
        "largest_angle": 30.0,
    },
    "scan": {"shape": [5, 8], "step": [0.3, 0.6], "rotation": 90.0},
    "tilts": {"start": -60, "stop": 61, "step": 20, "translation_error": 0.3},
    "fluence": 1e4,
    "seed": 3,
}


def choice(**changes) -> SimulationConfig:
    return SimulationConfig(**(CHOICES | changes))


def test_defocus_is_written_as_c10_of_the_other_sign():
    assert resolve_defocus({"defocus": 35.0, "C30": 1.0}) == {"C10": -35.0, "C30": 1.0}
    assert resolve_defocus({"C10": -5.0}) == {"C10": -5.0}
    with pytest.raises(ValueError, match="both `defocus` and `C10`"):
        resolve_defocus({"defocus": 35.0, "C10": 0.0})


def test_the_shorter_side_of_the_detector_ends_at_the_largest_angle():
    optics = build_optics(choice())
    assert optics.angular_sampling == (4.0, 4.0)
    assert optics.aberrations == {"C10": -35.0, "C30": 1e4}


def test_the_fast_direction_of_a_scan_turned_by_90_degrees_runs_along_minus_y():
    positions = build_scan(choice()).nominal_positions()
    np.testing.assert_allclose(np.diff(positions, axis=0)[0], [-0.6, 0.0], atol=1e-12)
    assert positions.shape == (40, 2)


def test_a_range_of_angles_and_a_list_give_the_same_scheme():
    listed = {"angles": [-60, -40, -20, 0, 20, 40, 60], "translation_error": 0.3}
    assert build_scheme(choice()) == build_scheme(choice(tilts=listed))


@pytest.mark.parametrize(
    ("specimen", "element"),
    [
        ({"kind": "alloy", "fractions": {"Ni": 1, "Pt": 1}, "diameter": 9.0, "lattice_constant": 3.8}, 28),
        (
            {
                "kind": "amorphous",
                "fractions": {"Si": 1},
                "diameter": 9.0,
                "number_density": 0.03,
                "nearest_distance": 2.2,
            },
            14,
        ),
        ({"kind": "nanoparticle", "element": "Au", "diameter": 9.0}, 79),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_every_kind_of_specimen_is_built_from_its_section(specimen, element):
    built = build_specimen(choice(specimen=specimen).specimen)
    assert element in built.atomic_numbers
    assert 3 < np.ptp(built.positions, axis=0).max() <= 9.0 + 1.0

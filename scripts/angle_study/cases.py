"""The series of the study: specimen, microscope, exposure, and the error of the stage angles of each."""

from dataclasses import dataclass
from pathlib import Path

from dptt.config import Config

MODELS = "${DPTT_DATA}/atomic_models"


@dataclass(frozen=True)
class Case:
    """One specimen under one microscope."""

    specimen: dict
    energy: float
    fluence: float
    angles: tuple[float, ...]
    side: int = 15
    """Scan positions per side."""


def _angles(largest: float, count: int) -> tuple[float, ...]:
    return tuple(round(-largest + 2 * largest * i / (count - 1), 3) for i in range(count))


CASES = {
    "Pt in Al2O3": Case(
        {
            "kind": "core-shell",
            "core": f"{MODELS}/Pt.cif",
            "shell": f"{MODELS}/gamma_Al2O3.cif",
            "core_diameter": 6.0,
            "shell_diameter": 11.0,
        },
        200e3,
        1e5,
        _angles(65, 13),
    ),
    "HEA particle": Case(
        {"kind": "file", "path": f"{MODELS}/exp_HEA4_nanoparticle_aet.xyz.gz", "shape": "sphere", "diameter": 11.0},
        300e3,
        4e4,
        _angles(65, 11),
    ),
    "amorphous C": Case(
        {"kind": "file", "path": f"{MODELS}/sim_amorphous_carbon_7514.xyz.gz", "shape": "sphere", "diameter": 10.0},
        80e3,
        1e5,
        _angles(65, 13),
    ),
    "Pd glass": Case(
        {"kind": "file", "path": f"{MODELS}/exp_Pd1_nanoparticle_aet.xyz.gz", "shape": "sphere", "diameter": 11.0},
        300e3,
        4e3,
        _angles(70, 15),
    ),
    "Al2O3 at 80 kV": Case(
        {
            "kind": "file",
            "path": f"{MODELS}/gamma_Al2O3.cif",
            "repeat": [2, 2, 2],
            "shape": "sphere",
            "diameter": 10.0,
            "orientation": [11.0, 7.0, 23.0],
        },
        80e3,
        2e4,
        _angles(60, 11),
    ),
}


def configuration(name: str, stage_error: float, folder: Path, *, refine: bool) -> Config:
    """Return the configuration of one run, with angles refined or left alone.

    theta of the stage is wrong by up to `stage_error` [degrees], phi and psi by up to a fifth of it.
    """
    case, key = CASES[name], f"{name.replace(' ', '_')}_{stage_error:g}"
    wavelength = {80e3: 0.041757, 200e3: 0.025079, 300e3: 0.019687}[case.energy]
    window = 13.44
    run = folder / f"{key}_{'refined' if refine else 'alone'}"
    sections = {
        "series": str(folder / f"{key}.h5"),
        "run": str(run),
        "simulation": {
            "specimen": {**case.specimen, "rms_displacement": 0.0},
            "microscope": {
                "energy": case.energy,
                "semiangle_cutoff": 25.0 if case.energy < 3e5 else 21.0,
                "aberrations": {"defocus": 60.0},
                "detector_shape": [48, 48],
                "largest_angle": 24e3 * wavelength / window,
            },
            "scan": {"shape": [case.side, case.side], "step": 1.0},
            "tilts": {
                "angles": list(case.angles),
                "angle_errors": [0.2 * stage_error, stage_error, 0.2 * stage_error],
                "translation_error": 0.3,
            },
            "fluence": case.fluence,
            "seed": 5,
        },
        "volume": {"thickness": 15.68, "num_slices": 4},
        "ptychography": {"epochs": 8, "num_slices": 2, "batches": 2},
        "reconstruction": {
            "epochs": 12,
            "batches": 2,
            "regularisation": {"l1_half_life": 4},
            "translations": {"from_epoch": 2},
            "angles": {"from_epoch": 5 if refine else None},
        },
        "alignment": {"angles": refine},
    }
    return Config.model_validate(sections)

"""How often a good tilt is called wrong, and how often a wrong one is found: many small series, simulated.

    python scripts/tilt_faults.py FOLDER [--series 50]

Every series is reconstructed as it is, and once with each fault in one of its tilts. A tilt is called wrong if its
weight is reduced or if the log names it because its patterns would have another pose or other optics than the others,
or because the others contradict its projection.
All results, with the preferences of every tilt, are stored as FOLDER/tilt_faults.json after every series; a further
call goes on from there. 50 series take about half an hour of one core.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dptt.assembly.problem import build_problem
from dptt.assembly.start import TiltStart, series_start
from dptt.commands.simulate import simulate
from dptt.config import Config, load_config
from dptt.distributed.mesh import Mesh
from dptt.io.dataset import TiltSeries
from dptt.solvers.tomography import reconstruct
from dptt.solvers.tomography.detuning import optics_preferences, preference_sentences
from dptt.solvers.tomography.prediction import contradicted_tilt

DOSES = (1e5, 1e4, 3e4, 1e3, 3e3)
"""Electrons per Å² in a tilt."""
FAULTS: dict[str, Callable[[TiltStart], TiltStart]] = {
    "angle 1°": lambda start: replace(start, euler_angles=_turned(start.euler_angles, 1.0)),
    "translation 1 Å": lambda start: replace(start, translation=(start.translation[0], start.translation[1] + 1.0)),
    "scan step 5 %": lambda start: replace(start, scan_positions=start.scan_positions * 1.05),
    "defocus 20 Å": lambda start: replace(start, aberrations=_defocused(start.aberrations, 20.0)),
}
"""What is wrong with one tilt."""


def _turned(angles: tuple[float, float, float], by: float) -> tuple[float, float, float]:
    return angles[0], angles[1] + by, angles[2]


def _defocused(aberrations: dict[str, float], by: float) -> dict[str, float]:
    return {**aberrations, "C10": aberrations.get("C10", 0.0) - by}


def specimen(seed: int) -> dict[str, Any]:
    """Return one of several kinds of specimens, from weak to strong."""
    orientation = np.random.default_rng(seed).uniform(0, 90, 3).tolist() if seed % 2 else [0.0, 0.0, 0.0]
    common = {"diameter": 7.0 + seed % 3, "orientation": orientation}
    kinds: list[dict[str, Any]] = [
        {"kind": "alloy", "fractions": {"Ni": 1, "Pt": 1}, "lattice_constant": 3.8, "seed": seed},
        {"kind": "nanoparticle", "element": "Au"},
        {"kind": "nanoparticle", "element": "Si"},
        {"kind": "amorphous", "fractions": {"Si": 1, "O": 2}, "number_density": 0.066, "nearest_distance": 1.5}
        | {"seed": seed},
        {"kind": "amorphous", "fractions": {"Pd": 1, "Cu": 1}, "number_density": 0.055, "nearest_distance": 2.2}
        | {"seed": seed},
    ]
    return kinds[seed % len(kinds)] | common


def configuration(
    seed: int, folder: Path, fluence: float | None = None, *, held_out: float = 0.02, side: int = 7
) -> Config:
    """Return series `seed` of `side` x `side` patterns: structure, dose (unless set), defocus and angles vary."""
    text = {
        "series": str(folder / "series.h5"),
        "run": str(folder),
        "simulation": {
            "specimen": specimen(seed),
            "microscope": {
                "energy": 300e3 if seed % 2 else 200e3,
                "semiangle_cutoff": 21.0,
                "aberrations": {"defocus": 60.0 + 20.0 * (seed % 3)},
                "detector_shape": [16, 16],
                "largest_angle": 24.0,
            },
            "scan": {"shape": [side, side], "step": 9 / side},
            "tilts": {"start": -60, "stop": 60, "step": 12 if seed % 2 else 15},
            "fluence": fluence or DOSES[(seed // 5) % len(DOSES)],
            "seed": seed,
        },
        "volume": {"thickness": 12.0, "kind": "real", "margin": 2},
        "reconstruction": {"epochs": 5, "validation_fraction": held_out},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    return load_config(path)


def judged(config: Config, series: TiltSeries, starts: dict[str, TiltStart]) -> dict[str, Any]:
    """Return whether a reconstruction calls each tilt wrong, and from what: weights, and preferences by parameter."""
    problem, mesh = build_problem(config, series, starts=starts), Mesh.serial()
    common = (problem.state, problem.tilts, problem.geometry, problem.settings, mesh)
    reconstruct(*common)
    preferences = optics_preferences(*common)
    said = preference_sentences(preferences, problem.names)
    weights = problem.state.tilt_weights.tolist()
    contradicted = contradicted_tilt(*common)
    if contradicted is not None:
        said.append(contradicted.sentence(problem.names))
    called = [
        weight < 1 or any(sentence.startswith(f"tilt {name}") for sentence in said)
        for name, weight in zip(problem.names, weights, strict=True)
    ]
    numbers = {
        parameter: [(one.change, one.sigma, one.gain) for one in tilts] for parameter, tilts in preferences.items()
    }
    significance = 0.0 if contradicted is None else contradicted.significance
    return {"called_wrong": called, "weights": weights, "preferences": numbers, "contradiction": significance}


def results(seed: int, folder: Path, faults: Sequence[str | None] = (None, *FAULTS)) -> Iterator[dict[str, Any]]:
    """Yield what the reconstructions of series `seed`, one for each of the `faults`, say of its tilts."""
    config = configuration(seed, folder)
    simulate(config, overwrite=True)
    with TiltSeries.open(config.series) as series:
        starts = series_start(series)
        names = sorted(starts)
        wrong = int(np.random.default_rng(seed).integers(len(names)))
        for fault in faults:
            changed = starts if fault is None else starts | {names[wrong]: FAULTS[fault](starts[names[wrong]])}
            yield {
                "seed": seed,
                "fluence": config.simulation.fluence if config.simulation else None,
                "fault": fault,
                "wrong": wrong,
                **judged(config, series, changed),
            }


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table."""
    good = [called for one in found if one["fault"] is None for called in one["called_wrong"]]
    yield f"{'false alarms':16}  {sum(good)} of {len(good)} tilts"
    for fault in FAULTS:
        hit = [one["called_wrong"][one["wrong"]] for one in found if one["fault"] == fault]
        yield f"{fault:16}  {sum(hit)} of {len(hit)} found"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=50)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = arguments.folder / "tilt_faults.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for seed in range(arguments.series):
        if all(one["seed"] != seed for one in found):
            found += results(seed, arguments.folder)
            path.write_text(json.dumps(found), encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()

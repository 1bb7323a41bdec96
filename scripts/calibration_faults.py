"""The figure of fit of right and wrong calibrations, and what the patterns prefer: small simulated series.

    python scripts/calibration_faults.py FOLDER

A weak and a strong specimen at three doses: the exact patterns as the model, the true volume, the reconstruction with
the true calibration, and reconstructions with each fault in the calibration. Prints one line each, and keeps them in
FOLDER/calibration_faults.txt, from where a further call goes on. The aperture is told only with
`probe.amplitude: aperture`; otherwise it is taken from the mean pattern.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import torch
from tilt_faults import configuration

from dptt.assembly.problem import Problem, build_problem
from dptt.assembly.start import TiltStart, series_start
from dptt.commands.simulate import simulate
from dptt.config import Config
from dptt.distributed.mesh import Mesh
from dptt.io.dataset import TiltSeries
from dptt.model.losses import Misfit
from dptt.model.shot_noise import shot_noise_moments
from dptt.solvers.tomography import final_fits, reconstruct
from dptt.solvers.tomography.detuning import OPTICS, optics_preferences, together

SPECIMENS = {"weak, Si": 2, "strong, NiPt": 0}
"""Number of the series in `tilt_faults.configuration`; both at 200 keV."""
DOSES = (1e3, 1e4, 1e5)
FAULTS = ("none", "aperture true", "aperture +10 %", "defocus +30 Å", "rotation +5°", "300 for 200 keV")


def problem_of(config: Config, series: TiltSeries, fault: str) -> Problem:
    """Return the problem with a fault of the calibration that is the same in all tilts."""
    starts = series_start(series)
    if fault.startswith("defocus"):
        starts = {name: _defocused(start, 30.0) for name, start in starts.items()}
    if fault.startswith("rotation"):
        starts = {name: _rotated(start, 5.0) for name, start in starts.items()}
    return build_problem(config, series, starts=starts)


def _defocused(start: TiltStart, by: float) -> TiltStart:
    return replace(start, aberrations={**start.aberrations, "C10": start.aberrations.get("C10", 0.0) - by})


def _rotated(start: TiltStart, degrees: float) -> TiltStart:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return replace(start, scan_positions=start.scan_positions @ np.array([[c, s], [-s, c]]))


def with_ideal_probe(config: Config) -> Config:
    """Return the configuration with a probe from the aperture that the series is told."""
    probe = config.reconstruction.probe.model_copy(update={"amplitude": "aperture"})
    return config.model_copy(update={"reconstruction": config.reconstruction.model_copy(update={"probe": probe})})


def exact_figure(config: Config) -> float:
    """Return the figure of fit of simulated counts, with the simulation's own noise-free patterns as the model."""
    assert config.simulation is not None
    silent = config.simulation.model_copy(update={"shot_noise": False})
    exact = config.model_copy(update={"simulation": silent, "series": config.series.with_name("exact.h5")})
    simulate(config, overwrite=True)
    simulate(exact, overwrite=True)
    loss = expected = 0.0
    with TiltSeries.open(config.series) as counted, TiltSeries.open(exact.series) as means:
        for tilt, true in zip(counted.tilts, means.tilts, strict=True):
            everything = slice(0, tilt.num_positions)
            model, counts = (
                torch.from_numpy(one.read(everything).astype(np.float64)) / one.counts_per_electron
                for one in (true, tilt)
            )
            misfit = Misfit("amplitude", 1e-6)
            loss += misfit(model, counts)[0].item()
            expected += shot_noise_moments(misfit, model)[0].sum().item()
    return loss / expected


def figures(config: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield what is measured of one specimen and dose, and the function that measures it."""
    yield "exact patterns", lambda: f"{exact_figure(config):.3f}"
    for voxels in (None, 0.25):
        finer = config.model_copy(update={"volume": config.volume.model_copy(update={"voxel_size": voxels})})
        yield f"true volume, voxels {voxels or 'from the detector'}", partial(true_volume_figure, finer)
    for fault in FAULTS:
        yield fault, partial(reconstruction_figures, config, fault)


def true_volume_figure(config: Config) -> str:
    """Return the figure of fit with the true volume on the voxels of the configuration as the model."""
    simulate(config, overwrite=True)
    with TiltSeries.open(config.series) as series:
        problem = problem_of(with_ideal_probe(config), series, "none")
        truth = series.truth()
        assert truth is not None and truth.volume is not None
        problem.state.volume = torch.from_numpy(truth.volume).to(problem.state.volume.dtype)
        fit = final_fits(problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial()).together
    return f"{fit.figure:.3f} ± {fit.uncertainty:.3f}"


def reconstruction_figures(config: Config, fault: str) -> str:
    """Return the figure of fit of a reconstruction with a fault, its fitted noise, and what the patterns prefer."""
    simulate(config, overwrite=True)
    with h5py.File(config.series, "r+") as file:
        if fault == "aperture +10 %":
            file.attrs["semiangle_cutoff_mrad"] *= 1.1
        if fault.startswith("300"):
            file.attrs["energy_eV"] = 300e3
    with TiltSeries.open(config.series) as series:
        problem = problem_of(with_ideal_probe(config) if "aperture" in fault else config, series, fault)
        common = (problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial())
        reconstruct(*common)
        fits, found = final_fits(*common), optics_preferences(*common)
    preferred = ", ".join(
        f"{one.name} {(both := together(found[one.name])).change:+.1f} ± {both.sigma:.1f} {one.unit}"
        for one in OPTICS
    )
    fit = fits.together
    return f"{fit.figure:.3f} ± {fit.uncertainty:.3f}, fitted noise {fits.fitted_noise:.3f}; {preferred}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = arguments.folder / "calibration_faults.txt"
    for fluence, (specimen, seed) in product(reversed(DOSES), SPECIMENS.items()):
        config = configuration(seed, arguments.folder, fluence, held_out=0.2, side=9)
        for measured, measure in figures(config):
            title = f"{specimen}, {fluence:.0e} e/Å², {measured}: "
            if path.exists() and title in path.read_text(encoding="utf-8"):
                continue
            line = title + measure()
            print(line, flush=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()

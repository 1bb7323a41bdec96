"""The figure of fit of right and wrong calibrations, and what the patterns prefer: small simulated series.

    python scripts/calibration_faults.py FOLDER

A weak and a strong specimen at three doses: the true volume as the model, the reconstruction with the true
calibration, and reconstructions with each fault in the calibration. Prints one line each. The aperture is told only
with `probe.amplitude: aperture`; otherwise it is taken from the mean pattern.
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import replace
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
from dptt.solvers.tomography import final_fits, reconstruct
from dptt.solvers.tomography.detuning import optics_preferences, together

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


def lines(name: str, config: Config) -> Iterator[str]:
    """Yield the lines of one specimen and dose."""
    told = config.series.with_name("told.h5")
    for voxels in (None, 0.25):
        finer = config.model_copy(update={"volume": config.volume.model_copy(update={"voxel_size": voxels})})
        simulate(finer, overwrite=True)
        with TiltSeries.open(config.series) as series:
            problem = problem_of(with_ideal_probe(finer), series, "none")
            truth = series.truth()
            assert truth is not None and truth.volume is not None
            problem.state.volume = torch.from_numpy(truth.volume).to(problem.state.volume.dtype)
            fits = final_fits(problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial())
            fit = fits.together
            size = problem.geometry.voxel_size[0]
            yield f"{name}: true volume, voxels {size:.2f} Å: {fit.figure:.3f} ± {fit.uncertainty:.3f}"
    simulate(config, overwrite=True)
    for fault in FAULTS:
        shutil.copy(config.series, told)
        with h5py.File(told, "r+") as file:
            if fault == "aperture +10 %":
                file.attrs["semiangle_cutoff_mrad"] *= 1.1
            if fault.startswith("300"):
                file.attrs["energy_eV"] = 300e3
        with TiltSeries.open(told) as series:
            problem = problem_of(with_ideal_probe(config) if "aperture" in fault else config, series, fault)
            reconstruct(problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial())
            fits = final_fits(problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial())
            fit = fits.together
            found = optics_preferences(
                problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial()
            )
            yield f"{name}: {fault}: {fit.figure:.3f} ± {fit.uncertainty:.3f}; " + ", ".join(
                f"{parameter} {one.change:+.1f} ± {one.sigma:.1f} (gain {100 * one.gain:.1f} %)"
                for parameter, one in ((parameter, together(tilts)) for parameter, tilts in found.items())
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for fluence in reversed(DOSES):
        for name, seed in SPECIMENS.items():
            config = configuration(seed, arguments.folder, fluence, held_out=0.2)
            for line in lines(f"{name}, {fluence:.0e} e/Å²", config):
                print(line, flush=True)


if __name__ == "__main__":
    main()

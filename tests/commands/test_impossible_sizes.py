"""Numbers within the range of a configuration whose product no computer holds: bad input, said before any work."""

import pytest
import torch

from dptt.assembly.atoms import atom_geometries
from dptt.assembly.geometry import MOST_VOXELS
from dptt.assembly.problem import series_experiment
from dptt.cli import main
from dptt.config import ConfigError, load_config
from dptt.config.atoms import AtomsConfig
from dptt.io.dataset import TiltSeries
from dptt.model.atoms import Atoms
from dptt.runtime.earlier_results import start_of_reconstruction

PARTICLES = {
    "packing": "{kind: amorphous, fractions: {Pd: 1}, diameter: 1e12, number_density: 0.05, nearest_distance: 2}",
    "no atom": "{kind: amorphous, fractions: {Pd: 1}, diameter: 1, number_density: 0.05, nearest_distance: 2}",
    "alloy": "{kind: alloy, fractions: {Ni: 1}, diameter: 6, lattice_constant: 3.8, static_displacement: 1e12}",
    "tube": "{kind: tellurium-on-nanotube, diameter: 8, tube_length: 1e12}",
    "chirality": "{kind: tellurium-on-nanotube, diameter: 8, tube_length: 8, chirality: [2147483647, 2147483647]}",
    "gap": "{kind: tellurium-on-nanotube, diameter: 8, tube_length: 8, gap: 1e12}",
}
SIMULATED = {
    **{f"specimen={text}": said for text, said in zip(PARTICLES.values(), (
        "would have 2.618e+34 atoms", "would have 0 atoms", "Å wide; expected at most 1e+06", "atoms in the nanotube",
        "cells around the nanotube", "at most 100"), strict=True)},
    "microscope.focal_spread=1e12": "probes in an average",
    "microscope.source_size=1e12": "probes in an average",
    "microscope.detector_shape=[2147483647, 2147483647]": "4.61e+18 detector pixels",
    "multislice.oversampling=1": "semiangle of 21.0 mrad exceeds",
    "scan.shape=[2147483647, 2147483647]": "4.61e+18 scan positions",
    "scan.step=1e12": "pixels in the slices of a tilt",
    "scan.jitter=1e12": "pixels in the slices of a tilt",
    "scan.drift=[1e12, 0]": "pixels in the slices of a tilt",
    "tilts={start: 0, stop: 1, step: 1e-12}": "1e+12 tilts",
    "tilts.translation_error=1e12": "pixels in the slices of a tilt",
    "experiment.scan_scale=[1e12, 0]": "pixels in the slices of a tilt",
    "experiment.dead_pixels=300": "300 dead and hot pixels",
    "experiment.blur=1e12": "pixels of blur",
    "multislice.slice_thickness=1e-12": "pixels in the slices of a tilt",
    "multislice.oversampling=1e12": "pixels",
}  # fmt: skip


def refused(capsys, *arguments: str) -> str:
    """Return what the command says, without a traceback, and with the exit code of bad input."""
    code, said = main(list(arguments)), capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("setting", SIMULATED)
def test_a_simulation_that_no_computer_holds_is_refused(tiny, tmp_path, capsys, setting):
    said = refused(capsys, "simulate", str(tiny / "tiny.yaml"), f"series={tmp_path}/s.h5", f"simulation.{setting}")
    assert SIMULATED[setting] in said
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("command", ["validate", "reconstruct"])
@pytest.mark.parametrize(
    "setting",
    [
        "volume.voxel_size=1e-9",
        "volume.thickness=1e12",
        "volume={shape: [2147483647, 65536, 65536]}",
        "volume.margin=2147483647",
    ],
)
def test_a_volume_that_no_computer_holds_is_refused(tiny, tmp_path, capsys, command, setting):
    said = refused(capsys, command, str(tiny / "tiny.yaml"), f"run={tmp_path}/run", setting)
    assert "no computer holds so many" in said
    assert not (tmp_path / "run" / "volume.h5").exists()


@pytest.mark.parametrize("setting", ["num_slices=2147483647", "thickness=1e12", "thickness=1e-12"])
def test_slices_of_a_tilt_that_no_computer_holds_are_refused(tiny, tmp_path, capsys, setting):
    said = refused(capsys, "ptycho", str(tiny / "tiny.yaml"), f"run={tmp_path}/run", f"ptychography.{setting}")
    assert "expected at most 10000, of 0.01 Å or more" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("grid", "said"),
    [({"voxel_size": 1e12}, "does not hold the bright disk"), ({"slice_thickness": 1e-12}, "expected at most 10000")],
)
def test_a_grid_of_atoms_that_holds_nothing_or_that_no_computer_holds_is_refused(tiny, grid, said):
    config = load_config(tiny / "tiny.yaml")
    atoms = Atoms(torch.zeros((1, 3)), torch.ones(1), torch.ones(1), torch.tensor([78]))
    with TiltSeries.open(config.series) as series:
        experiment = series_experiment(series, start_of_reconstruction(config, series))
    with pytest.raises(ConfigError, match=f"atoms.*{said}"):
        atom_geometries(config, AtomsConfig(elements=("Pt",), **grid), experiment, atoms)


def test_the_slices_of_a_prime_number_of_planes_are_found_at_once(tiny, tmp_path, capsys):
    """2147483647 is prime: every number of slices up to it was tried."""
    planes = 2147483647
    assert planes * 400 < MOST_VOXELS < planes * 1e9
    shape = f"volume={{shape: [{planes}, 1000, 1000]}}"
    said = refused(capsys, "validate", str(tiny / "tiny.yaml"), f"run={tmp_path}/run", shape)
    assert "2.15e+09 x 1e+03 x 1e+03" in said

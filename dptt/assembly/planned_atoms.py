"""A planned experiment as the fit of atoms sees it: atoms, optics, scan and poses of the section `simulation`."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from dptt.assembly.atoms import atom_geometries
from dptt.assembly.simulation import build_optics, build_scan, build_scheme, build_specimen, simulated_experiment
from dptt.config import Config, ConfigError
from dptt.config.atoms import AtomsConfig
from dptt.distributed.comm import SerialCommunicator
from dptt.model.atoms import Atoms
from dptt.model.calibration import NUM_PARAMETERS
from dptt.model.patterns import centre_window
from dptt.physics.multislice import propagate
from dptt.simulation.acquisition import Exposure
from dptt.simulation.coherence import probe_modes
from dptt.solvers.atoms import AtomModel, AtomProblem


@dataclass
class PlannedPatterns:
    """Patterns of one tilt that nobody has measured yet."""

    name: str
    mean_electrons: float
    mask: Bool[Tensor, "y x"] | None
    scale: float = 1.0
    seconds_reading: float = 0.0

    def read(self, indices: Tensor) -> Shaped[Tensor, "pos y x"]:
        """Raise: the information of an experiment needs no counts."""
        raise NotImplementedError("these patterns are planned and not measured")

    def prefetch(self, indices: Tensor) -> None:
        """Nothing is to be read."""

    def usable(self, indices: Tensor) -> Bool[Tensor, " pos"]:
        """Return that all will be."""
        return torch.ones(len(indices), dtype=torch.bool)


def planned_atoms(config: Config) -> tuple[AtomProblem, AtomModel]:
    """Return patterns still to be made, and the model that will be true.

    Raises
    ------
    ConfigError
        There is no section `simulation`.
    """
    options = config.simulation
    if options is None:
        raise ConfigError(
            "`dptt plan --atoms` needs a section `simulation`, with the planned structure and experiment."
        )
    specimen, optics, scan = build_specimen(options.specimen), build_optics(options), build_scan(options)
    scheme = build_scheme(options)
    poses = scheme.nominal_poses()
    atoms = Atoms(
        torch.from_numpy(specimen.positions).double(),
        torch.ones(len(specimen.positions), dtype=torch.float64),
        8 * math.pi**2 * torch.from_numpy(specimen.rms_displacements).double() ** 2,
        torch.from_numpy(specimen.atomic_numbers).long(),
    )
    grid = config.atoms or AtomsConfig(elements=("H",))  # for its grids and seed
    geometry = atom_geometries(config, grid, simulated_experiment(optics, scan, scheme), atoms)[1]
    electrons = Exposure(options.fluence).electrons_per_pattern(scan)
    modes = probe_modes(replace(optics, soft_aperture=True), geometry.window_shape, electrons=electrons)
    front = propagate(modes, geometry.propagator(geometry.first_slice_depth, modes.dtype)).to(torch.complex64)
    mask = centre_window(torch.ones(1, *optics.detector_shape, dtype=torch.bool).numpy(), geometry.window_shape)[0]
    problem = AtomProblem(
        geometry=geometry,
        tilts=[PlannedPatterns(f"{number:04d}", electrons, mask) for number in range(len(poses))],
        positions=[torch.from_numpy(scan.nominal_positions()).double()] * len(poses),
        calibrations=[torch.zeros(NUM_PARAMETERS, dtype=torch.float64)] * len(poses),
        communicator=SerialCommunicator(),
        epsilon=config.reconstruction.epsilon,
        seed=grid.seed,
        chunk_bytes=round(config.reconstruction.chunk_memory * 2**20),
    )
    angles = torch.tensor([pose.euler_angles for pose in poses], dtype=torch.float64)
    translations = torch.tensor([pose.translation for pose in poses], dtype=torch.float64)
    return problem, AtomModel(atoms, (front,) * len(poses), angles, translations, torch.zeros(len(poses), 4).double())

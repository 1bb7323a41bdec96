"""A tilt series of a few atoms, rendered by the model itself: what a fit should find again."""

from dataclasses import dataclass, field

import torch
from checks import random_tensor
from scipy.ndimage import gaussian_filter
from torch import Tensor

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.kernels import Batch
from dptt.model.atoms import Atoms
from dptt.model.calibration import BLUR, DESCAN, NUM_PARAMETERS, ZERO_ANGLE
from dptt.model.forward import Geometry
from dptt.physics.multislice import diffraction_intensity, multislice, propagate
from dptt.physics.patches import extract_patches
from dptt.physics.point_spread import width_of
from dptt.physics.probe import detector_shift, make_probe, shift_probe
from dptt.solvers.atoms import AtomModel, AtomProblem
from dptt.solvers.atoms.problem import TiltWaves, with_vibrations

GEOMETRY = Geometry(200e3, (3, 30, 29), (2.0, 0.4, 0.4), (18, 17), 3)
TILTS = (-40.0, 5.0, 50.0)


@dataclass
class Patterns:
    """Patterns of one tilt in memory."""

    data: Tensor
    scale: float = 1.0
    mask: Tensor | None = None
    seconds_reading: float = 0.0
    name: str = "0000"
    mean_electrons: float = field(init=False)

    def __post_init__(self) -> None:
        self.mean_electrons = self.data.double().sum().item() / max(len(self.data), 1)

    def read(self, indices: Tensor) -> Tensor:
        return self.data[indices]

    def prefetch(self, indices: Tensor) -> None:
        """Everything is in memory."""

    def usable(self, indices: Tensor) -> Tensor:
        return torch.ones(len(indices), dtype=torch.bool)


def true_atoms() -> Atoms:
    positions = torch.tensor([[0.3, -1.1, 0.2], [-0.8, 1.2, 1.0], [0.9, 0.8, -1.3]], dtype=torch.float64)
    return Atoms(positions, torch.ones(3).double(), torch.full((3,), 0.4).double(), torch.tensor([28, 46, 78]))


def true_model(electrons: float = 3e4) -> AtomModel:
    probe = make_probe(
        GEOMETRY.window_shape,
        GEOMETRY.sampling,
        wavelength=GEOMETRY.wavelength,
        semiangle=20.0,
        aberrations={"C10": -40.0},
        electrons=electrons,
    )
    probe = propagate(probe, GEOMETRY.propagator(GEOMETRY.first_slice_depth, torch.complex128))[None]
    angles = torch.tensor([[1.0, theta, -2.0] for theta in TILTS], dtype=torch.float64)
    translations, scans = 0.1 * random_tensor(3, 2, seed=3), torch.zeros(3, 4).double()
    return AtomModel(true_atoms(), tuple(probe.clone() for _ in TILTS), angles, translations, scans)


def scan(number: int = 5, step: float = 0.7) -> Tensor:
    line = (torch.arange(number).double() - (number - 1) / 2) * step
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(-1, 2)


def problem_of(
    truth: AtomModel,
    seed: int | None = None,
    communicator: Communicator | None = None,
    scanned: Tensor | None = None,
    calibration: Tensor | None = None,
) -> AtomProblem:
    """Return the problem whose patterns are the mean counts of `truth`, or Poisson counts drawn with a `seed`."""
    positions = [scan() if scanned is None else scanned] * len(truth.probes)
    calibrations = [torch.zeros(NUM_PARAMETERS).double() if calibration is None else calibration] * len(positions)
    tilts = [Patterns(torch.zeros(len(each), *GEOMETRY.window_shape).double()) for each in positions]
    ranks = communicator or SerialCommunicator()
    problem = AtomProblem(GEOMETRY, tilts, positions, ranks, calibrations, epsilon=1e-6)
    for tilt, patterns in enumerate(tilts):
        means = intensities(problem, truth, tilt)
        generator = torch.Generator().manual_seed((seed or 0) * 10 + tilt)
        data = means if seed is None else torch.poisson(means, generator=generator)
        tilts[tilt] = Patterns(data, name=patterns.name)
    return AtomProblem(GEOMETRY, tilts, positions, ranks, calibrations, epsilon=1e-6)


def vibrating_model(electrons: float = 3e4) -> AtomModel:
    """Return the true model with absorption and diffuse scattering."""
    truth = true_model(electrons)
    return with_vibrations(problem_of(truth), truth, (28, 46, 78))


def intensities(problem: AtomProblem, model: AtomModel, tilt: int) -> Tensor:
    """Return the mean counts of a tilt by the forward model of [P] eq. 14-15, apart from the kernels.

    Diffuse scattering is added if the atoms vibrate.
    """
    everything = torch.arange(len(problem.positions[tilt]))
    rendered = TiltWaves(problem, model, tilt, problem.tilted(model, tilt).slices())
    batch: Batch = rendered.batch(everything, torch.zeros(len(everything), *GEOMETRY.window_shape))
    patches = extract_patches(batch.transmission, batch.corners, GEOMETRY.window_shape)
    probes = shift_probe(batch.probe, batch.shifts[:, None, 0], batch.shifts[:, None, 1])
    waves = multislice(probes, patches, batch.propagator)
    calibration, positions = problem.calibrations[tilt], problem.positions[tilt]
    shifts = positions @ calibration[DESCAN].reshape(2, 2).T + calibration[ZERO_ANGLE]
    patterns = diffraction_intensity(waves * detector_shift(GEOMETRY.window_shape, *shifts.unbind(1))[:, None])
    if calibration[BLUR]:
        width = width_of(calibration[BLUR].item())
        blurred = gaussian_filter(patterns.double().numpy(), (0, width, width), mode="wrap", truncate=6)
        patterns = torch.from_numpy(blurred)
    return patterns if model.vibrations is None else patterns + model.vibrations.diffuse[tilt].patterns(everything)

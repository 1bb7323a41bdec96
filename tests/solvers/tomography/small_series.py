"""A tilt series of a few atoms, small enough to reconstruct in a second: even and odd sizes, oblong voxels."""

from dataclasses import dataclass, field

import torch
from checks import random_tensor
from solver_settings import tomography_settings
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry, model_intensity
from dptt.model.state import TomographyState
from dptt.physics.multislice import propagate
from dptt.physics.probe import make_probe
from dptt.solvers.tomography import EpochRecord, reconstruct

GEOMETRY = Geometry(200e3, (12, 26, 29), (0.6, 0.5, 0.45), (14, 13), 4)
TILTS = (-50.0, -25.0, 0.0, 25.0, 50.0)


@dataclass
class Patterns:
    """Patterns of one tilt in memory; remembers what was read."""

    data: Tensor
    scale: float = 1.0
    mask: Tensor | None = None
    seconds_reading: float = 0.0
    reads: list[list[int]] = field(default_factory=list)
    name: str = "0000"

    def __post_init__(self) -> None:
        self.mean_electrons = self.data.double().sum().item() * self.scale / len(self.data)

    def read(self, indices: Tensor) -> Tensor:
        self.reads.append(indices.tolist())
        return self.data[indices]

    def prefetch(self, indices: Tensor) -> None:
        """Everything is in memory."""

    def usable(self, indices: Tensor) -> Tensor:
        return torch.ones(len(indices), dtype=torch.bool)


@dataclass
class Truth:
    """What the series was made of."""

    volume: Tensor
    probe: Tensor
    positions: list[Tensor]
    euler_angles: Tensor
    translations: Tensor

    def patterns(self, tilt: int) -> Tensor:
        pose = self.euler_angles[tilt], self.translations[tilt]
        return model_intensity(self.volume, self.probe, self.positions[tilt], *pose, GEOMETRY)

    def series(self) -> list[Patterns]:
        return [Patterns(self.patterns(tilt), name=f"{tilt:04d}") for tilt in range(len(self.positions))]

    def start(self, **changes) -> TomographyState:
        """Return the state before the first epoch, in the true pose unless `changes` say otherwise."""
        known = {
            "probes": [self.probe.clone() for _ in self.positions],
            "positions": [p.clone() for p in self.positions],
            "euler_angles": self.euler_angles,
            "translations": self.translations,
            "volume_dtype": self.volume.dtype,
        }
        return TomographyState.initial(GEOMETRY.volume_shape, **{**known, **changes})


def focused_probe(electrons: float = 1e4, defocus: float = 30.0) -> Tensor:
    """Return one mode in front of the first slice."""
    probe = make_probe(
        GEOMETRY.window_shape,
        GEOMETRY.sampling,
        wavelength=GEOMETRY.wavelength,
        semiangle=18.0,
        aberrations={"C10": -defocus},
        electrons=electrons,
    )
    return propagate(probe, GEOMETRY.propagator(GEOMETRY.first_slice_depth, torch.complex128))[None]


def atoms(number: int = 10, volts: float = 250.0, seed: int = 1) -> Tensor:
    """Return Gaussian atoms [V] within 2.4 Å of the rotation centre."""
    coordinates = torch.meshgrid(
        *(
            (torch.arange(n, dtype=torch.float64) - n // 2) * d
            for n, d in zip(GEOMETRY.volume_shape, GEOMETRY.voxel_size, strict=True)
        ),
        indexing="ij",
    )
    volume = torch.zeros(GEOMETRY.volume_shape, dtype=torch.float64)
    sites = random_tensor(number, 3, seed=seed)
    sites = 2.4 * sites / sites.norm(dim=1, keepdim=True) * torch.linspace(0.1, 1, number)[:, None] ** (1 / 3)
    for site in sites:
        squared = sum((c - s) ** 2 for c, s in zip(coordinates, site, strict=True))
        volume += volts * torch.exp(-squared / (2 * 0.45**2))
    return volume


def scan(number: tuple[int, int] = (6, 6), step: float = 0.9, seed: int = 2) -> Tensor:
    """Return a raster of scan positions [Å] about the rotation axis, each some tenths of a pixel off."""
    y, x = torch.meshgrid(*((torch.arange(n).double() - (n - 1) / 2) * step for n in number), indexing="ij")
    return torch.stack([y.flatten(), x.flatten()], dim=1) + 0.1 * random_tensor(number[0] * number[1], 2, seed=seed)


def make_truth(**changes) -> Truth:
    """Return the standard specimen and acquisition, `changes` apart."""
    angles = torch.zeros(len(TILTS), 3, dtype=torch.float64)
    angles[:, 1] = torch.tensor(TILTS)
    angles[:, 0], angles[:, 2] = 2.0, -3.0
    standard = {
        "volume": atoms(),
        "probe": focused_probe(),
        "positions": [scan(seed=10 + tilt) for tilt in range(len(TILTS))],
        "euler_angles": angles,
        "translations": 0.2 * random_tensor(len(TILTS), 2, seed=3),
    }
    return Truth(**{**standard, **changes})


def run(state: TomographyState, tilts: list[Patterns], **settings) -> list[EpochRecord]:
    """Reconstruct in place and return what every epoch reports."""
    records: list[EpochRecord] = []
    reconstruct(state, tilts, GEOMETRY, tomography_settings(**settings), Mesh.serial(), records.append)
    return records


def isolated_truth() -> Truth:
    """Return one smooth particle in the middle of the scanned area, with vacuum on all sides."""
    lengths = [
        ((torch.arange(n, dtype=torch.float64) - n // 2) * d).square()
        for n, d in zip(GEOMETRY.volume_shape, GEOMETRY.voxel_size, strict=True)
    ]
    squared = lengths[0][:, None, None] + lengths[1][:, None] + lengths[2]
    wide = [scan((7, 7), 0.95, seed=10 + tilt) for tilt in range(len(TILTS))]
    return make_truth(volume=200.0 * torch.exp(-squared / (2 * 0.6**2)), positions=wide)

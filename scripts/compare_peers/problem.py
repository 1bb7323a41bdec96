"""One view of a thick specimen, simulated in plain NumPy in double precision: the same task for every program.

Nothing of dptt is used here: every contestant's model is checked against these patterns.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WAVELENGTH = 0.0250793
"""Of 200 keV [Å]."""


@dataclass(frozen=True)
class Size:
    """What sets the work of a pass."""

    scan: int
    """Positions along each axis."""
    window: int
    """Pixels of a pattern along each axis."""
    modes: int
    slices: int

    @property
    def name(self) -> str:
        """Size in words."""
        return f"{self.scan**2} patterns of {self.window}², {self.modes} modes, {self.slices} slices"

    @property
    def transforms(self) -> int:
        """Transforms that a pass needs at least: 2·slices - 1 for the model, as many for its adjoint."""
        return 2 * (2 * self.slices - 1) * self.scan**2 * self.modes


@dataclass(frozen=True)
class Problem:
    """What every contestant is told, and the truth. Pixels are those of the slices."""

    pixel: float
    """Å."""
    slice_thickness: float
    """Å."""
    positions: NDArray[np.float64]
    """(position, 2): where the zeroth pixel of the window lies in the image (y, x) [pixels]."""
    probe: NDArray[np.complex128]
    """(mode, y, x) at the entrance plane, its centre at pixel n // 2; |.|² sums to the electrons of a pattern."""
    slices: NDArray[np.complex128]
    """True transmission functions (slice, y, x)."""
    patterns: NDArray[np.float32]
    """(position, y, x), zero angle at pixel (0, 0) [electrons]."""
    electrons: float
    """Of a pattern."""

    @property
    def propagator(self) -> NDArray[np.complex128]:
        """From slice to slice, (y, x), zero frequency at pixel (0, 0): the paraxial one."""
        return _propagator(self.probe.shape[-1], self.pixel, self.slice_thickness)

    def save(self, path: Path) -> None:
        """Write all that a contestant needs."""
        np.savez(path, **asdict(self))

    @staticmethod
    def load(path: str) -> "Problem":
        """Read what `save` wrote."""
        with np.load(path) as file:
            scalars = {name: float(file[name]) for name in ("pixel", "slice_thickness", "electrons")}
            return Problem(**{name: file[name] for name in file.files if name not in scalars}, **scalars)

    def quality(self, slices: NDArray[np.complexfloating]) -> float:
        """Return the correlation of the projected phase with the true one, over the scanned area."""
        low, high = self.positions.min(0), self.positions.max(0)
        half = self.probe.shape[-1] // 2
        y, x = (slice(int(a) + half, int(b) + half + 1) for a, b in zip(low, high, strict=True))
        found, true = (np.angle(s).sum(0)[y, x].ravel() for s in (slices, self.slices))
        return float(np.corrcoef(found, true)[0, 1])


def simulate(size: Size, *, counted: bool, electrons: float = 2e4, seed: int = 0) -> Problem:
    """Return atoms in a disordered film under a defocused, partly coherent probe; `counted` adds shot noise."""
    random = np.random.default_rng(seed)
    pixel, thickness, step = 0.25, 8.0, 3.2
    n = size.window
    along = np.arange(size.scan) * step + 2.0
    positions = np.stack(np.meshgrid(along, along, indexing="ij"), -1).reshape(-1, 2)
    image = int(np.ceil(positions.max())) + n + 3
    slices = _slices(random, size.slices, image, pixel)
    probe = np.sqrt(electrons) * _probe(size.modes, n, pixel)
    propagator = _propagator(n, pixel, thickness)
    patterns = np.empty((len(positions), n, n))
    for i, position in enumerate(positions):
        corner = np.round(position).astype(int)
        wave = _shifted(probe, position - corner)
        for k, whole in enumerate(slices):
            wave = wave * whole[corner[0] : corner[0] + n, corner[1] : corner[1] + n]
            if k < len(slices) - 1:
                wave = np.fft.ifft2(np.fft.fft2(wave) * propagator)
        patterns[i] = (np.abs(np.fft.fft2(wave, norm="ortho")) ** 2).sum(0)
    if counted:
        patterns = random.poisson(patterns).astype(float)
    return Problem(pixel, thickness, positions, probe, slices, patterns.astype(np.float32), electrons)


def _slices(random: np.random.Generator, count: int, image: int, pixel: float) -> NDArray[np.complex128]:
    phase = np.zeros((count, image, image))
    y, x = np.ogrid[:image, :image]
    for k in range(count):
        for centre_y, centre_x in random.uniform(0, image, (image * image // 250, 2)):
            square = ((y - centre_y) ** 2 + (x - centre_x) ** 2) * pixel**2
            phase[k] += 0.15 * np.exp(-square / (2 * 0.35**2))
    return np.exp(1j * phase)


def _probe(modes: int, n: int, pixel: float) -> NDArray[np.complex128]:
    """Return a probe of 20 mrad, defocused by 120 Å, and its derivatives as the modes of a source of finite size."""
    k = np.fft.fftfreq(n, pixel)
    square = k[:, None] ** 2 + k[None, :] ** 2
    aperture = square < (0.020 / WAVELENGTH) ** 2
    wave = aperture * np.exp(-1j * np.pi * WAVELENGTH * 120.0 * square)
    shapes = (1.0 + 0 * square, 1.2j * k[:, None] + 0 * square, 1.2j * k[None, :] + 0 * square)
    probe = np.fft.fftshift(np.fft.ifft2([wave * shape for shape in shapes[:modes]]), axes=(-2, -1))
    return probe / np.sqrt((np.abs(probe) ** 2).sum())


def _propagator(n: int, pixel: float, thickness: float) -> NDArray[np.complex128]:
    k = np.fft.fftfreq(n, pixel)
    return np.exp(-1j * np.pi * WAVELENGTH * thickness * (k[:, None] ** 2 + k[None, :] ** 2))


def _shifted(probe: NDArray[np.complex128], shift: NDArray[np.float64]) -> NDArray[np.complex128]:
    k = np.fft.fftfreq(probe.shape[-1])
    ramp = np.exp(-2j * np.pi * (k[:, None] * shift[0] + k[None, :] * shift[1]))
    return np.fft.ifft2(np.fft.fft2(probe) * ramp)

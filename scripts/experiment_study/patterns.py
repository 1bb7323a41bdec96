"""Diffraction patterns of a tilt: potential by abTEM, probe and multislice by NumPy, without code of dptt.

Waves live in a window about each probe position, not in abTEM's whole cell: that is many times faster, and
`python scripts/experiment_study.py check` compares them with abTEM's own multislice in the whole cell.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from ase import Atoms
from scipy.spatial.transform import Rotation

ENERGY, SEMIANGLE, LARGEST_ANGLE, DEFOCUS = 300e3, 21.0, 24.6, 100.0
"""[eV, mrad, mrad, Å]"""
WAVELENGTH = 12398.419843 / math.sqrt(ENERGY * (2 * 510998.95 + ENERGY))
"""[Å]"""
DETECTOR = 32
"""Pixels along an edge of the detector."""
WINDOW = DETECTOR / 2 * WAVELENGTH / (1e-3 * LARGEST_ANGLE)
"""Edge of the window of a wave [Å]: its frequencies are the detector's pixels."""
PIXELS = 80
"""Along an edge of the window; waves reach 41 mrad, two thirds of the Nyquist angle."""
WINDOWS_IN_CELL = 3
FINER = 2
"""Pixels of the potential a pixel of the wave, because abTEM shares an atom linearly over four pixels."""
SLICE = 2.0
"""[Å]"""
POWER_KEPT = 0.995
"""Of the electrons, in the modes of the probe."""
MARGIN = 4
"""Pixels around the detector from which its blur takes electrons."""
POSITIONS_AT_ONCE = 5


@dataclass(frozen=True)
class Tilt:
    """A tilt: atoms in their pose about the rotation centre, and aberrations [Å, degrees]."""

    atoms: Atoms
    C10: float
    C12: float
    phi12: float


def tilted(atoms: Atoms, angles: np.ndarray, translation: np.ndarray) -> Atoms:
    """Return the atoms in the pose (phi, theta, psi) [degrees] about fixed x, y, z, displaced by (y, x) [Å]."""
    moved = atoms.copy()
    rotation = Rotation.from_euler("xyz", angles, degrees=True)
    moved.positions = rotation.apply(atoms.positions) + [translation[1], translation[0], 0]
    return moved


def frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies (ky, 1), (1, kx) of a window [1/Å]."""
    k = scipy.fft.fftfreq(PIXELS, WINDOW / PIXELS)
    return k[:, None], k[None, :]


def probe_modes(source_size: float, focal_spread: float) -> np.ndarray:
    """Return the spectra (mode, ky, kx) of a partially coherent probe without aberrations; their power sums to 1.

    Probes of a normally distributed source and focus are averaged by Gauss-Hermite quadrature; the modes are the
    strongest eigenvectors of their density matrix.
    """
    ky, kx = frequencies()
    k = np.hypot(ky, kx)
    aperture = np.clip((1e-3 * SEMIANGLE / WAVELENGTH - k) * WINDOW + 0.5, 0, 1)
    inside = aperture > 0
    y, x, square = ((array + 0 * k)[inside] for array in (ky, kx, k**2))
    points, weights = np.polynomial.hermite_e.hermegauss(11)
    weights = weights / weights.sum()
    along_y, along_x = (np.exp(-2j * np.pi * source_size * points[:, None] * along) for along in (y, x))
    foci = np.exp(-1j * np.pi * WAVELENGTH * focal_spread * points[:, None] * square)
    roots = [np.sqrt(weights)[:, None] * factor for factor in (along_y, along_x, foci)]
    members = np.einsum("an,bn,cn,n->abcn", *roots, aperture[inside]).reshape(-1, int(inside.sum()))
    # eigenvectors of the density matrix on the pixels of the aperture, strongest last
    power, vectors = np.linalg.eigh(members.T @ members.conj())
    strongest = np.argsort(power)[::-1]
    count = int(np.searchsorted(np.cumsum(power[strongest]), POWER_KEPT * power.sum())) + 1
    kept = strongest[:count]
    modes = np.zeros((count, *k.shape), complex)
    modes[:, inside] = (vectors[:, kept] * np.sqrt(power[kept] / power[kept].sum())).T
    return modes


def expected_patterns(
    tilt: Tilt, modes: np.ndarray, positions: np.ndarray, pattern_shifts: np.ndarray, slice_thickness: float = SLICE
) -> np.ndarray:
    """Return patterns (pos, ky, kx) of one electron each, zero angle in the middle, with a `MARGIN` around them.

    `positions` (y, x) [Å] count from the rotation axis; `pattern_shifts` (y, x) [pixels] move what the detector sees.
    """
    slices, depth = transmission(tilt.atoms, slice_thickness)
    entering = modes * _aberrations(tilt, (depth - slice_thickness) / 2)
    propagator = _propagator(slice_thickness).astype(np.complex64)
    places = np.rint(positions / (WINDOW / PIXELS)).astype(int)
    patterns = []
    for first in range(0, len(positions), POSITIONS_AT_ONCE):
        part = slice(first, first + POSITIONS_AT_ONCE)
        waves = _shifted(entering, positions[part] / (WINDOW / PIXELS) - places[part])
        for number, plane in enumerate(slices):
            if number:
                waves = scipy.fft.ifft2(scipy.fft.fft2(waves) * propagator)
            waves = waves * _windows(plane, places[part])[:, None]
        spectra = scipy.fft.fft2(waves * _ramps(pattern_shifts[part])[:, None])
        patterns.append(_seen((np.abs(spectra) ** 2).sum(1)))
    return np.concatenate(patterns) / PIXELS**2


def transmission(atoms: Atoms, slice_thickness: float) -> tuple[np.ndarray, float]:
    """Return exp(i sigma V) of every slice (slice, y, x) of a cell, band-limited, and the depth of all [Å]."""
    import abtem
    from abtem.core.energy import energy2sigma

    size, pixels = WINDOWS_IN_CELL * WINDOW, WINDOWS_IN_CELL * PIXELS
    depth = slice_thickness * (2 * math.ceil(np.abs(atoms.positions[:, 2]).max() / slice_thickness))
    placed = Atoms(
        atoms.numbers, atoms.positions + [size / 2, size / 2, depth / 2], cell=[size, size, depth], pbc=True
    )
    with abtem.config.set({"device": "cpu", "precision": "float32", "local_diagnostics.progress_bar": False}):
        fine = abtem.Potential(placed, gpts=FINER * pixels, slice_thickness=slice_thickness, projection="infinite")
        projected = np.asarray(fine.build(lazy=False).array).transpose(0, 2, 1)
    kept = np.r_[: pixels // 2, FINER * pixels - pixels // 2 : FINER * pixels]
    spectra = scipy.fft.fft2(projected)[:, kept][:, :, kept]
    phase = energy2sigma(ENERGY) * scipy.fft.ifft2(spectra).real / FINER**2
    band = _band(pixels, size)
    return scipy.fft.ifft2(scipy.fft.fft2(np.exp(1j * phase)) * band).astype(np.complex64), depth


def _band(pixels: int, size: float) -> np.ndarray:
    k = scipy.fft.fftfreq(pixels, size / pixels)
    return np.hypot(k[:, None], k[None, :]) < 2 / 3 * pixels / size / 2


def _propagator(distance: float) -> np.ndarray:
    ky, kx = frequencies()
    return np.exp(-1j * np.pi * WAVELENGTH * distance * (ky**2 + kx**2)) * _band(PIXELS, WINDOW)


def _aberrations(tilt: Tilt, above: float) -> np.ndarray:
    """Return exp(-i chi) in a plane that the beam passes `above` [Å] before the rotation axis."""
    ky, kx = frequencies()
    square, azimuth = ky**2 + kx**2, np.arctan2(ky, kx)
    length = tilt.C10 - above + tilt.C12 * np.cos(2 * (azimuth - math.radians(tilt.phi12)))
    return np.exp(-1j * np.pi * WAVELENGTH * length * square)


def _shifted(modes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the waves (pos, mode, y, x) of the modes in the middle of the window, moved by `shifts` [pixels]."""
    k = scipy.fft.fftfreq(PIXELS)
    y, x = (np.exp(-2j * np.pi * (shifts[:, axis, None] + PIXELS // 2) * k) for axis in (0, 1))
    waves = scipy.fft.ifft2(modes * (y[:, :, None] * x[:, None, :])[:, None]) * PIXELS
    return waves.astype(np.complex64)


def _windows(plane: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the windows (pos, y, x) of a plane about `places`, which count from its middle [pixels]."""
    offsets = np.arange(PIXELS) - PIXELS // 2 + len(plane) // 2
    rows, columns = ((places[:, axis, None] + offsets) % len(plane) for axis in (0, 1))
    return plane[rows[:, :, None], columns[:, None, :]]


def _ramps(shifts: np.ndarray) -> np.ndarray:
    """Return the factors (pos, y, x) of exit waves that move their patterns by (y, x) [pixels of the detector]."""
    along = (np.arange(PIXELS) - PIXELS // 2) / PIXELS
    y, x = (np.exp(2j * np.pi * shifts[:, axis, None] * along) for axis in (0, 1))
    return (y[:, :, None] * x[:, None, :]).astype(np.complex64)


def _seen(patterns: np.ndarray) -> np.ndarray:
    """Return the pixels of the detector and its margin, zero angle in the middle."""
    seen = np.arange(DETECTOR + 2 * MARGIN) - DETECTOR // 2 - MARGIN
    return patterns[:, seen][:, :, seen]

"""Patterns of one tilt, from the specimen in its pose and the probe at each position.

The atoms are rotated, and their potential is projected onto slices once, on a finer grid than the detector's. The
mixed-state probe then propagates through the window around every position, computed with the same functions
(`dptt.physics`) against which the reconstruction is tested. Electrons scattered beyond the detector are lost, as in a
microscope.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Complex, Float, Float64
from scipy.fft import next_fast_len
from torch import Tensor

from dptt.kernels import Exposures, diffraction_patterns
from dptt.physics.electron import interaction_constant
from dptt.physics.multislice import band_limit, fresnel_propagator, propagate
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission
from dptt.simulation.acquisition import Optics, Pose
from dptt.simulation.coherence import POWER_KEPT
from dptt.simulation.potential import Integration, enclosing_slab, project_slices
from dptt.simulation.random_numbers import random_stream
from dptt.simulation.specimen import Specimen

POTENTIAL_MARGIN = 8.0
"""[Å] Empty margin around the atoms: five times the spread of the widest Gaussian of any element (Fr, 1.6 Å)."""
NEGLIGIBLE = 1e-6
"""Fraction of the electrons that a slice may scatter and be left out, in large series. This changes a pattern of N
electrons by a chi² of 4e-6 N at most."""


@dataclass(frozen=True)
class MultisliceSettings:
    """Settings of the multislice calculation.

    Parameters
    ----------
    slice_thickness
        [Å].
    oversampling
        The wave has at least this many times the pixels of the detector along y and x, in the same window. None for
        as many as hold what is scattered from one edge of the bright disk to the other edge of the detector.
    band_limit
        Whether transmission and propagator are cut off at 2/3 of the Nyquist frequency, to prevent aliasing.
    integration
        How atoms are put into slices, see `potential.project_slices`.
    frozen_phonons
        Number of configurations to average; 0 smears the potential by the Debye-Waller factor instead.
    seed
        Seed of the frozen phonons.
    power_kept
        Minimum fraction of the power of a partially coherent probe in the modes that are computed; see `probe_modes`.
    cell
        Sides (y, x) [Å] of a periodic specimen; None for a specimen in vacuum.
    depth_range
        z' (entrance, exit) [Å] of the slices in every tilt; None to just enclose the atoms of each tilt.
    """

    slice_thickness: float = 1.0
    oversampling: float | None = None
    band_limit: bool = True
    integration: Integration = "projected"
    frozen_phonons: int = 0
    seed: int = 0
    power_kept: float = POWER_KEPT
    cell: tuple[float, float] | None = None
    depth_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.slice_thickness > 0:
            raise ValueError(f"slice_thickness is {self.slice_thickness}; expected a positive number of Å")
        if self.oversampling is not None and not self.oversampling >= 1:
            raise ValueError(f"oversampling is {self.oversampling}; expected 1 or more")
        if not 0 < self.power_kept <= 1:
            raise ValueError(f"power_kept is {self.power_kept}; expected more than 0, at most 1")
        if self.frozen_phonons < 0:
            raise ValueError(
                f"frozen_phonons is {self.frozen_phonons}; expected 0 or a positive number of configurations"
            )

    def wave_shape(self, optics: Optics) -> tuple[int, int]:
        """Return the pixels (y, x) of the wave: the oversampled detector, rounded up to a fast FFT length."""
        rows, columns = (
            next_fast_len(math.ceil(factor * n - 1e-9))
            for factor, n in zip(self._oversampling(optics), optics.detector_shape, strict=True)
        )
        sampling = (optics.window[0] / rows, optics.window[1] / columns)
        largest = 1e3 * optics.wavelength * min(0.5 / d for d in sampling) * (2 / 3 if self.band_limit else 1)
        if optics.semiangle_cutoff > largest:
            raise ValueError(
                f"a semiangle of {optics.semiangle_cutoff} mrad exceeds the {largest:.1f} mrad that the wave of "
                f"{rows} x {columns} pixels can hold; increase the largest angle of the detector or oversampling"
            )
        return rows, columns

    def _oversampling(self, optics: Optics) -> tuple[float, float]:
        """Return how far the wave reaches along (y, x), relative to the detector."""
        if self.oversampling is not None:
            return self.oversampling, self.oversampling
        margin = 1.5 if self.band_limit else 1.0
        y, x = (
            margin * (1 + optics.semiangle_cutoff / (1e3 * optics.wavelength * n / (2 * size)))
            for n, size in zip(optics.detector_shape, optics.window, strict=True)
        )
        return y, x


@dataclass(frozen=True)
class _WaveGrid:
    """The window of a wave: pixels (y, x), their size [Å], the wavelength [Å], and whether waves are band-limited."""

    shape: tuple[int, int]
    sampling: tuple[float, float]
    wavelength: float
    band_limited: bool


def expected_patterns(
    specimen: Specimen,
    pose: Pose,
    positions: Float64[np.ndarray, "pos 2"],
    *,
    modes: Complex[Tensor, "mode y x"],
    optics: Optics,
    settings: MultisliceSettings,
    tilt_index: int = 0,
    pattern_shifts: Float64[np.ndarray, "pos 2"] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the expected electrons per pixel (pos, ky, kx), float32, zero angle at n//2, in the order of the scan.

    They come in chunks; with frozen phonons all together, because every pattern is an average over configurations.

    Parameters
    ----------
    specimen, pose
        Atoms and their true pose.
    positions
        True positions of the probe as (y, x) [Å].
    modes
        Probe in the plane z' = 0 on the grid of the wave (`probe_modes`). Waves are computed on its device.
    optics, settings
        Window, detector and slices.
    tilt_index
        Number of the tilt; every tilt has its own frozen phonons.
    pattern_shifts
        By how much the pattern of every position is displaced along (y, x) [detector pixels]; None for not at all.
    progress
        Called with the number of patterns done. With frozen phonons, one configuration counts as part of a pattern.
    """
    tilted = specimen.tilted(pose.euler_angles, pose.translation)
    configurations = max(settings.frozen_phonons, 1)
    chunks = partial(_patterns, pattern_shifts=pattern_shifts, modes=modes, optics=optics, settings=settings)

    def report(number: int, done: int) -> None:
        if progress:
            progress((number * len(positions) + done) // configurations)

    if not settings.frozen_phonons:
        done = 0
        for patterns in chunks(tilted, positions):
            yield patterns
            done += len(patterns)
            report(0, done)
        return
    total = np.zeros((len(positions), *optics.detector_shape), dtype=np.float32)
    for number in range(configurations):
        atoms = tilted.vibrating(random_stream("frozen phonons", settings.seed, tilt_index, number))
        start = 0
        for patterns in chunks(atoms, positions):
            total[start : start + len(patterns)] += patterns
            start += len(patterns)
            report(number, start)
    total /= configurations
    yield total


def _patterns(
    atoms: Specimen,
    positions: Float64[np.ndarray, "pos 2"],
    *,
    pattern_shifts: Float64[np.ndarray, "pos 2"] | None,
    modes: Complex[Tensor, "mode y x"],
    optics: Optics,
    settings: MultisliceSettings,
) -> Iterator[np.ndarray]:
    """Yield the patterns of one configuration of atoms, one chunk of positions after another."""
    shape, device = (modes.shape[-2], modes.shape[-1]), modes.device
    sampling = (optics.window[0] / shape[0], optics.window[1] / shape[1])
    grid = _WaveGrid(shape, sampling, optics.wavelength, settings.band_limit)
    num_slices, entrance = _slab(atoms, settings)
    probe = propagate(modes, _propagator(grid, entrance + settings.slice_thickness / 2).to(device))
    image_shape = _image_shape(atoms, positions, grid, settings.cell)
    slices = project_slices(
        atoms,
        shape=image_shape,
        sampling=grid.sampling,
        num_slices=num_slices,
        slice_thickness=settings.slice_thickness,
        entrance=entrance,
        integration=settings.integration,
        device=device,
    )
    transmissions = _transmissions(slices, grid, interaction_constant(optics.energy))
    corners, shifts = split_positions(torch.from_numpy(positions).to(device), grid.sampling, image_shape, grid.shape)
    exposures = Exposures(
        transmission=transmissions,
        probe=probe.to(torch.complex64),
        corners=corners,
        shifts=shifts,
        propagator=lambda number: _propagator(grid, number * settings.slice_thickness).to(device),
        band=band_limit(grid.shape, grid.sampling) if grid.band_limited else torch.ones(grid.shape, dtype=torch.bool),
        detector_shape=optics.detector_shape,
        pattern_shifts=None if pattern_shifts is None else torch.from_numpy(pattern_shifts).to(device, torch.float32),
        negligible=NEGLIGIBLE,
    )
    for patterns in diffraction_patterns(exposures):
        yield patterns.cpu().numpy()


def _slab(atoms: Specimen, settings: MultisliceSettings) -> tuple[int, float]:
    """Return the number of slices and the z' [Å] at which the first begins."""
    if settings.depth_range is None:
        # the outer slices hold all potential beyond them
        margin = {"projected": 0.0, "linear": settings.slice_thickness / 2, "finite": 1.0}[settings.integration]
        return enclosing_slab(atoms, settings.slice_thickness, margin)
    entrance, exit_ = settings.depth_range
    num_slices = round((exit_ - entrance) / settings.slice_thickness)
    low, high = atoms.positions[:, 0].min(), atoms.positions[:, 0].max()
    if num_slices < 1 or abs(num_slices * settings.slice_thickness - (exit_ - entrance)) > 1e-6:
        raise ValueError(
            f"depth_range is {settings.depth_range} Å; expected a whole number of slices of "
            f"{settings.slice_thickness} Å. Change depth_range or slice_thickness."
        )
    if low < entrance or high > exit_:
        raise ValueError(
            f"atoms lie at z' from {low:.2f} to {high:.2f} Å, outside depth_range {settings.depth_range} Å. Enlarge "
            "depth_range, or leave it out."
        )
    return num_slices, entrance


def _propagator(grid: _WaveGrid, distance: float) -> Complex[Tensor, "y x"]:
    propagator = fresnel_propagator(grid.shape, grid.sampling, wavelength=grid.wavelength, distance=distance)
    return propagator * band_limit(grid.shape, grid.sampling) if grid.band_limited else propagator


def _transmissions(slices: Float[Tensor, "slice y x"], grid: _WaveGrid, sigma: float) -> Complex[Tensor, "slice y x"]:
    """Return exp(i sigma V) of every slice, cut off at 2/3 of the Nyquist frequency if the grid is band-limited."""
    transmissions = transmission(slices, sigma)
    if grid.band_limited:
        mask = band_limit((slices.shape[-2], slices.shape[-1]), grid.sampling).to(slices.device)
        for plane in transmissions:  # slice by slice, so that no second stack is in memory
            plane.copy_(propagate(plane, mask.to(plane.dtype)))
    return transmissions


def _image_shape(
    atoms: Specimen, positions: np.ndarray, grid: _WaveGrid, cell: tuple[float, float] | None
) -> tuple[int, int]:
    """Return the pixels (y, x) of the slices: the periodic cell, or all windows and all atoms with a margin."""
    shape = []
    for axis, name in enumerate("yx"):
        pixel, window = grid.sampling[axis], grid.shape[axis]
        if cell is not None:
            pixels = round(cell[axis] / pixel)
            if abs(pixels * pixel - cell[axis]) > 1e-4 * pixel or pixels < window:
                raise ValueError(
                    f"the cell of {cell[axis]} Å along {name} is {cell[axis] / pixel:.4f} pixels of {pixel:.5f} Å; "
                    f"expected a whole number, at least the {window} of the window"
                )
            shape.append(pixels)
            continue
        scanned = np.abs(positions[:, axis]).max() / pixel + window / 2 + 1
        occupied = (np.abs(atoms.positions[:, axis + 1]).max() + POTENTIAL_MARGIN) / pixel
        shape.append(next_fast_len(2 * math.ceil(max(scanned, occupied))))
    return shape[0], shape[1]

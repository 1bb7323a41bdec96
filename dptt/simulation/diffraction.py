"""One tilt: a specimen in its pose, the probe at each position, the patterns.

The atoms are turned, their potential is cut into slices once on a grid finer than the detector's, and the mixed-state
probe is carried through the window around every position by the same functions that a reconstruction is tested
against. Electrons scattered beyond the detector are lost, as in a microscope.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Float64
from scipy.fft import next_fast_len
from torch import Tensor

from dptt.physics.electron import interaction_constant
from dptt.physics.multislice import band_limit, diffraction_intensity, fresnel_propagator, multislice, propagate
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.potential import transmission
from dptt.physics.probe import shift_probe
from dptt.simulation.acquisition import Optics, Pose, random_stream
from dptt.simulation.coherence import POWER_KEPT
from dptt.simulation.potential import Integration, enclosing_slab, project_slices
from dptt.simulation.specimen import Specimen

POTENTIAL_MARGIN = 8.0
"""[Å] Kept free around the atoms: five times the spread of the widest Gaussian of any element (Fr, 1.6 Å)."""
CHUNK_BYTES = 64 * 2**20
"""Most memory for the slices and waves of positions computed together."""


@dataclass(frozen=True)
class MultisliceSettings:
    """How finely the wave is computed.

    Parameters
    ----------
    slice_thickness
        [Å].
    oversampling
        The wave has at least this many times the pixels of the detector, in the same window.
    band_limit
        Whether transmission and propagator end at 2/3 of the Nyquist frequency, so that nothing wraps round.
    integration
        "projected": an atom acts in the slice of its centre; "finite": in every slice by its share.
    frozen_phonons
        Number of configurations averaged; 0 smears the potential by the Debye-Waller factor instead.
    seed
        Of the frozen phonons.
    power_kept
        Least part of the power of a partially coherent probe in the modes that are computed; see `probe_modes`.
    cell
        Sides (y, x) [Å] of a periodic specimen. Left out, the specimen stands alone in vacuum.
    depth_range
        z' (entrance, exit) [Å] of the slices in every tilt. Left out, the atoms of each tilt are just enclosed.
    """

    slice_thickness: float = 1.0
    oversampling: float = 2.0
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
        if not self.oversampling >= 1:
            raise ValueError(f"oversampling is {self.oversampling}; expected 1 or more")
        if not 0 < self.power_kept <= 1:
            raise ValueError(f"power_kept is {self.power_kept}; expected more than 0, at most 1")
        if self.frozen_phonons < 0:
            raise ValueError(f"frozen_phonons is {self.frozen_phonons}; expected 0 or a number of configurations")

    def wave_shape(self, optics: Optics) -> tuple[int, int]:
        """Return the pixels (y, x) of the wave: the oversampled detector, rounded up to a fast FFT length."""
        rows, columns = (next_fast_len(math.ceil(self.oversampling * n - 1e-9)) for n in optics.detector_shape)
        sampling = (optics.window[0] / rows, optics.window[1] / columns)
        largest = 1e3 * optics.wavelength * min(0.5 / d for d in sampling) * (2 / 3 if self.band_limit else 1)
        if optics.semiangle_cutoff > largest:
            raise ValueError(
                f"a semiangle of {optics.semiangle_cutoff} mrad exceeds the {largest:.1f} mrad that the wave of "
                f"{rows} x {columns} pixels can hold; enlarge the detector or oversampling"
            )
        return rows, columns


def simulate_tilt(
    specimen: Specimen,
    pose: Pose,
    positions: Float64[np.ndarray, "pos 2"],
    modes: Complex[Tensor, "mode y x"],
    optics: Optics,
    settings: MultisliceSettings,
    *,
    tilt_index: int = 0,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the expected electrons per pixel (pos, ky, kx), float32, zero angle at n//2.

    Parameters
    ----------
    specimen, pose
        Atoms and their true pose.
    positions
        True positions of the probe as (y, x) [Å].
    modes
        The probe in the plane z' = 0 on the wave's grid (`probe_modes`); its device does the work.
    optics, settings
        The window, the detector, the slices.
    tilt_index
        Tells the frozen phonons of one tilt from those of another.
    progress
        Called with the number of patterns done, counting each in parts if frozen phonons are averaged.
    """
    tilted = specimen.tilted(pose.euler_angles, pose.translation)
    configurations = max(settings.frozen_phonons, 1)
    total = np.zeros((len(positions), *optics.detector_shape), dtype=np.float32)
    for number in range(configurations):
        atoms = tilted
        if settings.frozen_phonons:
            atoms = tilted.vibrating(random_stream("frozen phonons", settings.seed, tilt_index, number))
        start = 0
        for patterns in _patterns(atoms, positions, modes, optics, settings):
            total[start : start + len(patterns)] += patterns
            start += len(patterns)
            if progress:
                progress((number * len(positions) + start) // configurations)
    return total / configurations


def _patterns(
    atoms: Specimen,
    positions: Float64[np.ndarray, "pos 2"],
    modes: Complex[Tensor, "mode y x"],
    optics: Optics,
    settings: MultisliceSettings,
) -> Iterator[np.ndarray]:
    """Yield patterns of one configuration of atoms for one chunk of positions after another."""
    window_shape, device = (modes.shape[-2], modes.shape[-1]), modes.device
    sampling = (optics.window[0] / window_shape[0], optics.window[1] / window_shape[1])
    num_slices, entrance = _slab(atoms, settings)
    first_slice = entrance + settings.slice_thickness / 2
    onto_slices = _propagator(window_shape, sampling, optics, first_slice, settings).to(device)
    between = _propagator(window_shape, sampling, optics, settings.slice_thickness, settings).to(device)
    probe = propagate(modes, onto_slices).to(torch.complex64)
    image_shape = _image_shape(atoms, positions, window_shape, sampling, settings.cell)
    slices = project_slices(
        atoms,
        shape=image_shape,
        sampling=sampling,
        num_slices=num_slices,
        slice_thickness=settings.slice_thickness,
        entrance=entrance,
        integration=settings.integration,
        device=device,
    )
    transmitted = _transmission(slices, sampling, interaction_constant(optics.energy), settings.band_limit)
    corners, shifts = split_positions(torch.from_numpy(positions).to(device), sampling, image_shape, window_shape)
    bytes_each = 8 * math.prod(window_shape) * (num_slices + 4 * len(modes))
    for chunk in torch.arange(len(positions)).split(max(1, CHUNK_BYTES // bytes_each)):
        shifted = shift_probe(probe, shifts[chunk, None, 0], shifts[chunk, None, 1])
        patches = extract_patches(transmitted, corners[chunk], window_shape)
        intensity = diffraction_intensity(multislice(shifted, patches, between.to(torch.complex64)))
        yield _record(intensity, optics.detector_shape).cpu().numpy()


def _slab(atoms: Specimen, settings: MultisliceSettings) -> tuple[int, float]:
    """Return the number of slices and the z' [Å] where they begin."""
    if settings.depth_range is None:
        margin = 1.0 if settings.integration == "finite" else 0.0  # what lies further out joins the outer slices
        return enclosing_slab(atoms, settings.slice_thickness, margin)
    entrance, exit_ = settings.depth_range
    num_slices = round((exit_ - entrance) / settings.slice_thickness)
    low, high = atoms.positions[:, 0].min(), atoms.positions[:, 0].max()
    if num_slices < 1 or abs(num_slices * settings.slice_thickness - (exit_ - entrance)) > 1e-6:
        raise ValueError(
            f"depth_range {settings.depth_range} Å is not a whole number of slices of {settings.slice_thickness} Å"
        )
    if low < entrance or high > exit_:
        raise ValueError(
            f"atoms lie at z' from {low:.2f} to {high:.2f} Å, outside depth_range {settings.depth_range} Å. Enlarge "
            "it, or leave it out."
        )
    return num_slices, entrance


def _propagator(
    shape: tuple[int, int],
    sampling: tuple[float, float],
    optics: Optics,
    distance: float,
    settings: MultisliceSettings,
) -> Complex[Tensor, "y x"]:
    propagator = fresnel_propagator(shape, sampling, wavelength=optics.wavelength, distance=distance)
    return propagator * band_limit(shape, sampling) if settings.band_limit else propagator


def _transmission(
    slices: Float[Tensor, "slice y x"], sampling: tuple[float, float], sigma: float, limited: bool
) -> Complex[Tensor, "slice y x"]:
    """Return exp(i sigma V) of every slice, at most 2/3 of the Nyquist frequency if `limited`."""
    transmitted = transmission(slices, sigma)
    if limited:
        mask = band_limit((slices.shape[-2], slices.shape[-1]), sampling).to(slices.device)
        for one in transmitted:  # slice by slice, so that no second stack is in memory
            one.copy_(propagate(one, mask.to(one.dtype)))
    return transmitted


def _image_shape(
    atoms: Specimen,
    positions: np.ndarray,
    window_shape: tuple[int, int],
    sampling: tuple[float, float],
    cell: tuple[float, float] | None,
) -> tuple[int, int]:
    """Return the pixels (y, x) of the slices: the periodic cell, or all windows and all atoms with a margin."""
    shape = []
    for axis, name in enumerate("yx"):
        pixel, window = sampling[axis], window_shape[axis]
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
        filled = (np.abs(atoms.positions[:, axis + 1]).max() + POTENTIAL_MARGIN) / pixel
        shape.append(next_fast_len(2 * math.ceil(max(scanned, filled))))
    return shape[0], shape[1]


def _record(intensity: Float[Tensor, "pos y x"], detector_shape: tuple[int, int]) -> Float[Tensor, "pos ky kx"]:
    """Return the pixels of the detector out of a far field in corner order, zero angle at n//2."""
    centred = torch.fft.fftshift(intensity, dim=(-2, -1))
    first_y, first_x = (n // 2 - d // 2 for n, d in zip(intensity.shape[-2:], detector_shape, strict=True))
    return centred[:, first_y : first_y + detector_shape[0], first_x : first_x + detector_shape[1]]

"""The whole forward model in the paper's order: the reference that every fast path is tested against.

`model_intensity` is [P] eq. 14-15, differentiable by autograd in the volume, the probe, the scan positions and the
pose. The reconstruction itself runs the same equations through `kernels`, whose gradients are tested against these.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from dptt.physics.electron import interaction_constant, wavelength
from dptt.physics.multislice import diffraction_intensity, fresnel_propagator, multislice
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.potential import transmission
from dptt.physics.probe import detector_shift, resample_probe, shift_probe
from dptt.physics.resampling import coarsen_slices, refine_slices
from dptt.physics.rotation import bin_slices, rotate_volume, sampling_map


@dataclass(frozen=True)
class Geometry:
    """The grids of volume and detector, the slicing and the beam energy, common to all tilts."""

    energy: float
    """Beam energy [eV]."""
    volume_shape: tuple[int, int, int]
    """Voxels (z, y, x)."""
    voxel_size: tuple[float, float, float]
    """(z, y, x) [Å]; y and x are also the pixel of the waves, unless `pixels` says otherwise."""
    window_shape: tuple[int, int]
    """Pixels (y, x) of probe and pattern."""
    num_slices: int
    """Slices along the beam; must divide the planes of the volume."""
    periodic: bool = False
    """Whether the specimen repeats in y and x with the volume."""
    centre_depth: float = 0.0
    """Depth [Å] of voxel n//2 behind the plane of the rotation axis, to which the probe's aberrations refer."""
    pixels: tuple[int, int] | None = None
    """Pixels (y, x) of the slices that the waves pass through, as wide as the volume, but finer: room for waves
    scattered beyond the detector. None for the voxels of the volume."""
    specimen_thickness: float | None = None
    """Depth [Å], about the plane of the rotation axis, of a specimen that continues beyond the scan; the rest of the
    volume is vacuum. None for a specimen of any shape."""

    def __post_init__(self) -> None:
        if self.volume_shape[0] % self.num_slices:
            raise ValueError(f"{self.volume_shape[0]} planes cannot be cut into {self.num_slices} equal slices")
        axes = zip(self.window_shape, self.volume_shape[1:], self.image_shape, strict=True)
        if any(window * voxels % pixels for window, voxels, pixels in axes):
            raise ValueError(
                f"a window of {self.window_shape} pixels (y, x) on slices of {self.image_shape} is no whole number "
                f"of the {self.volume_shape[1:]} voxels of the volume"
            )

    @property
    def wavelength(self) -> float:
        """Electron wavelength [Å]."""
        return wavelength(self.energy)

    @property
    def sigma(self) -> float:
        """Interaction constant [rad/(V Å)]."""
        return interaction_constant(self.energy)

    @property
    def sampling(self) -> tuple[float, float]:
        """Pixel (y, x) of the waves [Å]."""
        if self.pixels is None:
            return self.voxel_size[1:]
        (_, ny, nx), (_, dy, dx) = self.volume_shape, self.voxel_size
        return dy * ny / self.pixels[0], dx * nx / self.pixels[1]

    @property
    def pixels_per_voxel(self) -> Float[Tensor, "2"]:
        """How many pixels (y, x) of the waves are as long as a voxel."""
        axes = zip(self.image_shape, self.volume_shape[1:], strict=True)
        return torch.tensor([pixels / voxels for pixels, voxels in axes], dtype=torch.float64)

    @property
    def vacuum_planes(self) -> tuple[slice, ...]:
        """Planes of the volume in front of and behind the specimen; none if its thickness is not given."""
        if self.specimen_thickness is None:
            return ()
        planes, middle = self.volume_shape[0], self.volume_shape[0] // 2
        half = math.ceil(self.specimen_thickness / 2 / self.voxel_size[0])
        return slice(0, max(0, middle - half)), slice(min(planes, middle + half + 1), planes)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Pixels (y, x) of the slices that the waves pass through."""
        return self.volume_shape[1:] if self.pixels is None else self.pixels

    @property
    def on_voxels(self) -> "Geometry":
        """The same volume with waves on its voxels: what the voxels hold of the window, and no more."""
        if self.pixels is None:
            return self
        axes = zip(self.window_shape, self.volume_shape[1:], self.pixels, strict=True)
        y, x = (window * voxels // pixels for window, voxels, pixels in axes)
        return replace(self, window_shape=(y, x), pixels=None)

    def probe_on_voxels(self, probe: Complex[Tensor, "mode y x"]) -> Complex[Tensor, "mode v u"]:
        """Return a probe on the window of `on_voxels`: without the angles beyond the voxels' Nyquist frequency."""
        return probe if self.pixels is None else resample_probe(probe, self.on_voxels.window_shape)

    def refined(self, slices: Inexact[Tensor, "slice y x"]) -> Inexact[Tensor, "slice v u"]:
        """Return slices of the volume on the pixels of the waves."""
        return slices if self.pixels is None else refine_slices(slices, self.pixels)

    def coarsened(self, gradient: Inexact[Tensor, "slice v u"]) -> Inexact[Tensor, "slice y x"]:
        """Return the exact adjoint of `refined`."""
        return gradient if self.pixels is None else coarsen_slices(gradient, self.volume_shape[1:])

    @property
    def slice_thickness(self) -> float:
        """Distance between slices [Å]."""
        return self.volume_shape[0] // self.num_slices * self.voxel_size[0]

    @property
    def first_slice_depth(self) -> float:
        """Depth [Å] of the middle of the first slice; the probe's aberrations refer to z' = 0."""
        planes = self.volume_shape[0] // self.num_slices
        return ((planes - 1) / 2 - self.volume_shape[0] // 2) * self.voxel_size[0] + self.centre_depth

    def propagator(self, distance: float, dtype: torch.dtype) -> Complex[Tensor, "y x"]:
        """Fresnel propagator over `distance` [Å] on the probe window."""
        return fresnel_propagator(
            self.window_shape, self.sampling, wavelength=self.wavelength, distance=distance, dtype=dtype
        )


def tilted_slices(
    volume: Inexact[Tensor, "z Y X"],
    euler_angles: Float[Tensor, "3"],
    translation: Float[Tensor, "2"],
    geometry: Geometry,
) -> Inexact[Tensor, "slice Y X"]:
    """Return the projected potential B_b A_{Theta,tau} V of every slice [V Å] ([P] eq. 12, 14)."""
    map_ = sampling_map(euler_angles, translation, geometry.voxel_size)
    return bin_slices(rotate_volume(volume, map_), geometry.num_slices, geometry.voxel_size[0])


def exit_waves(
    volume: Inexact[Tensor, "z Y X"],
    probe: Complex[Tensor, "mode y x"],
    positions: Float[Tensor, "pos 2"],
    euler_angles: Float[Tensor, "3"],
    translation: Float[Tensor, "2"],
    geometry: Geometry,
    pattern_shifts: Float[Tensor, "pos 2"] | None = None,
) -> Complex[Tensor, "pos mode y x"]:
    """Return M_psi(exp(i sigma B A V)) at every scan position ([P] eq. 14 before the far field).

    `probe` is the wave in front of the first slice; positions and translation are in Å, angles in degrees, and
    `pattern_shifts`, by which patterns are displaced on the detector, in its pixels (y, x).
    """
    slices = geometry.refined(tilted_slices(volume, euler_angles, translation, geometry))
    transmitted = transmission(slices, geometry.sigma)
    corners, shifts = split_positions(positions, geometry.sampling, geometry.image_shape, geometry.window_shape)
    shifted = shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1])
    patches = extract_patches(transmitted, corners, geometry.window_shape)
    waves = multislice(shifted, patches, geometry.propagator(geometry.slice_thickness, probe.dtype))
    if pattern_shifts is None:
        return waves
    along_y, along_x = pattern_shifts.unbind(1)
    return waves * detector_shift(geometry.window_shape, along_y, along_x)[:, None].to(waves.dtype)


def model_intensity(
    volume: Inexact[Tensor, "z Y X"],
    probe: Complex[Tensor, "mode y x"],
    positions: Float[Tensor, "pos 2"],
    euler_angles: Float[Tensor, "3"],
    translation: Float[Tensor, "2"],
    geometry: Geometry,
    pattern_shifts: Float[Tensor, "pos 2"] | None = None,
) -> Float[Tensor, "pos y x"]:
    """Return I = sum_modes |F M_psi(exp(i sigma B A V))|², electrons per pixel, corner order ([P] eq. 14-15)."""
    waves = exit_waves(volume, probe, positions, euler_angles, translation, geometry, pattern_shifts=pattern_shifts)
    return diffraction_intensity(waves)

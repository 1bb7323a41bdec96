r"""Projection of a volume by one tilt with any Euler angles, at the speed of a single-axis tilt.

[P] projects by rotating the volume trilinearly, with 8 taps per voxel. Joint alignment projects and back-projects
every tilt about a hundred times, so here the pose is decomposed, exactly:

    Ry(theta) Rx(phi) (x, y, z):   u = y - z tan(phi)                                 a shear of the volume along y
                                   s = x cos(theta) + z sin(theta) / cos(phi)         the same for every u
                                   x'' = s + u sin(theta) sin(phi),  y'' = u cos(phi)  an affine map of the image

while psi and tau move the image only, as r' = Rz(psi) r'' + tau. The shear is a phase ramp in the Fourier space of y
(none at phi = 0), the middle step is one sparse matrix for all u, and the affine maps are applied once to the
*measured* image, see `resampling`. Images in the frame (u, s) are called aligned.

The volume is a sum of cubic B-splines. Their projection is the same in all directions, so no tilt shows a sharper
specimen than another, and it is smooth, so derivatives with respect to the pose have no kinks. Coordinates are in
voxels relative to voxel n//2. An image is a sum over voxels; times the voxel size it is in V Å.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
from jaxtyping import Complex, Float

SMALLEST_SHEAR = 1e-9
"""[voxels per voxel] below which the ramp is left out."""


@dataclass(frozen=True)
class TiltProjector:
    """One tilt's operator between coefficients (z, x, y) and aligned images (y, x)."""

    angles: tuple[float, float]
    """(phi, theta) [radians]."""
    shape: tuple[int, int, int]
    """Voxels (z, y, x)."""
    forward: scipy.sparse.csr_array
    """(x, z·x): the projection of every column of voxels."""
    adjoint: scipy.sparse.csr_array
    """(z·x, x)"""
    ramp: Complex[np.ndarray, "z 1 k"] | None
    """Phase ramp of the shear, None without."""

    def project(self, spectrum: Complex[np.ndarray, "z x k"]) -> Float[np.ndarray, "y x"]:
        """Return the aligned image of coefficients, from their Fourier transform along y."""
        if self.ramp is not None:
            spectrum = spectrum * self.ramp
        flat = np.ascontiguousarray(spectrum).reshape(-1, spectrum.shape[2])
        projection = (self.forward @ flat.view(flat.real.dtype)).view(flat.dtype)
        return np.ascontiguousarray(scipy.fft.irfft(projection, self.shape[1], axis=1).T)

    def backproject(self, image: Float[np.ndarray, "y x"]) -> Complex[np.ndarray, "z x k"]:
        """Return the exact adjoint of `project` without the transform along y, which follows the sum over tilts."""
        rows = scipy.fft.rfft(np.ascontiguousarray(image.T), axis=1)
        smeared = (self.adjoint @ rows.view(image.dtype)).view(rows.dtype)
        smeared = smeared.reshape(self.shape[0], self.shape[2], -1)
        return smeared if self.ramp is None else smeared * self.ramp.conj()

    def height(self) -> Float[np.ndarray, "z x 1"]:
        """Return z'' of every column of voxels at u = 0 [voxels]; z'' = height + u cos(theta) sin(phi)."""
        phi, theta = self.angles
        z, x = _centred(self.shape[0])[:, None, None], _centred(self.shape[2])[None, :, None]
        return -np.sin(theta) * x + np.cos(theta) / np.cos(phi) * z


def tilt_projector(
    phi: float, theta: float, shape: tuple[int, int, int], dtype: type[np.floating] = np.float32
) -> TiltProjector:
    """Return the projector of a tilt by `phi` and `theta` [degrees] for a volume of `shape` (z, y, x)."""
    phi, theta = np.deg2rad(phi), np.deg2rad(theta)
    depth, height, width = shape
    z, x = _centred(depth)[:, None], _centred(width)[None, :]
    position = (np.cos(theta) * x + np.sin(theta) / np.cos(phi) * z).ravel() + width // 2
    below = np.floor(position).astype(np.int32)
    taps, weights = below[:, None] + np.arange(-1, 3, dtype=np.int32), cubic_b_spline(position - below)
    weights[(taps < 0) | (taps >= width)] = 0
    ends = np.arange(0, taps.size + 1, 4, dtype=np.int32)
    adjoint = scipy.sparse.csr_array(
        (weights.astype(dtype).ravel(), taps.clip(0, width - 1).ravel(), ends), shape=(depth * width, width)
    )
    ramp = None
    if abs(np.tan(phi)) > SMALLEST_SHEAR:
        frequency = scipy.fft.rfftfreq(height)
        ramp = np.exp(2j * np.pi * np.tan(phi) * _centred(depth)[:, None, None] * frequency)
        ramp = ramp.astype(np.result_type(dtype, np.complex64))
    return TiltProjector((phi, theta), shape, adjoint.T.tocsr(), adjoint, ramp)


def cubic_b_spline(fraction: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 4"]:
    """Return the weights of the grid points at -1, 0, 1 and 2 for points at `fraction` in [0, 1)."""
    t = fraction[:, None]
    return np.concatenate([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6


def to_spectrum(coefficients: Float[np.ndarray, "z x y"]) -> Complex[np.ndarray, "z x k"]:
    """Return the Fourier transform along y."""
    return scipy.fft.rfft(coefficients, axis=2)


def from_spectrum(spectrum: Complex[np.ndarray, "z x k"], height: int) -> Float[np.ndarray, "z x y"]:
    """Return the inverse Fourier transform along y, to `height` rows."""
    return scipy.fft.irfft(spectrum, height, axis=2)


def sampled(coefficients: Float[np.ndarray, "z x y"]) -> Float[np.ndarray, "z y x"]:
    """Return the volume on its voxels: the coefficients' B-splines summed in z and x."""
    volume = coefficients
    for axis in (0, 1):
        volume = scipy.ndimage.convolve1d(volume, np.array([1, 4, 1]) / 6, axis, mode="constant")
    return np.ascontiguousarray(volume.transpose(0, 2, 1))


def _centred(count: int) -> Float[np.ndarray, " n"]:
    return np.arange(count, dtype=np.float64) - count // 2

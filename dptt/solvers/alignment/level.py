"""One binning of the images: volumes and equations at given poses, each rank doing its share of the tilts."""

import numpy as np
import torch
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses
from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.solvers.alignment.pose_update import PoseEquations, pose_equations
from dptt.solvers.alignment.projector import TiltProjector, tilt_projector, to_spectrum
from dptt.solvers.alignment.reconstruction import largest_eigenvalue, reconstruct_coefficients
from dptt.solvers.alignment.resampling import Images, aligned_image
from dptt.solvers.alignment.settings import AlignmentSettings

Tilt = tuple[TiltProjector, np.ndarray, np.ndarray]
"""Operator, aligned image and measured weights."""


class Level:
    """Images of one pixel size, and the volume's grid that belongs to it.

    The volume is as high (y) and as wide (x) as the images in the frame of the tilt axis, as deep as wide, with cubic
    voxels and an odd number of them, so that turning it about its middle keeps it on its grid.
    """

    def __init__(
        self, images: Images, nominal: TiltPoses, settings: AlignmentSettings, communicator: Communicator
    ) -> None:
        self.images, self.settings, self.communicator = images, settings, communicator
        self.voxel_size = min(images.pixel_size)
        height, width = np.array(images.values.shape[1:]) * images.pixel_size
        psi = np.deg2rad(np.median(nominal.euler_angles[:, 2]))
        across = abs(width * np.cos(psi)) + abs(height * np.sin(psi))
        along = abs(width * np.sin(psi)) + abs(height * np.cos(psi))
        ny, nx = (int(np.ceil(length / self.voxel_size - 1e-6)) // 2 * 2 + 1 for length in (along, across))
        self.shape = (nx, ny, nx)
        self._eigenvalue: float | None = None

    def owned(self, count: int) -> range:
        """Return the tilts of this rank."""
        return block_range(count, self.communicator.size, self.communicator.rank)

    def aligned(self, poses: TiltPoses, tilt: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image and weights of a tilt in the frame of the tilt axis."""
        return aligned_image(
            self.images, tilt, poses.euler_angles[tilt], poses.translations[tilt], self.shape[1:], self.voxel_size
        )

    def stack(self, poses: TiltPoses) -> tuple[np.ndarray, np.ndarray]:
        """Return aligned images and weights of all tilts (tilt, y, x)."""
        pairs = [self.aligned(poses, tilt) for tilt in range(len(poses.translations))]
        return np.stack([image for image, _ in pairs]), np.stack([weights for _, weights in pairs])

    def volume(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"], iterations: int) -> np.ndarray:
        """Return the coefficients (z, x, y) of the volume of all tilts."""
        share = self._share(poses)
        return self._volume(share, weights, list(share), iterations)

    def cross_equations(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> list[PoseEquations]:
        """Return the equations of every tilt against the volume of the tilts of the other folds, on every rank."""
        folds = self.settings.folds
        return self._equations(poses, weights, folds, self.settings.inner_iterations)

    def joint_equations(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> list[PoseEquations]:
        """Return the equations of every tilt against the volume of all tilts, reconstructed further."""
        return self._equations(poses, weights, 1, self.settings.joint_iterations)

    def _equations(
        self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"], folds: int, iterations: int
    ) -> list[PoseEquations]:
        share = self._share(poses)
        found: dict[int, PoseEquations] = {}
        for fold in range(folds):
            members = [tilt for tilt in share if tilt % folds == fold]
            others = [tilt for tilt in share if folds == 1 or tilt % folds != fold]
            spectrum = to_spectrum(self._volume(share, weights, others, iterations))
            for tilt in members:
                projector, image, measured = share[tilt]
                found[tilt] = pose_equations(projector, spectrum, image, measured)
        return self._gathered(found, len(poses.euler_angles))

    def _share(self, poses: TiltPoses) -> dict[int, Tilt]:
        return {
            tilt: (
                tilt_projector(poses.euler_angles[tilt, 0], poses.euler_angles[tilt, 1], self.shape),
                *self.aligned(poses, tilt),
            )
            for tilt in self.owned(len(poses.euler_angles))
        }

    def _volume(self, share: dict[int, Tilt], weights: np.ndarray, tilts: list[int], iterations: int) -> np.ndarray:
        projectors, images = [share[t][0] for t in tilts], [share[t][1] for t in tilts]
        measured = [share[t][2] * np.float32(np.sqrt(weights[t])) for t in tilts]
        if self._eigenvalue is None:  # leaving tilts out only lowers it
            everything = [share[t][2] for t in share]
            self._eigenvalue = largest_eigenvalue(
                [share[t][0] for t in share], everything, self.shape, self.communicator, self.settings.softness
            )
        return reconstruct_coefficients(
            projectors,
            images,
            measured,
            self.shape,
            self.communicator,
            iterations=iterations,
            nonnegative=self.settings.nonnegative,
            softness=self.settings.softness,
            eigenvalue=self._eigenvalue,
        )

    def _gathered(self, found: dict[int, PoseEquations], count: int) -> list[PoseEquations]:
        """Give every rank the equations of all tilts."""
        table = np.zeros((count, 7 * 7 + 7 + 2))
        for tilt, one in found.items():
            table[tilt] = [*one.hessian.ravel(), *one.gradient, one.misfit, one.gain]
        table = self.communicator.sum_(torch.from_numpy(table)).numpy()
        return [PoseEquations(row[:49].reshape(7, 7), row[49:56], float(row[56]), float(row[57])) for row in table]

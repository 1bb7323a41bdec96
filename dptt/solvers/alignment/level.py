"""One binning of the images: volumes and equations at any poses, every rank working on its share of the tilts."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses
from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.solvers.alignment.pose_update import PoseEquations, pose_equations
from dptt.solvers.alignment.projector import tilt_projector, to_spectrum
from dptt.solvers.alignment.reconstruction import AlignedTilt, largest_eigenvalue, reconstruct_coefficients
from dptt.solvers.alignment.resampling import Images, aligned_image, binned, of_all_tilts
from dptt.solvers.alignment.settings import AlignmentSettings


class Level:
    """Images of one binning and the grid of the volume that belongs to them.

    The volume is as high (y) and as wide (x) as the images in the frame of the tilt axis, and as deep as the settings
    say or as wide. Voxels are cubic. Their number is odd along every axis: the grid is symmetric about the rotation
    centre.
    """

    def __init__(
        self,
        images: Images,
        nominal: TiltPoses,
        *,
        binning: int,
        settings: AlignmentSettings,
        communicator: Communicator,
    ) -> None:
        self.images, self.nominal, self.binning = binned(images, binning), nominal, binning
        self.settings, self.communicator = settings, communicator
        self.voxel_size = min(self.images.pixel_size)
        height, width = np.array(self.images.values.shape[1:]) * self.images.pixel_size
        psi = np.deg2rad(np.median(nominal.euler_angles[:, 2]))
        across = abs(width * np.cos(psi)) + abs(height * np.sin(psi))
        along = abs(width * np.sin(psi)) + abs(height * np.cos(psi))
        deep = across if settings.depth is None else min(settings.depth, across)
        nz, ny, nx = (int(np.ceil(length / self.voxel_size - 1e-6)) // 2 * 2 + 1 for length in (deep, along, across))
        self.shape = (nz, ny, nx)
        self._eigenvalue: float | None = None

    def owned(self, count: int) -> range:
        """Return the tilts of this rank."""
        return block_range(count, self.communicator.size, self.communicator.rank)

    def aligned(self, poses: TiltPoses, tilt: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image and weights of a tilt in the frame of the tilt axis."""
        return aligned_image(
            self.images,
            tilt,
            poses.euler_angles[tilt],
            poses.translations[tilt],
            shape=self.shape[1:],
            voxel_size=self.voxel_size,
        )

    def stack(self, poses: TiltPoses) -> tuple[np.ndarray, np.ndarray]:
        """Return aligned images and weights of all tilts (tilt, y, x), on every rank."""
        pairs = of_all_tilts(
            self.images.count,
            self.communicator,
            lambda tilt: np.stack(self.aligned(poses, tilt)),
            (2, *self.shape[1:]),
            np.float32,
        )
        return pairs[:, 0], pairs[:, 1]

    def volume(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"], iterations: int) -> np.ndarray:
        """Return the coefficients (z, x, y) of the volume of all tilts."""
        own = self._own_tilts(poses)
        return self._volume(own, weights, list(own), iterations)

    def cross_equations(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> list[PoseEquations]:
        """Return the equations of every tilt against the volume of the other folds, on every rank."""
        return self._equations(poses, weights, self.settings.folds, self.settings.inner_iterations)

    def cross_misfits(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> Float[np.ndarray, " tilt"]:
        """Return |model - image| / |image| of every tilt against the volume of the other folds, on every rank."""
        return np.sqrt([one.misfit for one in self.cross_equations(poses, weights)])

    def joint_equations(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> list[PoseEquations]:
        """Return the equations of every tilt against the volume of all tilts, converged further, on every rank."""
        return self._equations(poses, weights, 1, self.settings.joint_iterations)

    def joint_misfits(self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> Float[np.ndarray, " tilt"]:
        """Return |model - image| / |image| of every tilt against the volume of all tilts, on every rank."""
        return np.sqrt([one.misfit for one in self.joint_equations(poses, weights)])

    def _equations(
        self, poses: TiltPoses, weights: Float[np.ndarray, " tilt"], folds: int, iterations: int
    ) -> list[PoseEquations]:
        own = self._own_tilts(poses)
        equations: dict[int, PoseEquations] = {}
        for fold in range(min(folds, len(poses.euler_angles))):
            members = [tilt for tilt in own if tilt % folds == fold]
            others = [tilt for tilt in own if folds == 1 or tilt % folds != fold]
            spectrum = to_spectrum(self._volume(own, weights, others, iterations))
            for tilt in members:
                equations[tilt] = pose_equations(own[tilt].projector, spectrum, own[tilt].image, own[tilt].weights)
        return self._gathered(equations, len(poses.euler_angles))

    def _own_tilts(self, poses: TiltPoses) -> dict[int, AlignedTilt]:
        return {
            tilt: AlignedTilt(
                tilt_projector(poses.euler_angles[tilt, 0], poses.euler_angles[tilt, 1], self.shape),
                *self.aligned(poses, tilt),
            )
            for tilt in self.owned(len(poses.euler_angles))
        }

    def _volume(
        self, own: dict[int, AlignedTilt], weights: np.ndarray, tilts: list[int], iterations: int
    ) -> np.ndarray:
        """Return the coefficients (z, x, y) of the volume of those `tilts` of each rank."""
        if self._eigenvalue is None:  # of all tilts: leaving some out only lowers it
            self._eigenvalue = largest_eigenvalue(
                list(own.values()), self.shape, self.communicator, softness=self.settings.softness
            )
        weighted = [
            replace(own[tilt], weights=own[tilt].weights * np.float32(np.sqrt(weights[tilt]))) for tilt in tilts
        ]
        return reconstruct_coefficients(
            weighted,
            self.shape,
            self.communicator,
            iterations=iterations,
            nonnegative=self.settings.nonnegative,
            softness=self.settings.softness,
            eigenvalue=self._eigenvalue,
        )

    def _gathered(self, own: dict[int, PoseEquations], count: int) -> list[PoseEquations]:
        """Return the equations of all tilts, on every rank."""
        table = np.zeros((count, 7 * 7 + 7 + 3))
        for tilt, one in own.items():
            table[tilt] = [*one.hessian.ravel(), *one.gradient, one.misfit, one.gain, one.noise]
        table = self.communicator.sum_(torch.from_numpy(table)).numpy()
        return [PoseEquations(row[:49].reshape(7, 7), row[49:56], *row[56:].tolist()) for row in table]

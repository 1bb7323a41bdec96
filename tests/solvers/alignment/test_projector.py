"""The fast projector against the kernel of the reconstruction, its adjoint, and its derivatives."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from dptt.analysis.poses import TiltPoses
from dptt.kernels import project_slices
from dptt.physics.rotation import sampling_map
from dptt.solvers.alignment.pose_update import pose_equations
from dptt.solvers.alignment.poses import moved
from dptt.solvers.alignment.projector import from_spectrum, sampled, tilt_projector, to_spectrum
from dptt.solvers.alignment.resampling import aligned_image, whole_images

SHAPE = (41, 37, 43)
POSES = [
    ((0.0, 0.0, 0.0), (0.0, 0.0)),
    ((0.0, 31.0, 0.0), (0.0, 0.0)),
    ((7.0, -35.0, 0.0), (0.4, 0.0)),
    ((-4.0, 50.0, 80.0), (0.6, -1.1)),
]


@pytest.fixture(scope="module")
def coefficients() -> np.ndarray:
    """A smooth lump (z, x, y) that stays clear of the edges."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(0).random(SHAPE), 2.0)
    z, y, x = np.meshgrid(*((np.arange(n) - n // 2) for n in SHAPE), indexing="ij")
    lump = noise * np.exp(-(z**2 + y**2 + x**2) / 2 / 5.0**2)
    return np.ascontiguousarray(lump.transpose(0, 2, 1))


@pytest.mark.parametrize("angles,translation", POSES)
def test_the_aligned_projection_is_that_of_the_kernel_with_psi_and_tau_undone(coefficients, angles, translation):
    pose = np.array(angles, float), np.array(translation, float)
    map_ = sampling_map(*map(torch.from_numpy, pose), (0.5, 0.5, 0.5))
    image = project_slices(torch.from_numpy(sampled(coefficients)), map_, 1, 0.5)[0].numpy()
    images = whole_images(image[None], np.ones_like(image)[None], (0.5, 0.5))
    expected, weights = aligned_image(images, 0, *pose, shape=SHAPE[1:], voxel_size=0.5)
    projector = tilt_projector(angles[0], angles[1], SHAPE, np.float64)
    difference = (projector.project(to_spectrum(coefficients)) - expected) * weights
    assert np.linalg.norm(difference) < 0.04 * np.linalg.norm(expected)


@pytest.mark.parametrize("phi,theta", [(0.0, 0.0), (0.0, 40.0), (6.0, -70.0), (-15.0, 20.0)])
def test_backprojection_is_the_adjoint(coefficients, phi, theta):
    projector = tilt_projector(phi, theta, SHAPE, np.float64)
    image = np.random.default_rng(1).standard_normal(SHAPE[1:])
    back = from_spectrum(projector.backproject(image), SHAPE[1])
    left, right = np.vdot(image, projector.project(to_spectrum(coefficients))), np.vdot(back, coefficients)
    assert abs(left - right) < 1e-12 * np.linalg.norm(image) * np.linalg.norm(coefficients)


@pytest.mark.parametrize("parameter", range(5))
def test_newton_gradient_is_that_of_a_small_change_of_the_pose(coefficients, parameter):
    """The misfit of a fixed image by central differences, and by the formula to the accuracy of the splines."""
    step = np.zeros((1, 5))
    step[0, parameter] = 2e-3 if parameter < 3 else 0.05
    pose = TiltPoses(np.array([[4.0, 33.0, 12.0]]), np.array([[0.3, -0.8]]))
    true = moved(pose, 4 * np.array([[2e-3, -3e-3, 2e-3, 0.05, -0.03]]))
    image = _recorded(coefficients, true)

    def half_square(at: TiltPoses) -> float:
        return 0.5 * float(np.square(_recorded(coefficients, at) - image).sum())

    numeric = (half_square(moved(pose, step)) - half_square(moved(pose, -step))) / (2 * step[0, parameter])
    projector = tilt_projector(*pose.euler_angles[0, :2], SHAPE, np.float64)
    images = whole_images(image[None], np.ones_like(image)[None], (1.0, 1.0))
    aligned, weights = aligned_image(
        images, 0, pose.euler_angles[0], pose.translations[0], shape=SHAPE[1:], voxel_size=1.0
    )
    gradient = pose_equations(projector, to_spectrum(coefficients), aligned, weights).gradient[parameter]
    assert gradient == pytest.approx(numeric, rel=0.1)


def _recorded(coefficients: np.ndarray, pose: TiltPoses) -> np.ndarray:
    """Return the image of a pose on the detector: the aligned one, moved by psi and tau with cubic splines."""
    projector = tilt_projector(*pose.euler_angles[0, :2], SHAPE, np.float64)
    phi, theta, psi = np.deg2rad(pose.euler_angles[0])
    model = projector.project(to_spectrum(coefficients)) / np.cos(phi)
    to_recorded = np.array([[np.cos(psi), np.sin(psi)], [-np.sin(psi), np.cos(psi)]]) @ np.array(
        [[np.cos(phi), 0], [np.sin(theta) * np.sin(phi), 1]]
    )
    centre = np.array([n // 2 for n in SHAPE[1:]])
    matrix = np.linalg.inv(to_recorded)
    offset = centre - matrix @ (centre + pose.translations[0])
    return scipy.ndimage.affine_transform(model, matrix, offset, order=5)

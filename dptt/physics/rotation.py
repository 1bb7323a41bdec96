r"""Tilting the specimen: rotation, translation, binning along the beam ([P] eq. 11-12), and its derivatives.

The pose of a tilt is three Euler angles and a translation. A point r = (x, y, z) of the specimen, relative to the
rotation centre (voxel n//2 on every axis), lies in the microscope at

    r' = Rz(psi) · Ry(theta) · Rx(phi) · r + (tau_x, tau_y, 0),

the right-handed matrices of RELION and of SciPy's ``Rotation.from_euler("xyz", [phi, theta, psi])``. The beam runs
along +z, the stage tilts by theta about y::

          y (out of the page, tilt axis)          a positive tilt theta moves the specimen's
          o-----> x                               +x side towards -z, that is upstream, nearer
          |                                       to the gun:  x' =  x cos + z sin
          |   beam                                             z' = -x sin + z cos
          v z

A volume is rotated by sampling it: V'(r') = V(R⁻¹(r' - tau)), band-limited (`turning`), zero outside. In index space
that is one affine map, a (3, 4) matrix in (z, y, x) order::

    source = map[:, :3] @ (target - centre) + centre + map[:, 3]
"""

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.physics.turned_planes import deposit, onto_pixels
from dptt.physics.turning import Turning, plan


def rotation_matrix(euler_angles: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return R = Rz(psi) Ry(theta) Rx(phi) acting on (x, y, z), from (phi, theta, psi) [degrees] ([P] eq. 11)."""
    (cx, cy, cz), (sx, sy, sz) = (
        torch.cos(torch.deg2rad(euler_angles)),
        torch.sin(torch.deg2rad(euler_angles)),
    )
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)
    about_x = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx]).reshape(3, 3)
    about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy]).reshape(3, 3)
    about_z = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one]).reshape(3, 3)
    return about_z @ about_y @ about_x


def sampling_map(
    euler_angles: Float[Tensor, "3"], translation: Float[Tensor, "2"], voxel_size: tuple[float, float, float]
) -> Float[Tensor, "3 4"]:
    """Return the index-space map from the tilted to the untilted volume, r = R⁻¹(r' - tau).

    Parameters
    ----------
    euler_angles
        (phi, theta, psi) [degrees].
    translation
        tau (y, x) [Å].
    voxel_size
        (z, y, x) [Å].
    """
    inverse = rotation_matrix(euler_angles).T.flip(0, 1)  # (x, y, z) order becomes (z, y, x)
    size = euler_angles.new_tensor(voxel_size)
    shift = torch.cat([torch.zeros_like(translation[:1]), translation])
    linear = inverse * size[None, :] / size[:, None]
    return torch.cat([linear, -(inverse @ shift / size)[:, None]], dim=1)


def rotate_volume(volume: Inexact[Tensor, "z y x"], map_: Float[Tensor, "3 4"]) -> Inexact[Tensor, "z y x"]:
    """Return V'(r') = V(map r'), zero outside: A of [P] eq. 12, see `turning`. Differentiable in both arguments."""
    depth, height, width = volume.shape
    rows, exact = range(height), not map_.requires_grad
    turned = plan(Turning.of(map_.double()), (depth, height, width), rows, rows, whole=exact)
    return onto_pixels(deposit(volume, turned, (depth, 1)), turned)


def bin_slices(
    volume: Inexact[Tensor, "z y x"], num_slices: int, voxel_thickness: float
) -> Inexact[Tensor, "slice y x"]:
    """Return the projected potential [V Å] of `num_slices` equal slices of a volume [V]: B of [P] eq. 12."""
    depth = volume.shape[0]
    if depth % num_slices:
        raise ValueError(f"a volume of {depth} planes cannot be cut into {num_slices} equal slices")
    return volume.reshape(num_slices, depth // num_slices, *volume.shape[1:]).sum(1) * voxel_thickness

"""The inner operations of the reconstruction, written for speed and tested against their twins in `physics`.

This module is the one dispatch point: everything above imports its kernels from here. Today there is one
implementation, plain torch with an analytic adjoint, which runs on any device.
"""

from dptt.kernels.multislice import MultisliceGradient, multislice_gradient, multislice_loss
from dptt.kernels.rotation import SlabRows, backproject_slices, pose_derivatives, project_slices, source_rows

__all__ = [
    "MultisliceGradient",
    "SlabRows",
    "backproject_slices",
    "multislice_gradient",
    "multislice_loss",
    "pose_derivatives",
    "project_slices",
    "source_rows",
]

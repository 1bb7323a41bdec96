"""The inner operations of the reconstruction, written for speed and tested against their twins in `physics`.

Other packages import kernels from here. `dispatch` chooses between plain torch with an analytic adjoint
(`multislice`, `rotation`, `volume_step`), which runs on any device and in any precision, the same compiled for a CPU
(`cpu`), for any GPU (`triton`), and multislice fused into one kernel for NVIDIA's (`cuda`).
"""

from dptt.kernels.batch import Batch, MultisliceGradient
from dptt.kernels.diffraction import Exposures
from dptt.kernels.dispatch import (
    advance_,
    advance_by_slices_,
    backproject_slices,
    diffraction_patterns,
    multislice_gradient,
    multislice_loss,
    pose_derivatives,
    project_slices,
    threshold_,
)
from dptt.kernels.rotation import SlabRows, source_rows
from dptt.kernels.volume_step import Thresholds, power_sums

__all__ = [
    "Batch",
    "Exposures",
    "MultisliceGradient",
    "SlabRows",
    "Thresholds",
    "advance_",
    "advance_by_slices_",
    "backproject_slices",
    "diffraction_patterns",
    "multislice_gradient",
    "multislice_loss",
    "pose_derivatives",
    "power_sums",
    "project_slices",
    "source_rows",
    "threshold_",
]

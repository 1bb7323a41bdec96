"""[P] Algorithm 2, JointLinearTomography: poses and volume of a tilt series from its projections.

`alignment` is the outer loop, `reconstruction` the inner one, `pose_update` the step between them, `starts` the
search that comes first. The tilts are shared out over ranks; volumes and normal equations are summed.
"""

from dptt.analysis.poses import TiltPoses
from dptt.solvers.alignment.alignment import AlignmentResult, StepRecord, align
from dptt.solvers.alignment.preprocessing import flatten_background
from dptt.solvers.alignment.resampling import Images, aligned_stack, whole_images
from dptt.solvers.alignment.settings import AlignmentSettings

__all__ = [
    "AlignmentResult",
    "AlignmentSettings",
    "Images",
    "StepRecord",
    "TiltPoses",
    "align",
    "aligned_stack",
    "flatten_background",
    "whole_images",
]

"""[P] Algorithm 2, JointLinearTomography: poses and volume of a tilt series from its projections.

`first_poses` is the search that comes first, `alignment` the outer loop, `reconstruction` the inner one, and
`pose_update` the step between them. Every rank holds the images of its share of the tilts and works on them; volumes
and normal equations are summed over ranks.
"""

from dptt.analysis.poses import TiltPoses
from dptt.solvers.alignment.alignment import AlignmentResult, StepRecord, align
from dptt.solvers.alignment.border import BORDER_INTENSITY, border_intensity, within_common_field
from dptt.solvers.alignment.preprocessing import flatten_background
from dptt.solvers.alignment.resampling import Images, aligned_lines, of_all_tilts, whole_images
from dptt.solvers.alignment.settings import AlignmentSettings

__all__ = [
    "BORDER_INTENSITY",
    "AlignmentResult",
    "AlignmentSettings",
    "Images",
    "StepRecord",
    "TiltPoses",
    "align",
    "aligned_lines",
    "border_intensity",
    "flatten_background",
    "of_all_tilts",
    "whole_images",
    "within_common_field",
]

"""[P] step (a): images, aberrations and orientation from the bright disk of one tilt.

`data` what it works on; `transfer` the three weightings; `search` the explained energy and its maximum; `parallax`
the shifts; `centre_of_mass` the curl; `estimate` all of it for one tilt; `evidence` the orientation doctor;
`calibration` what later steps use. Conventions of scan and detector are in `orientation`.
"""

from dptt.solvers.brightfield.calibration import Calibration, calibrated
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.estimate import OpticalEstimate, estimate_optics
from dptt.solvers.brightfield.evidence import OrientationRow, orientation_table
from dptt.solvers.brightfield.orientation import Orientation, orientation_of

__all__ = [
    "BrightFieldData",
    "Calibration",
    "OpticalEstimate",
    "Orientation",
    "OrientationRow",
    "calibrated",
    "estimate_optics",
    "orientation_of",
    "orientation_table",
]

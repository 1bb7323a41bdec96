"""[P] step (a): images, aberrations and orientation from the bright disk of one tilt.

- `data`: the virtual images of one tilt
- `orientation`: conventions of scan and detector
- `transfer`: single sideband, weak phase and parallax, one sum with three weightings
- `search`: the explained energy and its maximum
- `focus`: of a tilt that is far from the others
- `signs`: of defocus and potential, decided for all tilts together
- `parallax`: shifts of the virtual images
- `centre_of_mass`: scan rotation from the curl
- `image`: the phase image and its skewness
- `estimate`: all of these for one tilt; `optical_estimate` is the result
- `evidence`: the table and the sentences by which a user judges an orientation; the sign of the tilt
- `correction`: the calibration that later steps use, the file's unless the data contradict it
"""

from dptt.solvers.brightfield.correction import Calibration, MeasuredOptics, calibrated
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.estimate import estimate_optics
from dptt.solvers.brightfield.evidence import OrientationRow, orientation_table
from dptt.solvers.brightfield.optical_estimate import OpticalEstimate
from dptt.solvers.brightfield.orientation import Orientation, orientation_of

__all__ = [
    "BrightFieldData",
    "Calibration",
    "MeasuredOptics",
    "OpticalEstimate",
    "Orientation",
    "OrientationRow",
    "calibrated",
    "estimate_optics",
    "orientation_of",
    "orientation_table",
]

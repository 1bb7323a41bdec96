"""Orientation, defocus and scale of a scan from the shifts of the virtual images, without trust in the scan step.

The curl of the centre of mass gives parity and rotation (up to 180°) and depends on no length at all. The shift of
the image of detector angle alpha is defocus times alpha, measured in scan steps: it gives defocus over step, with a
sign for either of the two rotations. For that the images are evaluated with a step so large that the aperture does
not cut their frequencies. How much of the contrast a weak phase object explains tells the step in Å where the scan
samples the aperture finely enough.
"""

from dataclasses import dataclass, replace

import torch

from dptt.assembly.brightfield import BrightFieldError, bright_field_data, file_orientation
from dptt.assembly.validation.samples import central_part
from dptt.io.dataset import Tilt, TiltSeries
from dptt.solvers.brightfield.centre_of_mass import Curl, curl
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.estimate import estimate_optics
from dptt.solvers.brightfield.image import phase_image, skewness
from dptt.solvers.brightfield.orientation import Orientation, wrapped
from dptt.solvers.brightfield.parallax import align
from dptt.solvers.brightfield.search import (
    Candidate,
    best_of,
    distinct,
    explained_energy,
    refine,
    scan_band,
    scan_settings,
    thinned,
)
from dptt.solvers.brightfield.transfer import Sidebands, sidebands

SMALLEST_SCAN, LARGEST_SCAN = 8, 48
"""Positions along either side: a smaller scan is not judged, of a larger one only the middle is used."""
UNCUT = 10.0
"""Scan step, in lambda/2alpha, that the images are evaluated with."""
LARGEST_RESIDUAL = 0.25
"""Scatter of the measured shifts [scan steps] up to which they are trusted."""
LARGEST_CURL, CLEAR_CURL = 0.35, 0.15
"""Share of the curl that a gradient may have, and the difference between the parities that counts as clear."""
ELEMENTS, CANDIDATES = 40_000, 2
"""Frequencies times pixels of one evaluation, and defoci that are refined."""
AGREEMENT = 10.0
"""[degrees] within which shifts and curl must agree."""


@dataclass(frozen=True)
class MeasuredShifts:
    """What one tilt shows of its scan.

    Parameters
    ----------
    told, measured
        Orientation in the file; that of the data nearest to it: its twin, rotated by 180°, has the opposite defocus.
    orientation_known
        Whether the curl is clear and agrees with the shifts.
    uncertainty
        Of the rotation [degrees].
    defocus
        Underfocus [Å] at `measured` if the step in the file is right; proportional to the step.
    defocus_known
        Whether the shifts fit.
    significance
        Of positive potentials at `measured`, in standard deviations; negative if the twin shows them.
    data
        The virtual images.
    """

    told: Orientation
    measured: Orientation
    orientation_known: bool
    uncertainty: float
    defocus: float
    defocus_known: bool
    significance: float
    data: BrightFieldData

    def twin(self) -> "MeasuredShifts":
        """Return the same with the scan rotated by 180° and the opposite defocus and potential."""
        return replace(
            self,
            measured=self.measured.rotated(180.0),
            defocus=-self.defocus,
            significance=-self.significance,
        )

    def energy(self, scale: float, defocus: float) -> float:
        """Return the explained energy with the step in the file times `scale`, and with this `defocus` [Å]."""
        data = _with_scaled_step(self.data, scale)
        coefficients = torch.tensor([-defocus, 0.0, 0.0], dtype=torch.float64)
        bands = thinned(data, sidebands(data), 2e-3 * data.semiangle / data.wavelength, ELEMENTS)
        if not len(bands.frequencies):
            return 0.0
        return explained_energy("weak-phase", data, bands, self.measured.matrix(), coefficients).item()


def measure_shifts(tilt: Tilt, series: TiltSeries, *, search: bool = False) -> MeasuredShifts | str:
    """Return what the virtual images of a tilt show, or why they show nothing.

    With `search` a rotation that the curl leaves open is searched for by the complete bright-field estimate, which
    takes longer and trusts the scan step.
    """
    if tilt.scan_shape is None or min(tilt.scan_shape) < SMALLEST_SCAN:
        return f"the scan is not a raster of {SMALLEST_SCAN} x {SMALLEST_SCAN} or more"
    part = central_part(tilt, LARGEST_SCAN)
    try:
        data, told = bright_field_data(part, series), file_orientation(part)
    except BrightFieldError:
        return "the scan is not a regular raster, or the patterns have no bright disk"
    scale = UNCUT * data.wavelength / (2e-3 * data.semiangle) / max(data.step)
    uncut = _with_scaled_step(data, scale)
    bands = sidebands(uncut)
    if not bands.spectrum.abs().sum() > 0:
        return "the virtual images have no contrast"
    gradient, clear = _least_curl(uncut)
    near = Orientation(gradient.rotation, gradient.transposed) if clear else told
    if search and not clear:
        estimate = estimate_optics(data)
        near, clear = (estimate.orientation, True) if estimate.orientation_known else (told, False)
    full = thinned(uncut, bands, float("inf"), ELEMENTS)
    start = _near_optimum(uncut, bands, full, near)
    orientation, coefficients, shifts = align(uncut, full, start.orientation, start.coefficients, 1)
    agree = abs(wrapped(orientation.rotation - near.rotation, 180.0)) < max(AGREEMENT, 3 * gradient.uncertainty)
    defocus_known = agree and shifts.residual < LARGEST_RESIDUAL * max(uncut.step)
    if not defocus_known:
        orientation = near
    defocus = -coefficients[0].item() / scale
    skew, error = skewness(phase_image("weak-phase", data, orientation, coefficients / scale))
    significance = skew / max(error, 1e-300)
    result = MeasuredShifts(
        told=told,
        measured=orientation,
        orientation_known=clear,
        uncertainty=0.5 if defocus_known else gradient.uncertainty,
        defocus=defocus,
        defocus_known=defocus_known,
        significance=significance if defocus_known else 0.0,
        data=data,
    )
    return result.twin() if abs(wrapped(orientation.rotation - told.rotation)) > 90 else result


def _near_optimum(data: BrightFieldData, bands: Sidebands, full: Sidebands, near: Orientation) -> Candidate:
    """Return the orientation near `near` and the defocus that explain most: good enough to start from."""
    low, _ = scan_band(data, bands)
    trials = distinct(scan_settings("weak-phase", data, bands, near), CANDIDATES, data)
    refined = [refine("weak-phase", data, low, trial, 1) for trial in trials]
    return refine("weak-phase", data, full, best_of(refined), 1, iterations=10)


def _with_scaled_step(data: BrightFieldData, scale: float) -> BrightFieldData:
    return replace(data, step=(data.step[0] * scale, data.step[1] * scale))


def _least_curl(data: BrightFieldData) -> tuple[Curl, bool]:
    """Return the curl of the parity that has less of it, and whether it decides parity and rotation."""
    best, other = sorted((curl(data, False), curl(data, True)), key=lambda one: one.least)
    return best, best.least < LARGEST_CURL and other.least - best.least > CLEAR_CURL

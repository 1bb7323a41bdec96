"""Evidence for the orientation: a table of all settings of detector and scan, and the sign of the tilt.

The eight flips and transpositions of the detector fall into two classes of four, one for each parity. Within a class
every member has its own best rotation, and all explain the data equally well. The table lists all eight, because a
user may know the detector by any of them, and marks those that are equivalent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.optical_estimate import SIGNIFICANT, OpticalEstimate
from dptt.solvers.brightfield.orientation import Orientation, detector_matrix, orientation_of, wrapped
from dptt.solvers.brightfield.search import explained_energy, split_frequencies, thinned
from dptt.solvers.brightfield.transfer import Sidebands, scan_frequencies

STRIPS = 4
"""Strips along the tilt axis in which the defocus is measured."""
TRIALS = 11
"""Trial defoci in each strip."""
GROUPS = 4
"""Interleaved groups of frequencies whose scatter gives the uncertainty."""
SMALLEST_TILT = 5.0
"""[degrees] from which a tilt shows its sign."""
SMALLEST_RATIO = 0.3
"""Measured slope, as a fraction of that of a flat specimen, from which it shows the sign."""
STRIP_ELEMENTS = 30_000
"""Frequencies times pixels of one evaluation in a strip."""


@dataclass(frozen=True)
class OrientationRow:
    """One of the eight detector settings with its best scan rotation.

    Parameters
    ----------
    transpose, flip_y, flip_x
        Of `import.detector`, applied to the patterns as the file stores them.
    rotation, twin_rotation
        `import.scan.rotation` [degrees], and that of the exact twin, in which all aberrations and the potential
        change sign.
    defocus
        Underfocus [Å] at `rotation`.
    energy
        Explained energy of the weak-phase model.
    curl
        Share of the curl in the centre of mass, 0 to 1.
    equivalent
        Whether it describes the same orientation as the recommended setting.
    recommended
        Whether it is the equivalent setting with the fewest changes to the detector.
    """

    transpose: bool
    flip_y: bool
    flip_x: bool
    rotation: float
    twin_rotation: float
    defocus: float
    energy: float
    curl: float
    equivalent: bool
    recommended: bool


def orientation_table(estimate: OpticalEstimate) -> list[OrientationRow]:
    """Return the eight settings, those equivalent to the estimate first."""
    best = {
        estimate.orientation.transposed: (estimate.orientation, estimate.defocus, estimate.energy),
        estimate.other_parity.orientation.transposed: (
            estimate.other_parity.orientation,
            -estimate.other_parity.coefficients[0].item(),
            estimate.other_parity.energy,
        ),
    }
    rows = []
    for transpose in (False, True):
        for flip_y, flip_x in ((False, False), (True, True), (True, False), (False, True)):
            frame = detector_matrix(transpose, flip_y, flip_x)
            parity = bool(torch.linalg.det(frame) < 0)  # p = frame M u must be a pure rotation
            if parity not in best:
                continue
            orientation, defocus, energy = best[parity]
            rotation = orientation_of(frame @ orientation.matrix()).rotation
            equivalent = parity == estimate.orientation.transposed
            rows.append(
                OrientationRow(
                    transpose=transpose,
                    flip_y=flip_y,
                    flip_x=flip_x,
                    rotation=rotation,
                    twin_rotation=wrapped(rotation + 180),
                    defocus=defocus,
                    energy=energy,
                    curl=estimate.curls[int(parity)].share(orientation.rotation),
                    equivalent=equivalent,
                    recommended=equivalent and transpose == parity and not (flip_y or flip_x),
                )
            )
    return sorted(rows, key=lambda row: (not row.recommended, not row.equivalent))


def evidence_sentence(estimate: OpticalEstimate) -> str:
    """Return the evidence for the orientation, in one sentence with numbers."""
    curl = estimate.curls[int(estimate.orientation.transposed)]
    other = estimate.curls[int(not estimate.orientation.transposed)]
    sign = estimate.sign_significance
    twin = (
        f"the skewness of the phase ({sign:.1f} standard deviations) shows positive potentials and excludes the twin"
        if estimate.sign_known
        else f"the skewness of the phase ({sign:.1f} standard deviations) does not exclude the twin"
    )
    return (
        f"{estimate.method} explains {estimate.energy:.1%} of the contrast, {estimate.other_parity.energy:.1%} with "
        f"the other parity; the curl of the centre of mass is smallest ({curl.least:.0%}, {other.least:.0%} with the "
        f"other parity) at {curl.rotation:.1f}° ± {curl.uncertainty:.1f}° or {wrapped(curl.rotation + 180):.1f}°; "
        f"{twin} (scan rotation {wrapped(estimate.orientation.rotation + 180):.1f}°, "
        f"defocus {-estimate.defocus:.4g} Å)"
    )


def defocus_slope(
    data: BrightFieldData, estimate: OpticalEstimate, coefficients: Float[Tensor, " term"], psi: float = 0.0
) -> tuple[float, float]:
    """Return d defocus / d x' across the specimen, and its standard error, measured in strips along the tilt axis.

    The +x' side of a specimen tilted by theta > 0 lies upstream, farther from the focus of an underfocused beam. For
    a flat specimen the slope is +tan(theta). x' is perpendicular to the tilt axis in the frame of the detector.

    Parameters
    ----------
    psi
        Third Euler angle of the tilt [degrees], the angle between the tilt axis and y.
    """
    radians = math.radians(psi)  # Rz(psi) x has the components (cos, sin) on (x, y)
    across = torch.tensor([math.sin(radians), math.cos(radians)], dtype=torch.float64) @ estimate.orientation.matrix()
    rows, columns = ((torch.arange(n) - (n - 1) / 2) * d for n, d in zip(data.scan_shape, data.step, strict=True))
    distance = across[0] * rows[:, None] + across[1] * columns[None, :]
    reach = distance.abs().max().item()
    width = 2 * reach / STRIPS
    centres = [(strip + 0.5) * width - reach for strip in range(STRIPS)]
    tapered = data.tapered_images()
    measured = []
    for centre in centres:
        window = torch.exp(-(((distance - centre) / (0.6 * width)) ** 2))
        bands = _bands(data, tapered * window)
        measured.append([_local_defocus(data, group, estimate, coefficients) for group in bands])
    x = torch.tensor(centres, dtype=torch.float64)
    slopes = torch.tensor(measured, dtype=torch.float64).T @ x / (x @ x)  # per group; centres are symmetric about 0
    return slopes.mean().item(), (slopes.std() / math.sqrt(GROUPS)).item()


def _bands(data: BrightFieldData, images: Tensor) -> list[Sidebands]:
    """Return interleaved groups of the spectra of windowed images."""
    grid = torch.stack(torch.broadcast_tensors(*scan_frequencies(data)), -1).reshape(-1, 2)
    full = Sidebands(torch.fft.fft2(images).flatten(1).T, grid)
    few = thinned(data, full, 2e-3 * data.semiangle / data.wavelength, STRIP_ELEMENTS * GROUPS)
    return split_frequencies(few, GROUPS)


def _local_defocus(
    data: BrightFieldData, bands: Sidebands, estimate: OpticalEstimate, coefficients: Float[Tensor, " term"]
) -> float:
    """Return the defocus [Å] of largest explained energy near the estimate, by a parabola through the best trials."""
    reach = max(0.3 * abs(estimate.defocus), data.wavelength / (1e-3 * data.semiangle) ** 2)
    trials = torch.linspace(-reach, reach, TRIALS, dtype=torch.float64)
    matrix = estimate.orientation.matrix()
    energies = []
    for offset in trials:
        moved = torch.cat([(coefficients[0] - offset)[None], coefficients[1:]])
        energies.append(explained_energy("weak-phase", data, bands, matrix, moved).item())
    best = min(max(range(TRIALS), key=energies.__getitem__), TRIALS - 2)
    best = max(best, 1)
    low, middle, high = energies[best - 1 : best + 2]
    bend = low - 2 * middle + high
    step = 2 * reach / (TRIALS - 1)
    peak = 0.5 * (low - high) / bend if bend < 0 else 0.0
    return estimate.defocus + trials[best].item() + max(-1.0, min(1.0, peak)) * step


def tilt_sign_sentence(thetas: Sequence[float], slopes: Sequence[tuple[float, float]]) -> str:
    """Return what the slopes of defocus across the specimen say about the sign of the tilt angles [degrees]."""
    used = [
        (math.tan(math.radians(theta)), slope, error)
        for theta, (slope, error) in zip(thetas, slopes, strict=True)
        if abs(theta) >= SMALLEST_TILT and error > 0
    ]
    if not used:
        return f"the sign of the tilt cannot be determined: no tilt is {SMALLEST_TILT:.0f}° or more"
    weight = sum(t * t / e**2 for t, _, e in used)  # t, s, e: slope of a flat specimen, measured slope and its error
    ratio = sum(s * t / e**2 for t, s, e in used) / weight
    scatter = sum((s - ratio * t) ** 2 / e**2 for t, s, e in used) / max(len(used) - 1, 1)
    error = math.sqrt(max(scatter, 1.0) / weight)
    measured = f"the slope of defocus across the specimen is {ratio:.2f} ± {error:.2f} times that of a flat one"
    if abs(ratio) < SIGNIFICANT * error or abs(ratio) < SMALLEST_RATIO:
        return f"the sign of the tilt cannot be determined from the bright field: {measured}"
    if ratio > 0:
        return f"the sign of the tilt is right: {measured}"
    return f"the tilt angles seem to have the wrong sign: {measured}; change import.tilt_sign"


def settings_sentence(orientation: Orientation) -> str:
    """Return the setting as keys of the `import` section."""
    transposed = "import.detector.transpose toggled and " if orientation.transposed else ""
    return f"{transposed}import.scan.rotation: {orientation.rotation:.1f}"

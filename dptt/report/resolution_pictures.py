"""Which figures of resolution a content allows: FSC, directions, missing wedge, power spectrum."""

from collections.abc import Iterator

import numpy as np

from dptt.report.content import ReportContent, curve, find, number
from dptt.report.figures import fourier, resolution
from dptt.report.headline import tilt_range
from dptt.report.picture import Picture

CORRECTED = " Corrected for what mask and non-negativity alone correlate (dashed); dotted: before the correction."


def resolution_pictures(content: ReportContent) -> Iterator[Picture]:
    """FSC, directional FSC, Fourier planes and power spectrum."""
    analysis = content.analysis
    references = {"truth": " with the truth", "half-sets": " between two half data sets"}
    reference = references.get(find(analysis, "reference"), "")
    if curve(find(analysis, "fsc"), "frequency", "correlation") is not None:
        yield Picture(
            "fsc",
            "Fourier shell correlation",
            f"Fourier shell correlation{reference} against spatial frequency, with its thresholds.",
            f"Fourier shell correlation{reference}. Dots mark where it first falls below each threshold."
            + (CORRECTED if find(analysis, "fsc", "uncorrected") is not None else ""),
            lambda: resolution.fsc_figure(analysis, f"Fourier shell correlation{reference}"),
        )
    entries = [e for e in find(analysis, "directional_fsc") or [] if curve(e, "frequency", "correlation") is not None]
    if entries:
        yield Picture(
            "fsc_directional",
            "Resolution by direction",
            "Fourier shell correlation within cones about several directions, and the resolution along each.",
            "Correlation within a cone about each direction; the resolution is where it falls below "
            f"{number(analysis, 'worst_direction', 'criterion') or 0.5:g}. z is the beam and y the tilt axis. The "
            "missing wedge removes directions near z in the plane of z and x.",
            lambda: resolution.directional_figure(entries),
        )
    span = tilt_range(content)
    if content.volume is not None and min(content.volume.shape[0], content.volume.shape[2]) > 2:
        potential, truth = content.potential(), content.true_potential()
        yield Picture(
            "wedge",
            "Missing wedge",
            "Logarithm of the power spectrum in the plane of kz and kx, to judge the missing wedge.",
            "Power spectrum in the plane across the tilt axis. The missing wedge is the dark region around the kz "
            f"axis{', between the dashed lines that mark the outermost tilts' if span else ''}.",
            lambda: fourier.wedge_figure(potential, content.voxel_size, truth, span),
        )
    spectrum = curve(find(analysis, "power_spectrum"), "frequency", "mean_power")
    if spectrum is not None and np.any(spectrum[1] > 0):
        yield Picture(
            "power_spectrum",
            "Power spectrum",
            "Radially averaged power against spatial frequency on a logarithmic scale.",
            "Power averaged over shells of equal spatial frequency. Peaks above the background are lattice spacings.",
            lambda: fourier.power_figure([("reconstruction", *spectrum)]),
        )

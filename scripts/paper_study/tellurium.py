"""[P] figure 3: Te on a carbon nanotube; power spectra by slices and filters, and half-sets of few patterns."""

import numpy as np

from dptt.analysis.correlation import FourierShellCorrelation, fourier_shell_correlation, soft_mask
from dptt.analysis.spectrum import power_spectrum, spectral_peaks
from dptt.commands.analyze import analyze
from dptt.commands.simulate import simulate
from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume
from paper_study.derived import reconstruct_variant, truth_of
from paper_study.figures import half_set_figure, spectra_figure
from paper_study.stages import Outcome, Row, Stage

SUBSAMPLING = (2, 12, 20)
PAPER_RESOLUTION = {2: "0.80 Å (Nyquist)", 12: "0.82 Å", 20: "2.84 Å"}
FILTERS = {"relaxed": (1.51, 2), "strict": (0.49, 8)}
"""Cut-off [1/Å] and order of the Butterworth kernels of [P]."""
KERNELS = ((1, "relaxed"), (4, "relaxed"), (8, "relaxed"), (8, "strict"))
"""Number of slices and filter of each spectrum."""
FIRST_PEAK, LAST_PEAK = 3.28, 1.24
"""Spacings [Å] of the first and the last peak in [P] fig. 3d."""


def series(config: Config) -> Outcome:
    """Simulate the tilt series."""
    if not config.series.exists():
        simulate(config)
    with TiltSeries.open(config.series) as opened:
        truth = truth_of(opened)
        fluence = config.simulation.fluence * len(opened.tilts) if config.simulation else float("nan")
        size = opened.tilts[0].num_positions
    counts = np.bincount(truth.atomic_numbers)
    return Outcome(
        [
            Row("atoms", f"{counts[52]} Te, {counts[6]} C"),
            Row("tilts, scan positions", f"{len(truth.tilts)}, {size}", "26, 48400"),
            Row("total fluence", f"{fluence:.2g} e/Å²", "6.3e5 e/Å²"),
        ]
    )


def spectra(config: Config) -> Outcome:
    """Compare the power spectra for 1, 4 and 8 slices and for both filters ([P] fig. 3d)."""
    with TiltSeries.open(config.series) as opened:
        truth = truth_of(opened)
    true = power_spectrum(truth.volume, truth.voxel_size)
    curves, rows = {"truth": true}, [Row("truth", _peaks_in_words(spectral_peaks(true)))]
    for slices, name in KERNELS:
        variant = half_set(config, slices, name, every=2, offset=0)
        result = read_volume(variant.run / "volume.h5")
        spectrum = power_spectrum(result.volume.real, result.voxel_size)
        label = f"{slices} slice{'s' * (slices > 1)}, {name} filter"
        curves[label] = spectrum
        paper = f"first peak {FIRST_PEAK} Å, last {LAST_PEAK} Å" if slices == 8 else "-"
        rows.append(Row(label, _peaks_in_words(spectral_peaks(spectrum)), paper))
    return Outcome(rows, lambda: spectra_figure(curves, [FIRST_PEAK, LAST_PEAK]))


def subsampling(config: Config) -> Outcome:
    """Correlate half-sets of every 2nd, 12th and 20th pattern ([P] fig. 3e)."""
    curves, rows = {}, []
    for every in SUBSAMPLING:
        curve = half_set_correlation(config, every)
        resolution = curve.resolution("one-bit")
        value = f"{resolution.full_period:.2f} Å" + (" (Nyquist)" if resolution.at_nyquist else "")
        rows.append(Row(f"{every}-fold, half-sets, one bit", value, PAPER_RESOLUTION[every]))
        rows.append(Row(f"{every}-fold, one half against the truth, FSC 0.5", truth_resolution(config, every)))
        curves[f"{every}-fold: {value}"] = curve
    return Outcome(rows, lambda: half_set_figure(curves))


def half_set_correlation(config: Config, every: int) -> FourierShellCorrelation:
    """Return the FSC, within a soft sphere, of two volumes from independent patterns, each from every n-th."""
    runs = [half_set(config, 8, "relaxed", every, offset).run for offset in (0, every // 2)]
    a, b = (read_volume(run / "volume.h5") for run in runs)
    radius = 0.5 * min(n * d for n, d in zip(a.volume.shape, a.voxel_size, strict=True)) - 2.0
    mask = soft_mask(a.volume.shape, a.voxel_size, radius, edge=2.0)
    return fourier_shell_correlation(a.volume.real * mask, b.volume.real * mask, a.voxel_size)


def truth_resolution(config: Config, every: int) -> str:
    """Return the resolution of one half-set against the truth, over all directions and along (z, y, x).

    Errors that both halves share, such as the missing wedge, raise their correlation but not that with the truth.
    """
    analysis = analyze(half_set(config, 8, "relaxed", every, offset=0))
    along = ", ".join(
        f"{entry['name']} {entry['resolution_A']:.2f}" if entry["resolution_A"] else f"{entry['name']} -"
        for entry in analysis["directional_fsc"]
    )
    overall = analysis["resolution"]["0.5"]["resolution_A"]
    return f"{overall:.2f} Å ({along})" if overall else f"not resolved ({along})"


def half_set(config: Config, slices: int, kernel: str, every: int, offset: int) -> Config:
    """Reconstruct from every n-th pattern with so many slices and a Butterworth kernel; return the configuration."""
    cutoff, order = FILTERS[kernel]
    return reconstruct_variant(
        config,
        f"{slices}_slices_{kernel}_{every}_fold_{offset}",
        num_slices=slices,
        every=every,
        offset=offset,
        regularisation={"butterworth_cutoff": cutoff, "butterworth_order": order},
    )


def _peaks_in_words(spacings: np.ndarray) -> str:
    """Return the number of peaks of a spectrum, with the first and the last, as text."""
    if len(spacings) == 0:
        return "no peak"
    return f"{len(spacings)} peaks, first {spacings[0]:.2f} Å, last {spacings[-1]:.2f} Å"


STAGES = (
    Stage("series", "The tilt series", series),
    Stage("spectra", "Figure 3d: power spectra", spectra),
    Stage("subsampling", "Figure 3e: subsampling", subsampling),
)

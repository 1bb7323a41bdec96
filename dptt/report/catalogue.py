"""Which figures a content allows, in reading order, each with its title, caption and alternative text.

A figure is drawn when it is asked for, so that only one is in memory at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report.content import ReportContent, VoxelSize, column, curve, find, numbers, vectors
from dptt.report.figures import convergence, fourier, geometry, resolution
from dptt.report.figures import volume as volumes
from dptt.report.figures.atoms import DETAIL, SLAB, atom_figure, atom_groups, detail, peak_figure
from dptt.report.figures.health import health_figure
from dptt.report.figures.probe import mode_powers, probe_figure
from dptt.report.headline import tilt_range
from dptt.report.planes import central_indices, densest_indices


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn: its file name without suffix, heading, text for those who cannot see it, and caption."""

    name: str
    title: str
    alt: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Section:
    """Figures under one heading."""

    anchor: str
    title: str
    pictures: list[Picture]


def sections(content: ReportContent) -> list[Section]:
    """All sections that have a figure."""
    parts = (
        ("volume", "Volume", volume_pictures),
        ("atoms", "Atoms", atom_pictures),
        ("resolution", "Resolution", resolution_pictures),
        ("convergence", "Convergence", convergence_pictures),
        ("health", "Health of the tilts", health_pictures),
        ("geometry", "Poses, positions and probe", geometry_pictures),
    )
    found = [Section(anchor, title, list(pictures(content))) for anchor, title, pictures in parts]
    return [section for section in found if section.pictures]


CONTRAST = "Colour limits leave out the extreme 0.2 % at each end, for each row on its own."


def depth_pictures(
    potential: NDArray[np.floating], size: VoxelSize, truth: NDArray[np.floating] | None
) -> Iterator[Picture]:
    """Projections, renderings and further slices: what only a volume of more than one plane has."""
    beside = "" if truth is None else ", the truth beneath"
    centre, densest = central_indices(potential.shape), densest_indices(potential)
    yield Picture(
        "projections",
        "Projections",
        f"Projections of the potential in volt ångström along z, y and x{beside}.",
        "Integrals of the potential through the whole volume. Smear along z in the second and third view is the "
        "missing wedge; the view along x would be that of a tilt by 90°.",
        lambda: volumes.projection_figure(potential, size, truth),
    )
    yield Picture(
        "rendering",
        "Three-dimensional views",
        f"Shaded renderings of the potential along the beam, along the tilt axis and obliquely{beside}.",
        "Emission and absorption, yellow near and blue far; transparent below 15 % of the robust "
        "maximum or four standard deviations of the noise. Weak atoms beside strong ones may not show here.",
        lambda: volumes.rendering_figure(potential, size, truth),
    )
    if densest != centre:
        yield Picture(
            "slices_densest",
            "Densest slices",
            f"Three orthogonal slices in volts through the densest planes of the reconstruction{beside}.",
            f"The planes of the largest sum of squares, which cut atoms through their middle. {CONTRAST}",
            lambda: volumes.slice_figure(potential, size, densest, truth),
        )
    yield Picture(
        "montage",
        "Slices along the beam",
        f"Slices of the potential in volts at up to {volumes.MONTAGE_COLUMNS * volumes.MONTAGE_ROWS} depths.",
        "Evenly spaced, all with the same colours; x to the right, y, the tilt axis, downwards.",
        lambda: volumes.montage_figure(potential, size),
    )


def volume_pictures(content: ReportContent) -> Iterator[Picture]:
    """Slices, projections, renderings, montage and absorption."""
    potential, size = content.potential(), content.voxel_size
    truth = content.true_potential()
    beside = "" if truth is None else ", the truth beneath"
    centre, densest = central_indices(potential.shape), densest_indices(potential)
    yield Picture(
        "slices_central",
        "Central slices",
        f"Three orthogonal slices of the potential in volts through the centre of the volume{beside}.",
        f"Through the rotation centre; white ticks show where the other two slices cut. {CONTRAST}",
        lambda: volumes.slice_figure(potential, size, centre, truth),
    )
    if len(potential) > 1:
        yield from depth_pictures(potential, size, truth)
    absorption = content.absorption()
    if absorption is not None:
        yield Picture(
            "absorption",
            "Absorption",
            "Three orthogonal slices of the imaginary part of the potential in volts.",
            "Im V at the densest planes of Re V; positive takes electrons out of the beam. It should follow the "
            "atoms or be weak; structure elsewhere is what the model could not explain otherwise.",
            lambda: volumes.slice_figure(absorption, size, densest, name="Absorption, Im V", cmap="cividis"),
        )


def atom_pictures(content: ReportContent) -> Iterator[Picture]:
    """Traced atoms, and their heights."""
    atoms = find(content.analysis, "atoms")
    groups = atom_groups(atoms, content.true_atoms)
    if groups:
        counts = "; ".join(f"{group.label}: {len(group.positions)}" for group in groups)
        potential = content.potential()
        yield Picture(
            "atoms",
            "Traced atoms",
            f"Positions of atoms drawn over projections and slices: {counts}.",
            f"{counts}. On a slice only the atoms within {SLAB:g} Å of it are drawn.",
            lambda: atom_figure(potential, content.voxel_size, groups),
        )
        part = detail(potential, content.voxel_size, groups)
        if part is not None:
            yield Picture(
                "atoms_detail",
                "Traced atoms in the middle",
                f"Positions of atoms drawn over slices through the middle {DETAIL:g} Å of the volume.",
                f"The middle {DETAIL:g} Å, cut at its densest planes.",
                lambda: atom_figure(part[0], content.voxel_size, part[1]),
            )
    peaks = numbers(atoms, "peak")
    if peaks is not None and np.isfinite(peaks).any():
        yield Picture(
            "atom_peaks",
            "Peak heights",
            "Heights of the traced peaks in volts in falling order, their histogram, and the threshold.",
            "A gap between the weakest peaks and the threshold means the number of atoms does not hang on it.",
            lambda: peak_figure(atoms),
        )


def resolution_pictures(content: ReportContent) -> Iterator[Picture]:
    """FSC, directional FSC, Fourier planes and power."""
    analysis = content.analysis
    references = {"truth": "with the truth", "half-sets": "of two half data sets"}
    against = references.get(find(analysis, "reference"), "")
    if curve(find(analysis, "fsc"), "frequency", "correlation") is not None:
        yield Picture(
            "fsc",
            "Fourier shell correlation",
            f"Fourier shell correlation {against} against spatial frequency, with its thresholds.",
            f"Correlation {against}; dots mark the first crossing of each threshold.",
            lambda: resolution.fsc_figure(analysis, f"Fourier shell correlation {against}"),
        )
    entries = [e for e in find(analysis, "directional_fsc") or [] if curve(e, "frequency", "correlation") is not None]
    if entries:
        yield Picture(
            "fsc_directional",
            "Resolution by direction",
            "Fourier shell correlation within cones about several directions, and the resolution along each.",
            "z is the beam, y the tilt axis. The missing wedge takes directions near z, in the plane of z and x.",
            lambda: resolution.directional_figure(entries),
        )
    potential, truth = content.potential(), content.true_potential()
    span = tilt_range(content)
    if min(potential.shape[0], potential.shape[2]) > 2:
        yield Picture(
            "wedge",
            "Fourier plane of beam and tilt",
            "Logarithm of the power spectrum in the plane of kz and kx, to judge the missing wedge.",
            "The missing wedge is the dark part around the kz axis, beyond the dashed lines of the outer tilts.",
            lambda: fourier.wedge_figure(potential, content.voxel_size, truth, span),
        )
    spectrum = curve(find(analysis, "power_spectrum"), "frequency", "power")
    if spectrum is not None and np.any(spectrum[1] > 0):
        yield Picture(
            "power_spectrum",
            "Power spectrum",
            "Radially averaged power against spatial frequency on a logarithmic scale.",
            "Averaged over shells; peaks above the background are lattice spacings.",
            lambda: fourier.power_figure([("reconstruction", *spectrum)]),
        )


def convergence_pictures(content: ReportContent) -> Iterator[Picture]:
    """Losses by epoch and tilt, and time."""
    epochs, tilts = content.epochs, content.tilts
    if np.any(column(epochs, "loss") > 0):
        yield Picture(
            "loss",
            "Loss",
            "Loss and held-out loss against epoch on a logarithmic scale.",
            "Per electron: 0 is perfect, noise keeps it above. A held-out loss that turns up marks overfitting.",
            lambda: convergence.loss_figure(epochs),
        )
    last = convergence.tilt_losses(epochs, tilts)
    if np.isfinite(last).any() and not np.isfinite(column(tilts, "weight")).any():
        yield Picture(
            "loss_by_tilt",
            "Loss by tilt",
            "Loss of each tilt against its angle, after the last epoch.",
            "A tilt above its neighbours is badly aligned, drifted or contaminated.",
            lambda: convergence.tilt_loss_figure(epochs, tilts),
        )
    if any(np.any(column(epochs, "seconds", part) > 0) for part in convergence.SECONDS):
        yield Picture(
            "time",
            "Time",
            "Seconds of each epoch spent reading, computing and communicating.",
            f"{np.nansum(column(epochs, 'seconds', 'total')):.3g} s in {len(epochs)} epochs.",
            lambda: convergence.time_figure(epochs),
        )


def health_pictures(content: ReportContent) -> Iterator[Picture]:
    """What is known of every tilt beside its pose."""
    if np.isfinite(column(content.tilts, "weight")).any() and np.isfinite(column(content.tilts, "loss")).any():
        yield Picture(
            "health",
            "Tilt by tilt",
            "Loss of each tilt beside that of shot noise, its weight, fluence, drift and alignment residual.",
            "A tilt far above the others is misread, moved or contaminated; it counts less by itself. Drift is the "
            "way between the first and the last refined position of a scan.",
            lambda: health_figure(content.tilts),
        )


def geometry_pictures(content: ReportContent) -> Iterator[Picture]:
    """Poses, scan positions and probes."""
    tilts = content.tilts
    if tilts and np.isfinite(vectors(tilts, "initial_euler_angles", 3)).any():
        yield Picture(
            "poses",
            "Poses",
            "Corrections of the tilt angles, and translations before and after refinement.",
            "Lines join the initial to the refined translation. A common turn or shift of all tilts means nothing.",
            lambda: geometry.pose_figure(tilts),
        )
    moved = [positions for positions in content.scan_positions if len(positions.initial)]
    if moved:
        yield Picture(
            "scan_positions",
            "Scan positions",
            "Arrows from the initial to the refined scan positions of a few tilts.",
            "Neighbours that move together are drift or distortion; arrows at random are noise.",
            lambda: geometry.position_figure(moved),
        )
    if content.probes:
        first = ", ".join(f"{100 * power:.1f} %" for power in mode_powers(np.nan_to_num(content.probes[0].modes)))
        yield Picture(
            "probe",
            "Probe",
            f"Modes of the probe in colour, phase as hue; their share of the intensity in the first tilt is {first}.",
            "Amplitude as lightness, each mode on its own scale, and phase as hue.",
            lambda: probe_figure(content.probes),
        )

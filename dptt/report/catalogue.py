"""Which figures a content allows, in reading order, each with its title, caption and alternative text.

A figure is drawn only when the page is written, so that only one is in memory at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dptt.report.content import ReportContent, VoxelSize, column, find, numbers, vectors
from dptt.report.figures import convergence, geometry
from dptt.report.figures import volume as volumes
from dptt.report.figures.atoms import DETAIL, SLAB, atom_figure, atom_groups, detail, error_figure, peak_figure
from dptt.report.figures.experiment import experiment_figure, found_panels, found_sentences
from dptt.report.figures.health import health_figure
from dptt.report.figures.probe import mode_powers, probe_figure
from dptt.report.figures.view import view_figure
from dptt.report.picture import Picture
from dptt.report.planes import densest_indices
from dptt.report.resolution_pictures import resolution_pictures


@dataclass(frozen=True)
class Section:
    """Figures under one heading."""

    anchor: str
    title: str
    pictures: list[Picture]


def sections(content: ReportContent) -> list[Section]:
    """Return all sections that have a figure."""
    families = (
        ("volume", "Volume", volume_pictures),
        ("atoms", "Atoms", atom_pictures),
        ("resolution", "Resolution", resolution_pictures),
        ("convergence", "Convergence", convergence_pictures),
        ("health", "Quality of the tilts", health_pictures),
        ("experiment", "Errors of the experiment", experiment_pictures),
        ("geometry", "Poses, positions and probe", geometry_pictures),
    )
    all_sections = [Section(anchor, title, list(pictures(content))) for anchor, title, pictures in families]
    return [section for section in all_sections if section.pictures]


def depth_pictures(
    potential: NDArray[np.floating], size: VoxelSize, truth: NDArray[np.floating] | None
) -> Iterator[Picture]:
    """Projections and renderings, which only a volume of more than one plane has."""
    beside = "" if truth is None else ", with the truth below"
    scales = "" if truth is None else ", with the truth on the same colour scales"
    yield Picture(
        "projections",
        "Projections",
        f"Projections of the potential in volt ångström along z, y and x{beside}.",
        f"The potential integrated along each axis of the volume{scales}. Smearing along z in the second and third "
        "view comes from the missing wedge. The view along x corresponds to a tilt of 90°.",
        lambda: volumes.projection_figure(potential, size, truth),
    )
    yield Picture(
        "rendering",
        "Three-dimensional views",
        f"Shaded renderings of the potential along the beam, along the tilt axis and obliquely{beside}.",
        "Shaded views of the potential; yellow is near, blue is far. Potential below 15 % of the maximum, or below "
        "four standard deviations of the noise if that is more, is transparent. Weak atoms next to strong ones may "
        "therefore be invisible.",
        lambda: volumes.rendering_figure(potential, size, truth),
        pixels=True,
    )


def volume_pictures(content: ReportContent) -> Iterator[Picture]:
    """Projections, renderings and absorption; the slices are in the page itself."""
    if content.volume is None:
        return
    potential, size = content.potential(), content.voxel_size
    truth, densest = content.true_potential(), densest_indices(potential)
    if len(potential) > 1:
        yield from depth_pictures(potential, size, truth)
    seen_by = content.seen_by
    if seen_by is not None:
        yield Picture(
            "field_of_view",
            "Field of view",
            "Slices of the potential, outlined where all tilts and where half of them see the specimen.",
            "The specimen continues beyond the scan. What all tilts see is within the solid line, and only that is "
            "judged: resolution, atoms and their comparison. What half of the tilts see is within the dashed line. "
            "Beyond it the volume explains the patterns of the highest tilts; do not interpret it.",
            lambda: view_figure(potential, seen_by, size),
        )
    absorption = content.absorption()
    if absorption is not None:
        yield Picture(
            "absorption",
            "Absorption",
            "Three orthogonal slices of the imaginary part of the potential in volts.",
            "The imaginary part of the potential in the densest planes of its real part. Positive values remove "
            "electrons from the beam. Absorption should follow the atoms or be weak; structure elsewhere is a sign "
            "of effects that the model does not include.",
            lambda: volumes.absorption_figure(absorption, size, densest),
        )


UNCONFIRMED = "No truth confirms that these peaks are atoms. "
MATCHED = "A matched atom lies close to a true atom, a false one does not; a missed one is true but was not found. "


def atom_pictures(content: ReportContent) -> Iterator[Picture]:
    """Traced atoms and their heights, then the errors of fitted ones."""
    atoms = find(content.analysis, "atoms")
    groups = atom_groups(atoms, content.true_atoms)
    if groups and content.volume is not None:
        counts = ", ".join(f"{len(group.positions)} {group.label}" for group in groups)
        matched = any(group.label == "matched" for group in groups)
        kind, meaning = ("atoms", MATCHED) if matched else ("peaks", UNCONFIRMED)
        potential = content.potential()
        yield Picture(
            "atoms",
            f"Traced {kind}",
            f"Positions of {kind} drawn over projections and slices: {counts}.",
            f"{kind.capitalize()}: {counts}. {meaning}Each slice shows only the {kind} within {SLAB:g} Å of it.",
            lambda: atom_figure(potential, content.voxel_size, groups),
        )
        centre = detail(potential, content.voxel_size, groups)
        if centre is not None:
            yield Picture(
                "atoms_detail",
                f"Traced {kind} near the centre",
                f"Positions of {kind} drawn over slices through the central {DETAIL:g} Å of the volume.",
                f"The central {DETAIL:g} Å of the volume, cut at its densest planes.",
                lambda: atom_figure(centre[0], content.voxel_size, centre[1]),
            )
    heights = numbers(atoms, "heights")
    if heights is not None and np.isfinite(heights).any():
        yield Picture(
            "atom_peaks",
            "Peak heights",
            "Heights of the traced peaks in volts in falling order, and their histogram.",
            "Height of the Gaussian fitted to each peak, above the local background. Atoms of one element form a "
            "group; a tail of low heights is a sign of false atoms. The mean potential of the volume is set by the "
            "constraints (l1, non-negativity) and is not measured.",
            lambda: peak_figure(atoms),
        )
    fitted = content.fitted_atoms
    if fitted is not None and len(fitted.positions):
        ratios = numbers(content.analysis, "fitted_atoms", "against_truth", "ratios")
        beside = (
            ""
            if ratios is None
            else (" Right: (fitted - true) / standard error beside the normal distribution that right errors have.")
        )
        yield Picture(
            "fitted_errors",
            "Errors of fitted atoms",
            "Histogram of the standard errors of z, y and x of the atoms that were fitted to the patterns.",
            f"Standard errors of the {len(fitted.positions)} atoms fitted to the patterns along each axis; z is the "
            f"beam, y the tilt axis. They hold shot noise and what the tilts contradict each other in.{beside}",
            lambda: error_figure(fitted.errors[:, :3], ratios),
        )


def convergence_pictures(content: ReportContent) -> Iterator[Picture]:
    """Loss by epoch and by tilt, and computing time."""
    epochs, tilts = content.epochs, content.tilts
    if np.any(column(epochs, "loss") > 0):
        yield Picture(
            "loss",
            "Loss",
            "Loss and held-out loss against epoch on a logarithmic scale.",
            "Loss per electron: 0 is a perfect fit, and shot noise keeps it above 0. A held-out loss that rises is a "
            "sign of overfitting.",
            lambda: convergence.loss_figure(epochs),
        )
    last = convergence.tilt_losses(epochs, tilts)
    if np.isfinite(last).any() and not np.isfinite(column(tilts, "weight")).any():
        yield Picture(
            "loss_by_tilt",
            "Loss by tilt",
            "Loss of each tilt against its angle, after the last epoch.",
            "Loss of each tilt after the last epoch. A tilt well above its neighbours may be misaligned, may have "
            "drifted or may be contaminated.",
            lambda: convergence.tilt_loss_figure(epochs, tilts),
        )
    if any(np.any(column(epochs, "seconds", part) > 0) for part in convergence.SECONDS):
        yield Picture(
            "time",
            "Time",
            "Seconds of each epoch spent reading, computing and communicating.",
            f"Total: {np.nansum(column(epochs, 'seconds', 'total')):.3g} s in {len(epochs)} epochs.",
            lambda: convergence.time_figure(epochs),
        )


def health_pictures(content: ReportContent) -> Iterator[Picture]:
    """How well every tilt is explained by the volume, its exposure and its drift."""
    if np.isfinite(column(content.tilts, "weight")).any() and np.isfinite(column(content.tilts, "loss")).any():
        drift = " Drift: shift of the refined against the nominal positions between the first and the last pattern."
        drifted = bool(np.any(column(content.tilts, "drift_A") > 0))
        yield Picture(
            "health",
            "Tilt by tilt",
            "Loss of each tilt with that of shot noise alone, its weight, figure of fit, fluence, drift and "
            "alignment residual.",
            "Figure of fit: loss of held-out patterns over that of shot noise, 1 if all else is explained. A tilt "
            "far above the others may have a wrong angle, may have moved or may be contaminated. Its weight "
            f"in the reconstruction is reduced automatically.{drift if drifted else ''}",
            lambda: health_figure(content.tilts),
        )


def experiment_pictures(content: ReportContent) -> Iterator[Picture]:
    """What was found of the experiment of every tilt."""
    if found_panels(content.tilts):
        yield Picture(
            "experiment",
            "Errors of the experiment",
            "Scan geometry, descan, focus, background and blur of every tilt, with standard errors.",
            f"Found from patterns that were not fitted meanwhile; bars are one standard error. "
            f"{found_sentences(content.tilts)} What is not shown does not differ from zero beyond its errors, is too "
            "small a descan to matter, or was not looked for.",
            lambda: experiment_figure(content.tilts),
        )


def _judged(content: ReportContent) -> bool:
    """Return whether poses were refined, also if they were then set back."""
    return bool(content.verdicts) or geometry.poses_refined(content.tilts)


def geometry_pictures(content: ReportContent) -> Iterator[Picture]:
    """Poses, scan positions and probes."""
    tilts = content.tilts
    if tilts and np.isfinite(vectors(tilts, "initial_euler_angles", 3)).any() and _judged(content):
        yield Picture(
            "poses",
            "Poses",
            "Corrections of the tilt angles, and translations before and after refinement.",
            "Left: change of the Euler angles. Right: lines join the initial to the refined translations. A rotation "
            f"or shift that all tilts share is not an error. {' '.join(content.verdicts)}".rstrip(),
            lambda: geometry.pose_figure(tilts),
        )
    moved = [positions for positions in content.scan_positions if len(positions.initial)]
    if moved:
        yield Picture(
            "scan_positions",
            "Scan positions",
            "Arrows from the initial to the refined scan positions of a few tilts.",
            "Corrections of the scan positions of a few tilts. Neighbours that move together show drift or "
            "distortion of the scan; arrows in random directions are noise.",
            lambda: geometry.position_figure(moved),
        )
    if content.probes:
        shares = ", ".join(f"{100 * power:.1f} %" for power in mode_powers(np.nan_to_num(content.probes[0].modes)))
        yield Picture(
            "probe",
            "Probe",
            f"Modes of the probe in colour, phase as hue; their shares of the intensity in the first tilt: {shares}.",
            "Left: the first mode in the far field, where its phase is the aberration function, with the aberrations "
            "that the series states. Then the modes at the specimen, with their shares of the intensity. Lightness "
            "is the amplitude, on a scale of its own in each; hue is the phase.",
            lambda: probe_figure(content.probes),
        )

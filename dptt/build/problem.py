"""From a tilt series and a configuration to the reconstruction problem that the solver takes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dptt.build.geometry import geometry_problems, plan_geometry
from dptt.config import Config
from dptt.config.reconstruction import ProbeConfig, ReconstructionConfig, RefinementConfig
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.model.forward import Geometry
from dptt.model.patterns import PatternReader, centre_window
from dptt.model.state import TomographyState
from dptt.physics.multislice import propagate
from dptt.physics.probe import hermite_modes, make_probe, probe_from_pattern, resample_probe
from dptt.solvers.settings import Refinement, Regularisation, TomographySettings

PATTERNS_FOR_MEAN = 256
"""Evenly spaced patterns of a tilt whose mean sets the strength and the amplitude of the probe."""


@dataclass(frozen=True)
class Problem:
    """Everything `solvers.tomography.reconstruct` needs, and the names of the tilts."""

    geometry: Geometry
    settings: TomographySettings
    state: TomographyState
    tilts: list[PatternReader]
    names: list[str]


def build_problem(config: Config, series: TiltSeries, num_ranks: int = 1) -> Problem:
    """Return the reconstruction problem of `series`; the same on every rank, with patterns still unread.

    Raises
    ------
    ProblemsError
        Grids, calibration and scan contradict each other; all contradictions are listed.
    """
    choices = config.reconstruction
    selections = [np.arange(choices.offset, tilt.num_positions, choices.every) for tilt in series.tilts]
    geometry = plan_series_geometry(config, series)
    kept = sum(
        len(chosen) * np.prod(tilt.detector_shape) * tilt.dtype.itemsize
        for tilt, chosen in zip(series.tilts, selections, strict=True)
    )
    keep = bool(kept / num_ranks <= choices.data_memory * 2**20)
    means = [_mean_pattern(tilt, chosen) for tilt, chosen in zip(series.tilts, selections, strict=True)]
    dark = [
        f"tilt {tilt.name}: the patterns hold {mean.sum()} electrons on average; expected more than zero"
        for tilt, mean in zip(series.tilts, means, strict=True)
        if not mean.sum() > 0
    ]
    if dark:
        raise ProblemsError(series.path, dark)
    readers = [
        PatternReader(
            tilt.read,
            chosen,
            tilt.detector_shape,
            geometry.window_shape,
            1 / tilt.counts_per_electron,
            float(mean.sum()),
            tilt.mask(),
            keep,
        )
        for tilt, chosen, mean in zip(series.tilts, selections, means, strict=True)
    ]
    wave = torch.complex128 if choices.precision == "double" else torch.complex64
    probes = [
        _front_probe(tilt, series, geometry, choices.probe, mean).to(wave)
        for tilt, mean in zip(series.tilts, means, strict=True)
    ]
    volume_dtype = wave if config.volume.kind == "complex" else torch.empty(0, dtype=wave).real.dtype
    state = TomographyState.initial(
        geometry.volume_shape,
        volume_dtype,
        probes,
        [torch.from_numpy(t.scan_positions()[chosen]) for t, chosen in zip(series.tilts, selections, strict=True)],
        torch.tensor([tilt.euler_angles for tilt in series.tilts], dtype=torch.float64),
        torch.tensor([tilt.translation for tilt in series.tilts], dtype=torch.float64),
    )
    return Problem(geometry, _settings(choices), state, readers, [tilt.name for tilt in series.tilts])


def plan_series_geometry(config: Config, series: TiltSeries) -> Geometry:
    """Return the grids for `series`, checked against its calibration and scan.

    All scan positions count, also those that `every` leaves out: half-sets share one grid.
    """
    detector_shape = series.tilts[0].detector_shape
    positions = [tilt.scan_positions() for tilt in series.tilts]
    too_few = [
        f"tilt {tilt.name} has {tilt.num_positions} patterns; reconstruction.every and offset "
        f"({config.reconstruction.every}, {config.reconstruction.offset}) leave none. Choose a smaller offset."
        for tilt in series.tilts
        if config.reconstruction.offset >= tilt.num_positions
    ]
    if too_few:
        raise ProblemsError(series.path, too_few)
    geometry = plan_geometry(
        config.volume,
        energy=series.energy,
        semiangle=series.semiangle_cutoff,
        angular_sampling=series.angular_sampling,
        detector_shape=detector_shape,
        positions=positions,
    )
    problems = geometry_problems(
        geometry,
        semiangle=series.semiangle_cutoff,
        angular_sampling=series.angular_sampling,
        detector_shape=detector_shape,
        positions=positions,
        names=[tilt.name for tilt in series.tilts],
        periodic=config.volume.periodic,
    )
    if problems:
        raise ProblemsError(series.path, problems)
    return geometry


def centre_plane_probe(probe: Tensor, geometry: Geometry) -> Tensor:
    """Return a probe of the solver (in front of the first slice) in the plane of the rotation centre, z' = 0."""
    return propagate(probe, geometry.propagator(-geometry.first_slice_depth, probe.dtype))


def _mean_pattern(tilt: Tilt, selection: np.ndarray) -> np.ndarray:
    """Return the mean of evenly spaced patterns [electrons], invalid pixels zero; the same on every rank."""
    chosen = selection[np.unique(np.linspace(0, len(selection) - 1, PATTERNS_FOR_MEAN).astype(int))]
    mean = tilt.read(chosen).mean(0, dtype=np.float64) / tilt.counts_per_electron
    mask = tilt.mask()
    return mean if mask is None else np.where(mask, mean, 0.0)


def _front_probe(
    tilt: Tilt, series: TiltSeries, geometry: Geometry, choice: ProbeConfig, mean_pattern: np.ndarray
) -> Tensor:
    """Return the probe in front of the first slice: the file's own, or one of its optics and mean pattern."""
    stored = tilt.probe()
    if stored is not None:
        probe = resample_probe(torch.from_numpy(stored).to(torch.complex128), geometry.window_shape)
    else:
        optics = {
            "wavelength": geometry.wavelength,
            "semiangle": series.semiangle_cutoff,
            "aberrations": tilt.aberrations,
        }
        if choice.amplitude == "pattern":
            pattern = centre_window(mean_pattern[None], geometry.window_shape)[0]
            single = probe_from_pattern(pattern, geometry.sampling, **optics)  # type: ignore[arg-type]
        else:
            single = make_probe(
                geometry.window_shape,
                geometry.sampling,
                electrons=float(mean_pattern.sum()),
                **optics,  # type: ignore[arg-type]
            )
        probe = hermite_modes(single, choice.modes) if choice.modes > 1 else single[None]
    return propagate(probe, geometry.propagator(geometry.first_slice_depth, torch.complex128))


def _settings(choices: ReconstructionConfig) -> TomographySettings:
    constraints = choices.regularisation
    return TomographySettings(
        epochs=choices.epochs,
        step=choices.step,
        momentum=choices.momentum,
        batches=choices.batches,
        tilt_order=choices.tilt_order,
        loss=choices.loss,
        epsilon=choices.epsilon,
        validation_fraction=choices.validation_fraction,
        probe=_refinement(choices.probe),
        positions=_refinement(choices.positions),
        angles=_refinement(choices.angles),
        translations=_refinement(choices.translations),
        regularisation=Regularisation(
            nonnegativity=constraints.nonnegativity,
            nonnegative_absorption=constraints.nonnegative_absorption,
            l1=constraints.l1,
            l1_start=constraints.l1_from_epoch - 1,
            l1_half_life=constraints.l1_half_life,
            shrinkage=constraints.shrinkage,
            butterworth_cutoff=constraints.butterworth_cutoff,
            butterworth_order=constraints.butterworth_order,
            layer_weight=constraints.layer_weight,
            layer_strength=constraints.layer_strength,
        ),
        chunk_bytes=round(choices.chunk_memory * 2**20),
        seed=choices.seed,
    )


def _refinement(choice: RefinementConfig) -> Refinement:
    return Refinement(None if choice.from_epoch is None else choice.from_epoch - 1, choice.step)

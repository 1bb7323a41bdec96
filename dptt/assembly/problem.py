"""From a tilt series and a configuration to the problem that the solver takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dptt.assembly.device_use import ON_HOST, DeviceUse
from dptt.assembly.geometry import Experiment, geometry_problems, plan_geometry
from dptt.assembly.selection import reconstructed_positions
from dptt.assembly.settings import reconstruction_settings
from dptt.assembly.start import (
    PatternSample,
    TiltStart,
    electrons_per_pixel,
    front_probe,
    series_start,
    usable_tilts,
)
from dptt.config import Config
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.model.forward import Geometry
from dptt.model.patterns import Delivery, Loaded, PatternReader, StoredPatterns
from dptt.model.read_ahead import ReadAhead
from dptt.model.state import TomographyState
from dptt.solvers.tomography.settings import TomographySettings


@dataclass(frozen=True)
class Problem:
    """Everything `solvers.tomography.reconstruct` needs, and the names of the tilts."""

    geometry: Geometry
    settings: TomographySettings
    state: TomographyState
    tilts: list[PatternReader]
    names: list[str]
    left_out: list[str]
    """A sentence for every tilt that is left out."""


def build_problem(
    config: Config,
    series: TiltSeries,
    num_ranks: int = 1,
    starts: Mapping[str, TiltStart] | None = None,
    rows: Callable[[int], range] = range,
    use: DeviceUse = ON_HOST,
    *,
    ahead: ReadAhead[Loaded] | None = None,
) -> Problem:
    """Return the reconstruction problem of `series`; the same on every rank, with patterns still unread.

    Parameters
    ----------
    starts
        Start values of each tilt from earlier steps; those of the file if left out.
    rows
        Returns, for the height of the volume, the rows along y that this rank holds; all if left out.
    use
        How the rank uses its device.
    ahead
        What the readers share to read ahead; leave its block before the series is closed.

    Raises
    ------
    ProblemsError
        Grids, calibration and scan contradict each other; all contradictions are listed.
    """
    choices = config.reconstruction
    starts = starts or series_start(series)
    geometry = plan_series_geometry(config, series, starts)
    selections = {tilt.name: reconstructed_positions(config, tilt) for tilt in series.tilts}
    tilts, samples, left_out = usable_tilts(series, selections, choices.exclude, starts=starts)
    fewest = min(tilt.num_positions for tilt in tilts) // choices.every  # the same for a half-set
    electrons = electrons_per_pixel(tilts, samples)
    settings = use.settings(
        reconstruction_settings(choices, config.distribution, patterns=fewest, electrons=electrons)
    )
    keep = fits_in_memory(tilts, selections, choices.data_memory * num_ranks)
    delivery = pattern_delivery(geometry, keep, use, ahead)
    readers = [
        pattern_reader(tilt, selections[tilt.name], sample=samples[tilt.name], delivery=delivery) for tilt in tilts
    ]
    wave = torch.complex128 if choices.precision == "double" else torch.complex64
    chosen = [starts[tilt.name] for tilt in tilts]
    depth, height, width = geometry.volume_shape
    state = TomographyState.initial(
        (depth, len(rows(height)), width),
        wave if config.volume.kind == "complex" else torch.empty(0, dtype=wave).real.dtype,
        [
            front_probe(start, series, geometry, choices.probe, samples[tilt.name].mean).to(wave)
            for tilt, start in zip(tilts, chosen, strict=True)
        ],
        [
            torch.from_numpy(start.scan_positions[selections[tilt.name]])
            for tilt, start in zip(tilts, chosen, strict=True)
        ],
        torch.tensor([start.euler_angles for start in chosen], dtype=torch.float64),
        torch.tensor([start.translation for start in chosen], dtype=torch.float64),
        torch.stack([start.calibration for start in chosen]),
    )
    return Problem(geometry, settings, state, readers, [tilt.name for tilt in tilts], left_out)


def fits_in_memory(tilts: Sequence[Tilt], selections: Mapping[str, np.ndarray], memory: float) -> bool:
    """Return whether the chosen patterns take no more than `memory` [MiB]."""
    size = sum(len(selections[t.name]) * np.prod(t.detector_shape) * t.dtype.itemsize for t in tilts)
    return bool(size <= memory * 2**20)


def pattern_delivery(geometry: Geometry, keep: bool, use: DeviceUse, ahead: ReadAhead[Loaded] | None) -> Delivery:
    """Return how the readers of a problem bring patterns to the device, reading `ahead` together."""
    return Delivery(
        window_shape=geometry.window_shape,
        keep=keep,
        transfer=use.transfer,
        resident=use.resident,
        ahead=ahead or ReadAhead(),
    )


def pattern_reader(
    tilt: Tilt,
    selection: np.ndarray,
    *,
    sample: PatternSample,
    delivery: Delivery,
) -> PatternReader:
    """Return the reader of the patterns `selection` of a tilt, of which `sample` is known."""
    stored = StoredPatterns(
        read=tilt.read,
        selection=selection,
        detector_shape=tilt.detector_shape,
        scale=1 / tilt.counts_per_electron,
        mean_electrons=float(sample.mean.sum()),
        limits=sample.limits,
        mask=sample.mask,
        name=tilt.name,
    )
    return PatternReader(stored, delivery)


def plan_series_geometry(
    config: Config, series: TiltSeries, starts: Mapping[str, TiltStart] | None = None
) -> Geometry:
    """Return the grids for `series`, checked against its calibration and scan.

    The grids hold all scan positions, also those that `every` leaves out: half-sets share one grid.
    """
    choices = config.reconstruction
    too_few = [
        f"tilt {tilt.name} has {tilt.num_positions} patterns; reconstruction.every and offset "
        f"({choices.every}, {choices.offset}) leave none of them"
        + (f" in half {config.half}" if config.half else "")
        + ". Use smaller ones."
        for tilt in series.tilts
        if not len(reconstructed_positions(config, tilt))
    ]
    if too_few:
        raise ProblemsError(series.path, too_few)
    experiment = series_experiment(series, starts or series_start(series))
    geometry = plan_geometry(config.volume, experiment)
    problems = geometry_problems(geometry, experiment, periodic=config.volume.periodic)
    if problems:
        raise ProblemsError(series.path, problems)
    return geometry


def series_experiment(series: TiltSeries, starts: Mapping[str, TiltStart]) -> Experiment:
    """Return beam, detector and scan of `series`, with the scan positions of `starts`."""
    return Experiment(
        energy=series.energy,
        semiangle=series.semiangle_cutoff,
        angular_sampling=series.angular_sampling,
        detector_shape=series.detector_shape,
        positions={name: start.scan_positions for name, start in starts.items()},
        euler_angles={name: start.euler_angles for name, start in starts.items()},
    )

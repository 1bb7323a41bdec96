"""From the result of a reconstruction to the fit of its atoms: traced atoms, refined probes and poses, grids."""

import math
from dataclasses import dataclass, replace

import gemmi
import numpy as np
import torch

from dptt.analysis.atoms import trace_atoms
from dptt.assembly.device_use import ON_HOST
from dptt.assembly.geometry import Experiment, check_slices, plan_geometry
from dptt.assembly.problem import fits_in_memory, pattern_delivery, pattern_reader, series_experiment
from dptt.assembly.selection import reconstructed_positions
from dptt.assembly.start import TiltStart, front_probe, usable_tilts
from dptt.config import Config, ConfigError
from dptt.config.atoms import AtomsConfig
from dptt.config.reconstruction import VolumeConfig
from dptt.distributed.comm import Communicator
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedTilt, ReconstructedVolume
from dptt.model.atoms import Atoms
from dptt.model.calibration import parameters_of
from dptt.model.forward import Geometry
from dptt.model.patterns import Loaded
from dptt.model.read_ahead import ReadAhead
from dptt.physics.electron import wavelength
from dptt.simulation.scattering import gaussian_coefficients
from dptt.solvers.atoms import SCANS_DOUBT, AtomFitSettings, AtomModel, AtomProblem

FINEST_NEEDED = 0.205
"""[Å]: heavy atoms scatter up to 2.5 1/Å, and what a coarser grid cuts off comes back aliased: pixels of 0.27 Å move
atoms by 1.4 and B by 2 standard errors at 1e5 e/Å² (docs/atoms.md)."""
FAST_FACTORS = (2, 3, 5)
"""Of the window's pixels, for the Fourier transforms."""
MARGIN = 1.0
"""Of the slices before and behind the atoms [Å]."""
COARSER = 3.0
"""Thickness of the coarse slices over that of the fine ones."""
FIRST_B_FACTOR = 0.5
"""[Å²], rms displacements of 0.08 Å."""


@dataclass(frozen=True)
class AtomFit:
    """Everything `solvers.atoms.fit_atoms` needs, and the names of the tilts."""

    coarse: AtomProblem
    """On the pixels of the volume."""
    fine: AtomProblem
    settings: AtomFitSettings
    start: AtomModel
    """On the grid of `coarse`."""
    names: list[str]


def build_atom_fit(
    config: Config,
    series: TiltSeries,
    result: ReconstructedVolume,
    communicator: Communicator,
    *,
    device: torch.device | None = None,
    ahead: ReadAhead[Loaded] | None = None,
) -> AtomFit:
    """Return the fit of the atoms in a reconstructed volume; the same on every rank, with patterns still unread.

    Raises
    ------
    ConfigError
        There is no section `atoms`, or it names what is no element.
    ProblemsError
        No atom is traced in the volume, or none of its tilts can be used.
    """
    options = config.atoms
    if options is None:
        raise ConfigError("the configuration has no section `atoms`. Add one, with the `elements` that may be there.")
    numbers = atomic_numbers(options.elements)
    atoms = _traced(config, result, numbers)
    selections = {tilt.name: reconstructed_positions(config, tilt) for tilt in series.tilts}
    excluded = config.reconstruction.exclude + [t.name for t in series.tilts if t.name not in result.tilts]
    tilts, samples, _ = usable_tilts(series, selections, list(dict.fromkeys(excluded)))
    starts = {tilt.name: _start(tilt, selections[tilt.name], result.tilts[tilt.name]) for tilt in tilts}
    geometries = atom_geometries(config, options, series_experiment(series, starts), atoms)
    keep = fits_in_memory(tilts, selections, config.reconstruction.data_memory * communicator.size)

    def problem(geometry: Geometry) -> AtomProblem:
        delivery = pattern_delivery(geometry, keep, ON_HOST, ahead)
        return AtomProblem(
            geometry=geometry,
            tilts=[pattern_reader(t, selections[t.name], sample=samples[t.name], delivery=delivery) for t in tilts],
            positions=[torch.from_numpy(starts[t.name].scan_positions[selections[t.name]]) for t in tilts],
            calibrations=[parameters_of(result.tilts[t.name].attributes) for t in tilts],
            communicator=communicator,
            epsilon=config.reconstruction.epsilon,
            seed=options.seed,
            chunk_bytes=round(config.reconstruction.chunk_memory * 2**20),
        )

    coarse, fine = map(problem, geometries)
    wave = torch.complex128 if config.reconstruction.precision == "double" else torch.complex64
    settings, chosen = config.reconstruction.probe, [starts[tilt.name] for tilt in tilts]
    start = AtomModel(
        atoms,
        tuple(
            front_probe(start, series, coarse.geometry, settings, samples[tilt.name].mean).to(device, wave)
            for tilt, start in zip(tilts, chosen, strict=True)
        ),
        torch.tensor([start.euler_angles for start in chosen], dtype=torch.float64),
        torch.tensor([start.translation for start in chosen], dtype=torch.float64),
        torch.zeros((len(chosen), 4), dtype=torch.float64),
    )
    return AtomFit(coarse, fine, _settings(config, options, numbers), start, [tilt.name for tilt in tilts])


def atomic_numbers(symbols: tuple[str, ...]) -> tuple[int, ...]:
    """Return the atomic numbers of chemical symbols, ascending and each once.

    Raises
    ------
    ConfigError
        A symbol is no element with scattering factors; all are listed.
    """
    numbers, wrong = set(), []
    for symbol in symbols:
        number = gemmi.Element(symbol).atomic_number
        try:
            gaussian_coefficients(number)
        except ValueError:
            wrong.append(symbol)
        numbers.add(number)
    if wrong:
        raise ConfigError(
            f"atoms.elements names {', '.join(wrong)}; expected symbols of elements up to Cf (Z = 98), such as Pt."
        )
    return tuple(sorted(numbers))


def atom_geometries(
    config: Config, options: AtomsConfig, experiment: Experiment, atoms: Atoms
) -> tuple[Geometry, Geometry]:
    """Return the grids of the fit, one plane a slice: a coarse one, and one as fine as atoms scatter."""
    coarse = plan_geometry(config.volume, experiment)
    reach = atoms.positions.norm(dim=1).max().item() + MARGIN

    def grid(pixel: float, slice_thickness: float) -> Geometry:
        fine = plan_geometry(VolumeConfig(voxel_size=pixel, margin=config.volume.margin), experiment)
        height, width = fine.volume_shape[1:]
        if config.volume.periodic:
            pairs = zip(coarse.volume_shape[1:], coarse.voxel_size[1:], fine.sampling, strict=True)
            height, width = (round(n * old / new) for n, old, new in pairs)
        num_slices = 2 * math.ceil(reach / slice_thickness - 0.5) + 1  # odd: the middle one at the rotation axis
        check_slices("atoms", num_slices, slice_thickness)
        return replace(
            fine,
            volume_shape=(num_slices, height, width),
            voxel_size=(slice_thickness, *fine.sampling),
            num_slices=num_slices,
            periodic=config.volume.periodic,
        )

    largest = 1e3 * wavelength(experiment.energy) / (2 * experiment.semiangle)
    if options.voxel_size is not None and options.voxel_size > largest:
        raise ConfigError(
            f"atoms.voxel_size is {options.voxel_size:g} Å, which does not hold the bright disk of "
            f"{experiment.semiangle:g} mrad; expected {largest:.3g} Å at most. Leave it out."
        )
    pixel = options.voxel_size or fitting_pixel(coarse.voxel_size[1], experiment.window_size[0])
    return grid(coarse.voxel_size[1], COARSER * options.slice_thickness), grid(pixel, options.slice_thickness)


def fitting_pixel(reconstructed: float, window: float) -> float:
    """Return the pixel [Å] for a `window` [Å]: that of the volume if fine enough, else one with fast transforms."""
    if reconstructed <= FINEST_NEEDED:
        return reconstructed
    pixels = math.ceil(window / FINEST_NEEDED)
    while _without_factors(pixels) > 1 or pixels % 2:
        pixels += 1
    return window / pixels


def _without_factors(number: int) -> int:
    for factor in FAST_FACTORS:
        while number % factor == 0:
            number //= factor
    return number


def _traced(config: Config, result: ReconstructedVolume, numbers: tuple[int, ...]) -> Atoms:
    """Return the significant peaks of the volume as atoms of the middle element, occupied by their heights."""
    traced = trace_atoms(
        np.ascontiguousarray(result.volume.real.astype(np.float64)),
        result.voxel_size,
        min_separation=config.analysis.min_separation,
        threshold=config.analysis.atom_threshold,
    )
    kept = traced.is_significant()
    if not kept.any():
        raise ProblemsError(
            config.run / "volume.h5",
            ["no atom is traced in the volume. Look at its page; lower analysis.atom_threshold if it has atoms."],
        )
    positions = traced.positions[kept] + np.asarray(result.origin)
    count = len(positions)
    return Atoms(
        torch.from_numpy(positions),
        torch.from_numpy(traced.peaks[kept] / np.median(traced.peaks[kept])),
        torch.full((count,), FIRST_B_FACTOR, dtype=torch.float64),
        torch.full((count,), numbers[len(numbers) // 2]),
    )


def _start(tilt: Tilt, selection: np.ndarray, reconstructed: ReconstructedTilt) -> TiltStart:
    """Return where the reconstruction ended with a tilt."""
    positions = tilt.scan_positions().copy()
    if reconstructed.scan_positions is not None:
        positions[selection] = reconstructed.scan_positions
    return TiltStart(
        reconstructed.euler_angles, reconstructed.translation, positions, tilt.aberrations, reconstructed.probe
    )


def _settings(config: Config, options: AtomsConfig, numbers: tuple[int, ...]) -> AtomFitSettings:
    refined = (
        config.reconstruction.angles.from_epoch is not None
        or config.reconstruction.translations.from_epoch is not None
        or config.alignment is not None
    )
    return AtomFitSettings(
        elements=numbers,
        iterations=options.iterations,
        rounds=options.rounds,
        probes=options.probes,
        scans=options.scans is not False,
        least_scan=SCANS_DOUBT if options.scans == "auto" else 0.0,
        poses=refined if options.poses == "auto" else options.poses,
        thermal=options.thermal,
        false_rate=options.false_rate,
        draws=options.draws,
        min_separation=config.analysis.min_separation,
    )

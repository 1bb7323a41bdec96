"""From the `simulation` section to specimen, optics, scan and exposure, and from simulated tilts to a file."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from dptt import __version__
from dptt.assembly.geometry import Experiment
from dptt.config import expand_path
from dptt.config.experiment import ExperimentConfig
from dptt.config.simulation import (
    Alloy,
    Amorphous,
    CoreShell,
    Nanoparticle,
    SimulationConfig,
    SpecimenConfig,
    StructureFile,
    TelluriumOnNanotube,
)
from dptt.io.series_data import SeriesHeader, TiltData
from dptt.io.truth import TrueTilt, Truth
from dptt.simulation.acquisition import (
    Acquisition,
    Exposure,
    Optics,
    Scan,
    TiltScheme,
    angular_sampling_of,
    tilt_range,
)
from dptt.simulation.experiment import ExperimentErrors, bad_pixels
from dptt.simulation.nanotubes import tellurium_on_nanotube
from dptt.simulation.potential import sample_volume
from dptt.simulation.series import MultisliceSettings, SeriesSimulator, SimulatedTilt, check_sizes
from dptt.simulation.specimen import Specimen as Specimen
from dptt.simulation.structures import (
    amorphous_packing,
    core_shell,
    nanoparticle,
    random_alloy,
    read_structure,
)
from dptt.simulation.unit_cells import PREFIX, unit_cell_file
from dptt.simulation.unit_cells import unit_cells as unit_cells


def build_specimen(options: SpecimenConfig) -> Specimen:
    """Return the atoms that the `specimen` section describes; paths may name environment variables."""
    arguments = options.model_dump(exclude={"kind"})
    for file in {"path", "core", "shell"} & set(arguments):
        arguments[file] = _structure_file(arguments[file])
    match options:
        case StructureFile():
            return read_structure(**arguments)
        case Nanoparticle():
            return nanoparticle(**arguments)
        case Alloy():
            return random_alloy(**arguments)
        case CoreShell():
            return core_shell(**arguments)
        case Amorphous():
            return amorphous_packing(**arguments)
        case TelluriumOnNanotube():
            return tellurium_on_nanotube(**arguments)


def _structure_file(text: str) -> Path:
    """Return the file of a structure: a path, or `crystal:NAME` for one that dptt has."""
    return unit_cell_file(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else expand_path(text)


def build_optics(options: SimulationConfig) -> Optics:
    """Return beam, probe and detector, as they truly are."""
    microscope = options.microscope
    return Optics(
        energy=microscope.energy,
        semiangle_cutoff=microscope.semiangle_cutoff,
        detector_shape=microscope.detector_shape,
        angular_sampling=angular_sampling_of(microscope.largest_angle, microscope.detector_shape),
        aberrations=resolve_defocus(microscope.aberrations),
        focal_spread=microscope.focal_spread,
        source_size=microscope.source_size,
    )


def build_scan(options: SimulationConfig) -> Scan:
    """Return the raster of scan positions."""
    scan = options.scan
    return Scan(
        scan.shape,
        scan.step,
        rotation=scan.rotation,
        jitter=scan.jitter,
        drift=scan.drift,
        seed=options.seed,
        reported_rotation=scan.reported_rotation,
    )


def simulated_experiment(optics: Optics, scan: Scan, scheme: TiltScheme) -> Experiment:
    """Return what the grids of the reconstruction follow from."""
    names = [f"{i:04d}" for i in range(len(scheme.angles))]
    return Experiment(
        energy=optics.energy,
        semiangle=optics.semiangle_cutoff,
        angular_sampling=optics.angular_sampling,
        detector_shape=optics.detector_shape,
        positions=dict.fromkeys(names, scan.nominal_positions()),
        euler_angles={name: pose.euler_angles for name, pose in zip(names, scheme.nominal_poses(), strict=True)},
    )


def build_scheme(options: SimulationConfig) -> TiltScheme:
    """Return nominal and true poses."""
    tilts = options.tilts
    if tilts.angles is not None:
        angles = tuple(tilts.angles)
    else:
        assert tilts.start is not None and tilts.stop is not None and tilts.step is not None
        angles = tilt_range(tilts.start, tilts.stop, tilts.step)
    return TiltScheme(
        angles,
        angle_errors=tilts.angle_errors,
        translation_error=tilts.translation_error,
        seed=options.seed,
        defocus_error=tilts.defocus_error,
    )


def build_acquisition(options: SimulationConfig) -> Acquisition:
    """Return the whole experiment, as it truly is."""
    return Acquisition(
        optics=build_optics(options),
        scan=build_scan(options),
        scheme=build_scheme(options),
        exposure=Exposure(options.fluence, shot_noise=options.shot_noise, seed=options.seed),
        errors=ExperimentErrors(**options.experiment.model_dump(), seed=options.seed),
    )


def series_header(options: SimulationConfig, creator: str, created: str, config: str) -> SeriesHeader:
    """Return what all simulated tilts have in common, as the microscope reports it."""
    optics = build_optics(options)
    reported = options.microscope.reported_aberrations
    return SeriesHeader(
        energy=optics.energy,
        semiangle_cutoff=optics.semiangle_cutoff * (1 + options.experiment.aperture / 100),
        angular_sampling=optics.angular_sampling,
        aberrations=optics.aberrations if reported is None else resolve_defocus(reported),
        creator=creator,
        created=created,
        source="simulated",
        config=config,
    )


def check_simulation(options: SimulationConfig, specimen: Specimen) -> None:
    """Raise a ValueError if a tilt would need more than any computer has, or the wave does not hold the aperture."""
    check_sizes(specimen, build_acquisition(options), _multislice(options))


def _multislice(options: SimulationConfig) -> MultisliceSettings:
    return MultisliceSettings(**options.multislice.model_dump(), seed=options.seed)


def build_simulator(
    options: SimulationConfig, specimen: Specimen, device: torch.device | str = "cpu"
) -> SeriesSimulator:
    """Return what simulates the tilts; `device` carries the waves."""
    return SeriesSimulator(specimen, build_acquisition(options), _multislice(options), device)


def tilt_data(tilt: SimulatedTilt, scan_shape: tuple[int, int]) -> TiltData:
    """Return a simulated tilt as it is written: its nominal pose and positions."""
    return TiltData(
        patterns=tilt.patterns,
        scan_positions=tilt.nominal_positions,
        euler_angles=tilt.nominal_pose.euler_angles,
        translation=tilt.nominal_pose.translation,
        scan_shape=scan_shape,
    )


def simulation_identity(options: SimulationConfig, specimen: Specimen) -> str:
    """Return the SHA-256 of all that shapes the patterns: settings, atoms, and the version of this program."""
    digest = hashlib.sha256(f"dptt {__version__}\n{options.model_dump_json()}".encode())
    for array in (specimen.positions, specimen.atomic_numbers, specimen.rms_displacements):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def simulated_truth(
    options: SimulationConfig,
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
) -> Truth:
    """Return the ground truth on the grid of the reconstruction."""
    acquisition = build_acquisition(options)
    lenses, detector = acquisition.true_optics(), options.microscope.detector_shape
    return Truth(
        volume=np.asarray(sample_volume(specimen, shape, voxel_size), dtype=np.float32),
        voxel_size=voxel_size,
        atom_positions=specimen.positions,
        atomic_numbers=specimen.atomic_numbers,
        tilts=tuple(
            TrueTilt(
                f"{i:04d}",
                pose.euler_angles,
                pose.translation,
                acquisition.true_positions(i),
                lens.aberrations,
                acquisition.errors_of(i).values if options.experiment != ExperimentConfig() else {},
            )
            for i, (pose, lens) in enumerate(zip(acquisition.scheme.true_poses(), lenses, strict=True))
        ),
        bad_pixels=np.concatenate(bad_pixels(acquisition.errors, detector)),
    )


def resolve_defocus(aberrations: dict[str, float]) -> dict[str, float]:
    """Return aberrations with `defocus` written as C10 = -defocus."""
    resolved = dict(aberrations)
    if "defocus" in resolved:
        if "C10" in resolved:
            raise ValueError("aberrations hold both `defocus` and `C10`; expected one of them (C10 = -defocus)")
        resolved["C10"] = -resolved.pop("defocus")
    return resolved

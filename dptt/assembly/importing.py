"""From the section `import` to a description of the arrays of another program, and to their ground truth."""

import numpy as np

from dptt.assembly.import_sources import Sources
from dptt.assembly.import_starts import read_starts
from dptt.config import expand_path
from dptt.config.foreign_arrays import ArrayConfig
from dptt.config.importing import ImportConfig, ImportScanConfig, ImportTruthConfig
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource, Detector, ListedPositions, RasterScan, SeriesDescription
from dptt.io.importers.foreign_array import open_array
from dptt.io.truth import TrueTilt, Truth


def build_description(options: ImportConfig, config: str, sources: Sources) -> SeriesDescription:
    """Return the description of the arrays; the series keeps the resolved configuration `config`."""
    detector, values = options.detector, sources.values
    return SeriesDescription(
        sources=tuple(sources.arrays),
        axes=values["axes"],
        tilt_angles=values["tilt_angles"],
        scan=_scan(options.scan, values["scan.step"]),
        detector=Detector(
            angular_sampling=values["detector.angular_sampling"],
            centre=detector.centre,
            zero_angle_at_corner=detector.zero_angle_at_corner,
            transpose=detector.transpose,
            flip_y=detector.flip_y,
            flip_x=detector.flip_x,
            crop=detector.crop,
            binning=detector.binning,
            counts_per_electron=detector.counts_per_electron,
            mask=None if detector.mask is None else _source(detector.mask),
            dark=None if detector.dark is None else _source(detector.dark),
            gain=None if detector.gain is None else _source(detector.gain),
        ),
        energy=values["energy"],
        semiangle_cutoff=values["semiangle_cutoff"],
        tilt_sign=options.tilt_sign,
        phi=_numbers(options.phi),
        psi=_numbers(options.psi),
        translations=_pairs(options.translations),
        aberrations=options.aberrations,
        probes=tuple(_source(probe) for probe in options.probe or ()),
        starts=read_starts(options, sources),
        link=options.link,
        negative=options.negative,
        source=options.source,
        config=config,
    )


def build_truth(options: ImportTruthConfig, tilt_sign: int = 1) -> Truth:
    """Return the ground truth, its axes in the order (z, y, x), its stage angles times `tilt_sign`."""
    volume = positions = numbers = None
    if options.volume is not None:
        order = [options.volume_axes.index(axis) for axis in "zyx"]  # type: ignore[arg-type]
        foreign = _read(options.volume)
        if foreign.ndim != 3:
            raise ImportDescriptionError(
                options.volume.path, [f"the array has shape {foreign.shape}; expected axes {options.volume_axes}."]
            )
        volume = np.ascontiguousarray(foreign.transpose(order), dtype=np.float32)
    if options.atoms is not None:
        order = [options.atoms_axes.index(axis) for axis in "zyx"]  # type: ignore[arg-type]
        atoms = _read(options.atoms)
        if atoms.ndim != 2 or atoms.shape[1] != 3:
            raise ImportDescriptionError(
                options.atoms.path,
                [f"the array has shape {atoms.shape}; expected (atoms, 3) in {options.atoms_axes}."],
            )
        positions = atoms[:, order].astype(np.float64) - np.asarray(options.atoms_centre)
        numbers = (
            np.full(len(positions), options.atomic_number)
            if options.atomic_numbers is None
            else _read(options.atomic_numbers).astype(np.int64).ravel()
        )
    size = options.voxel_size
    return Truth(
        volume=volume,
        voxel_size=None if size is None else (size, size, size),
        origin=options.origin,
        atom_positions=positions,
        atomic_numbers=numbers,
        tilts=_true_tilts(options, tilt_sign),
    )


def _true_tilts(options: ImportTruthConfig, tilt_sign: int) -> tuple[TrueTilt, ...]:
    """Return the true poses, under the names that the tilts get in the series; none if they are unknown."""
    angles = options.tilt_angles or []
    phi, psi = options.phi or [0.0] * len(angles), options.psi or [0.0] * len(angles)
    translations = options.translations or [(0.0, 0.0)] * len(angles)
    return tuple(
        TrueTilt(f"{number:04d}", (phi[number], tilt_sign * theta, psi[number]), translations[number])
        for number, theta in enumerate(angles)
    )


def _source(options: ArrayConfig) -> ArraySource:
    return ArraySource(str(expand_path(options.path)), options.dataset, options.selection)


def _read(options: ArrayConfig) -> np.ndarray:
    with open_array(_source(options)) as array:
        return array.read_all()


def _numbers(values: list[float] | ArrayConfig | None) -> tuple[float, ...] | None:
    """Return one number a tilt, from a list or a file; None for none."""
    numbers = _read(values).ravel() if isinstance(values, ArrayConfig) else values
    return None if numbers is None else tuple(float(number) for number in numbers)


def _pairs(values: list[tuple[float, float]] | ArrayConfig | None) -> tuple[tuple[float, float], ...] | None:
    """Return one pair (y, x) a tilt, from a list or a file of (tilts, 2); None for none."""
    if not isinstance(values, ArrayConfig):
        return None if values is None else tuple(values)
    table = _read(values)
    if table.ndim != 2 or table.shape[1] != 2:
        problem = f"the array has shape {table.shape}; expected (tilts, 2) as (y, x) [Å]. Transpose it?"
        raise ImportDescriptionError(values.path, [problem])
    return tuple((float(y), float(x)) for y, x in table)


def _scan(options: ImportScanConfig, step: tuple[float, float] | None) -> RasterScan | ListedPositions:
    if not options.positions:
        return RasterScan(step, options.rotation, options.centre, options.flyback)
    return ListedPositions(
        tuple(_source(array) for array in options.positions),
        options.unit,
        options.centre or (0.0, 0.0),
        options.matrix,
    )

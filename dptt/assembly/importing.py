"""From the `import` section to a description of foreign arrays and their known answer."""

import os

import numpy as np

from dptt.config.importing import ArrayConfig, ImportConfig, ImportScanConfig, ImportTruthConfig
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource, Detector, ListedPositions, RasterScan, SeriesDescription
from dptt.io.importers.foreign_array import open_array
from dptt.io.truth import Truth


def build_description(choice: ImportConfig, config: str) -> SeriesDescription:
    """Return what the foreign arrays are; `config` is the resolved configuration, for the record."""
    angles = choice.tilt_angles
    detector = choice.detector
    return SeriesDescription(
        sources=tuple(_source(array) for array in choice.data),
        axes=tuple(choice.axes),
        tilt_angles=_source(angles) if isinstance(angles, ArrayConfig) else tuple(angles),
        scan=_scan(choice.scan),
        detector=Detector(
            angular_sampling=detector.angular_sampling,
            centre=detector.centre,
            zero_angle_at_corner=detector.zero_angle_at_corner,
            transpose=detector.transpose,
            flip_y=detector.flip_y,
            flip_x=detector.flip_x,
            crop=detector.crop,
            binning=detector.binning,
            counts_per_electron=detector.counts_per_electron,
            mask=None if detector.mask is None else _source(detector.mask),
        ),
        energy=choice.energy,
        semiangle_cutoff=choice.semiangle_cutoff,
        tilt_sign=choice.tilt_sign,
        phi=None if choice.phi is None else tuple(choice.phi),
        psi=None if choice.psi is None else tuple(choice.psi),
        translations=None if choice.translations is None else tuple(choice.translations),
        aberrations=choice.aberrations,
        probe=None if choice.probe is None else _source(choice.probe),
        link=choice.link,
        source=choice.source,
        config=config,
    )


def build_truth(choice: ImportTruthConfig) -> Truth:
    """Return the known answer, its arrays turned to (z, y, x)."""
    volume = positions = numbers = None
    if choice.volume is not None:
        order = [choice.volume_axes.index(axis) for axis in "zyx"]  # type: ignore[arg-type]
        foreign = _read(choice.volume)
        if foreign.ndim != 3:
            raise ImportDescriptionError(
                choice.volume.path, [f"the array has shape {foreign.shape}; expected axes {choice.volume_axes}."]
            )
        volume = np.ascontiguousarray(foreign.transpose(order), dtype=np.float32)
    if choice.atoms is not None:
        order = [choice.atoms_axes.index(axis) for axis in "zyx"]  # type: ignore[arg-type]
        atoms = _read(choice.atoms)
        if atoms.ndim != 2 or atoms.shape[1] != 3:
            raise ImportDescriptionError(
                choice.atoms.path, [f"the array has shape {atoms.shape}; expected (atoms, 3) in {choice.atoms_axes}."]
            )
        positions = atoms[:, order].astype(np.float64) - np.asarray(choice.atoms_centre)
        numbers = (
            np.full(len(positions), choice.atomic_number)
            if choice.atomic_numbers is None
            else _read(choice.atomic_numbers).astype(np.int64).ravel()
        )
    size = choice.voxel_size
    return Truth(
        volume=volume,
        voxel_size=None if size is None else (size, size, size),
        origin=choice.origin,
        atom_positions=positions,
        atomic_numbers=numbers,
    )


def _source(choice: ArrayConfig) -> ArraySource:
    path = os.path.expandvars(choice.path)
    if "$" in path:
        raise ImportDescriptionError(path, ["the path names an environment variable that is not set. Set it first."])
    return ArraySource(path, choice.dataset, tuple(choice.index))


def _read(choice: ArrayConfig) -> np.ndarray:
    with open_array(_source(choice)) as array:
        return array.read_all()


def _scan(choice: ImportScanConfig) -> RasterScan | ListedPositions:
    if choice.step is not None:
        return RasterScan(choice.step, choice.rotation, choice.centre)
    return ListedPositions(
        tuple(_source(array) for array in choice.positions), choice.unit, choice.centre or (0.0, 0.0), choice.matrix
    )

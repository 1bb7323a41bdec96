"""A tilt series whose patterns abTEM computes: potential, probe, multislice and detector are not those of dptt.

Thermal motion: with `simulation.multislice.frozen_phonons` = n, every tilt is the mean of n configurations. They
come in pairs with opposite displacements, so that the mean positions of every tilt are the true ones, as in an
experiment, in which every electron meets a configuration of its own.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from dptt.assembly.geometry import plan_geometry
from dptt.assembly.simulation import (
    build_optics,
    build_scan,
    build_scheme,
    build_specimen,
    series_header,
    simulated_experiment,
    simulated_truth,
)
from dptt.config import Config, config_yaml
from dptt.config.simulation import SimulationConfig
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import TiltData
from dptt.simulation.acquisition import Exposure, Pose
from dptt.simulation.random_numbers import random_stream
from dptt.simulation.specimen import Specimen

CELL = 2
"""Side of abTEM's periodic cell, in windows of the detector."""
SLICE = 1.0
"""[Å]"""
WAVE = 3
"""Pixels of the wave a pixel of the detector. abTEM cuts waves off at 2/3 of their Nyquist frequency, and what is
scattered from one edge of the aperture to the far edge of the detector must be below: with 2, at 21 and 25 mrad,
fitted B came out 0.27 Å² too large and occupancies 2 %."""
FINER = 2
"""Pixels of the potential a pixel of the wave: abTEM shares an atom linearly over four pixels, which blurs it by a
sixth of the square of a pixel along each axis; B grows by 0.06 Å² for 0.067 Å. What the wave cannot hold is then cut
off."""


def write_abtem_series(config: Config, expected: Path | None = None) -> None:
    """Write `config.series`: specimen, poses, scan and dose of the section `simulation`, patterns by abTEM.

    Expected patterns are kept in the folder `expected`, for other doses or after an interruption.
    """
    options = config.simulation
    assert options is not None
    specimen, optics, scan = build_specimen(options.specimen), build_optics(options), build_scan(options)
    scheme = build_scheme(options)
    geometry = plan_geometry(config.volume, simulated_experiment(optics, scan, scheme))
    exposure = Exposure(options.fluence, seed=options.seed)

    def tilts() -> Iterator[TiltData]:
        poses = zip(scheme.nominal_poses(), scheme.true_poses(), strict=True)
        for index, (nominal, true) in enumerate(poses):
            kept = None if expected is None else expected / f"{index:04d}.npy"
            if kept is not None and kept.exists():
                patterns = np.load(kept)
            else:
                configurations = _configurations(specimen, options, index)
                patterns = _patterns(configurations, true, scan.true_positions(index), optics)
            if kept is not None and not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.save(kept.with_suffix(".part.npy"), patterns)
                kept.with_suffix(".part.npy").rename(kept)
            yield TiltData(
                patterns=exposure.count(patterns * exposure.electrons_per_pattern(scan), index),
                scan_positions=scan.nominal_positions(),
                euler_angles=nominal.euler_angles,
                translation=nominal.translation,
                scan_shape=options.scan.shape,
            )

    write_tilt_series(
        config.series,
        series_header(options, "abTEM", "", config_yaml(config)),
        tilts(),
        simulated_truth(options, specimen, geometry.volume_shape, geometry.voxel_size),
        compression="gzip",
        overwrite=True,
    )


def _configurations(specimen: Specimen, options: SimulationConfig, tilt: int) -> list[Specimen]:
    """Return what the electrons of one tilt meet: pairs of opposite displacements, or the specimen at rest."""
    found: list[Specimen] = []
    for number in range(0, options.multislice.frozen_phonons, 2):
        moved = specimen.vibrating(random_stream("frozen phonons", options.seed, tilt, number))
        found += [moved, replace(moved, positions=2 * specimen.positions - moved.positions)]
    return found or [specimen]


def _patterns(configurations: list[Specimen], pose: Pose, positions: np.ndarray, optics) -> np.ndarray:
    """Return the expected patterns (pos, ky, kx) of one electron each, zero angle at n//2."""
    os.environ.setdefault("DASK_SCHEDULER", "synchronous")
    import abtem

    detector = optics.detector_shape
    window = [w * CELL for w in optics.window]  # (y, x)
    gpts = [n * WAVE * CELL for n in detector]
    placed = [each.tilted(pose.euler_angles, pose.translation) for each in configurations]
    depth = 2 * math.ceil(max(np.abs(each.positions[:, 0]).max() for each in placed) + 2)
    centre = np.array([depth / 2, window[0] / 2, window[1] / 2])
    rows, columns = (_every(n, size) for n, size in zip(gpts, detector, strict=True))
    total, electrons = np.zeros((len(positions), *detector)), 0.0
    with abtem.config.set({"device": "cpu", "precision": "float32", "local_diagnostics.progress_bar": False}):
        # abTEM's probe enters the cell at its top; the aberrations of the series refer to the rotation axis
        aberrations = {"C10": optics.aberrations.get("C10", 0.0) - depth / 2}
        probe = abtem.Probe(
            energy=optics.energy,
            semiangle_cutoff=optics.semiangle_cutoff,
            extent=window[::-1],
            gpts=gpts[::-1],
            aberrations=aberrations,
        )
        points = (positions + centre[1:])[:, ::-1]
        entering = probe.build(scan=abtem.CustomScan(points), lazy=False)
        for each in placed:
            cell = [window[1], window[0], depth]
            potential = _potential(
                Atoms(each.atomic_numbers, (each.positions + centre)[:, ::-1], cell=cell, pbc=True), gpts
            )
            waves = np.asarray(entering.copy().multislice(potential).array)  # (pos, x, y)
            amplitude = np.fft.fftshift(np.fft.fft2(waves), axes=(1, 2)).transpose(0, 2, 1)
            intensity = np.abs(amplitude) ** 2
            electrons = max(electrons, intensity.sum((1, 2)).max())
            total += intensity[:, rows][:, :, columns]
    return (CELL**2 * total / len(placed) / electrons).astype(np.float32)


def _potential(atoms: Atoms, gpts: list[int]):
    """Return the slices of the potential, rendered on finer pixels and cut off at the Nyquist frequency of `gpts`."""
    import abtem

    fine = abtem.Potential(
        atoms, gpts=[FINER * n for n in gpts[::-1]], slice_thickness=SLICE, projection="infinite"
    ).build(lazy=False)
    spectra = np.fft.fft2(np.asarray(fine.array))
    for axis, count in zip((1, 2), gpts[::-1], strict=True):
        spectra = np.delete(spectra, np.arange(count // 2, FINER * count - (count - count // 2)), axis=axis)
    cut = np.fft.ifft2(spectra).real / FINER**2
    return abtem.PotentialArray(cut.astype(np.float32), fine.slice_thickness, extent=fine.extent)


def _every(count: int, detector: int) -> np.ndarray:
    """Return the indices of the detector's pixels among the `count` frequencies of abTEM's larger cell."""
    return count // 2 + CELL * (np.arange(detector) - detector // 2)

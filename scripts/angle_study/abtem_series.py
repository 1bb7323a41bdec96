"""A tilt series whose patterns abTEM computes: potential, probe, multislice and detector are not those of dptt."""

import math
import os
from collections.abc import Iterator

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
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import TiltData
from dptt.simulation.acquisition import Exposure, Pose
from dptt.simulation.specimen import Specimen

CELL = 2
"""Side of abTEM's periodic cell, in windows of the detector."""
SLICE = 1.0
"""[Å]"""


def write_abtem_series(config: Config) -> None:
    """Write `config.series`: specimen, poses, scan and dose of the section `simulation`, patterns by abTEM."""
    options = config.simulation
    assert options is not None
    specimen, optics, scan = build_specimen(options.specimen), build_optics(options), build_scan(options)
    scheme = build_scheme(options)
    geometry = plan_geometry(config.volume, simulated_experiment(optics, scan))
    exposure = Exposure(options.fluence, seed=options.seed)

    def tilts() -> Iterator[TiltData]:
        poses = zip(scheme.nominal_poses(), scheme.true_poses(), strict=True)
        for index, (nominal, true) in enumerate(poses):
            expected = _patterns(specimen, true, scan.true_positions(index), optics)
            yield TiltData(
                patterns=exposure.count(expected * exposure.electrons_per_pattern(scan), index),
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


def _patterns(specimen: Specimen, pose: Pose, positions: np.ndarray, optics) -> np.ndarray:
    """Return the expected patterns (pos, ky, kx) of one electron each, zero angle at n//2."""
    os.environ.setdefault("DASK_SCHEDULER", "synchronous")
    import abtem

    detector = optics.detector_shape
    window = [w * CELL for w in optics.window]  # (y, x)
    gpts = [n * 2 * CELL for n in detector]
    placed = specimen.tilted(pose.euler_angles, pose.translation).positions
    depth = 2 * math.ceil(np.abs(placed[:, 0]).max() + 2)
    centre = np.array([depth / 2, window[0] / 2, window[1] / 2])
    atoms = Atoms(specimen.atomic_numbers, (placed + centre)[:, ::-1], cell=[window[1], window[0], depth], pbc=True)
    with abtem.config.set({"device": "cpu", "precision": "float32", "local_diagnostics.progress_bar": False}):
        potential = abtem.Potential(atoms, gpts=gpts[::-1], slice_thickness=SLICE, projection="infinite").build(
            lazy=False
        )
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
        exit_waves = probe.build(scan=abtem.CustomScan(points), lazy=False).multislice(potential)
        waves = np.asarray(exit_waves.array)  # (pos, x, y)
    amplitude = np.fft.fftshift(np.fft.fft2(waves), axes=(1, 2)).transpose(0, 2, 1)
    intensity = np.abs(amplitude) ** 2
    intensity /= intensity.sum((1, 2)).max()
    rows, columns = (_every(n, size) for n, size in zip(gpts, detector, strict=True))
    return (CELL**2 * intensity[:, rows][:, :, columns]).astype(np.float32)


def _every(count: int, detector: int) -> np.ndarray:
    """Return the indices of the detector's pixels among the `count` frequencies of abTEM's larger cell."""
    return count // 2 + CELL * (np.arange(detector) - detector // 2)

#!/usr/bin/env python
"""Align two third-party tilt series with known answers and print the errors: align_third_party.py [needle|carbon].

needle: an experimental HAADF series from NIST with drifts of up to 39 pixels, compared with the published shifts.
carbon: ptychographic projections of 7514 simulated atoms, which this script displaces by up to 10 pixels and whose
angles it changes by up to 0.5°; compared with these changes and with the true atoms.
DPTT_DATA names the folder of third-party data sets.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import scipy.ndimage
from scipy.spatial.transform import Rotation

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.atoms import trace_atoms
from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.assembly.alignment import alignment_settings
from dptt.config.alignment import AlignmentConfig
from dptt.distributed.comm import SerialCommunicator
from dptt.solvers.alignment import (
    AlignmentResult,
    StepRecord,
    align,
    flatten_background,
    whole_images,
)

CARBON_PIXEL = 0.339673913
"""[Å]"""
CARBON_AXIS = np.array([1.3237, 1.0158])
"""Offset (x, y) [pixels] of the published atoms from the projections, whose rotation axis is at n//2."""
BOND = 1.0
"""[Å], slightly less than the shortest distance between two carbon atoms."""
LOW_THRESHOLD = 0.007
"""[V]: the automatic threshold takes faint atoms, which the missing wedge smears, for noise."""


def main() -> None:
    """Align the series named on the command line, or both."""
    data = Path(os.environ["DPTT_DATA"])
    for name in sys.argv[1:] or ("needle", "carbon"):
        {"needle": needle, "carbon": carbon}[name](data)


def needle(data: Path) -> None:
    """Align raw HAADF images binned by 8 and by 4, and compare with the published shifts."""
    with h5py.File(data / "nist_needle_haadf_exp" / "needle_tilt_series.h5") as file:
        raw = file["raw_int16"][()].astype(np.float32)
        angles, published = file["tilt_deg"][()].astype(float), file["published_shifts_px_yx"][()]
    values, _ = flatten_background(raw, np.ones_like(raw))
    nominal = TiltPoses(np.column_stack([0 * angles, angles, 0 * angles + 90]), np.zeros((len(angles), 2)))
    options = AlignmentConfig(volume_binning=8, angles=False, translation_iterations=6)
    settings = replace(alignment_settings(options, values.shape[1:]), binnings=(8, 4))
    result = align(
        whole_images(values, np.ones_like(values), (1.0, 1.0)), nominal, settings, SerialCommunicator(), report_step
    )
    difference = result.poses.translations + published
    theta = np.deg2rad(angles)
    design = np.zeros((len(angles), 2, 5))  # displacement of the specimen (3), offset of the axis, image rotation
    design[:, 0, 0] = design[:, 1, 1] = 1
    design[:, 0, 2], design[:, 0, 3] = np.cos(theta), np.sin(theta)
    design[:, 0, 4], design[:, 1, 4] = published[:, 1], -published[:, 0]
    undetermined, *_ = np.linalg.lstsq(design.reshape(-1, 5), difference.ravel(), rcond=None)
    residual = np.linalg.norm(difference - design @ undetermined, axis=1)
    print(
        f"needle: residual against the published shifts: median {np.median(residual):.2f} pixels, "
        f"maximum {residual.max():.2f} pixels; axis rotated by {result.tilt_axis:+.2f}° (published: 2.79°)"
    )


def carbon(data: Path, seed: int = 1) -> None:
    """Displace the carbon projections and change their angles at random, align them, and trace the atoms."""
    with h5py.File(data / "amorphousC_ptycho_tilt_sim" / "amorphousC_ptycho_projections.h5") as file:
        projections = file["phase_projections"][()].astype(float).transpose(0, 2, 1)  # to (tilt, y, x)
        angles, atoms = -file["tilt_deg"][()].astype(float), file["gt_atoms_angstrom"][()]
    generator = np.random.default_rng(seed)
    moves = generator.uniform(-10, 10, (len(angles), 2))
    padded = np.pad(projections, ((0, 0), (17, 17), (17, 17)), mode="edge")  # or a move would cut the particle
    moved = [scipy.ndimage.shift(p, m, order=3, mode="nearest") for p, m in zip(padded, moves, strict=True)]
    values, _ = flatten_background(np.array(moved, np.float32)[:, 8:-8, 8:-8])
    true = np.column_stack([0 * angles, angles, 0 * angles])
    nominal = TiltPoses(true + generator.uniform(-0.5, 0.5, true.shape), np.zeros((len(angles), 2)))
    images = whole_images(values, np.ones_like(values), (CARBON_PIXEL, CARBON_PIXEL))
    settings = replace(alignment_settings(AlignmentConfig(), values.shape[1:]), binnings=(4, 2, 1), angles_from=2)
    result = align(images, nominal, settings, SerialCommunicator(), report_step)
    known = TiltPoses(true, moves * CARBON_PIXEL)
    errors = pose_errors(result.poses, known)
    pixels = errors.translation / CARBON_PIXEL
    by_angle = ", ".join(f"{median:.3f}" for median in np.median(np.abs(errors.euler), axis=0))
    print(
        f"carbon: median error of the translations {np.median(np.abs(pixels)):.3f} pixels along an axis, "
        f"{errors.median_translation / CARBON_PIXEL:.3f} pixels as a length "
        f"(maximum {errors.max_translation / CARBON_PIXEL:.2f}); "
        f"of the angles {np.median(np.abs(errors.euler)):.3f}° (phi, theta, psi: {by_angle}°)"
    )
    for threshold in (None, LOW_THRESHOLD):
        trace(result, errors.common_rotation, errors.common_displacement, atoms, threshold)


def trace(
    result: AlignmentResult,
    rotation: np.ndarray,
    displacement: np.ndarray,
    atoms: np.ndarray,
    threshold: float | None,
) -> None:
    """Trace atoms in the aligned volume and match them with the true ones (x, y, z) [Å]."""
    size = result.voxel_size
    traced = trace_atoms(result.volume.astype(float), (size, size, size), min_separation=BOND, threshold=threshold)
    expected = atoms + np.append(CARBON_AXIS * CARBON_PIXEL, 0.0)
    start = Rotation.from_matrix(rotation).inv().as_matrix()[::-1, ::-1], displacement
    near = match_atoms(traced.positions, expected[:, ::-1], 1.0, align="rigid", start=start)
    placed = traced.positions @ near.rotation.T + near.translation
    match = match_atoms(placed, expected[:, ::-1], 0.5)
    print(
        f"carbon: {len(traced.positions)} atoms traced above {traced.threshold:.4f} V; recall "
        f"{100 * match.recall:.1f} % of {len(atoms)} atoms within 0.5 Å, precision {100 * match.precision:.1f} %, "
        f"RMSD {match.rmsd:.3f} Å"
    )


def report_step(record: StepRecord) -> None:
    """Print the progress of the alignment."""
    print(f"  binning {record.binning} step {record.step}: misfit {record.misfit:.4f}", flush=True)


if __name__ == "__main__":
    main()

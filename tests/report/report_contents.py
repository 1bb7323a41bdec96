"""Contents for the tests: a particle of Gaussian atoms in a box that is no cube, with odd edges."""

import numpy as np

from dptt.report import ProbeModes, ReportContent, ScanPositions
from dptt.report.fitted import FittedAtoms
from dptt.report.measured import Diffraction, MeasuredTilt, ScanMap

SHAPE, VOXEL_SIZE = (17, 21, 26), (0.6, 0.5, 0.4)
ATOMS = np.array([[0.0, 0.0, 0.0], [2.4, 1.0, -1.6], [-1.8, -2.0, 2.4]])


def gaussian_atoms(positions, heights, shape=SHAPE, voxel_size=VOXEL_SIZE, width=0.6):
    z, y, x = np.meshgrid(
        *((np.arange(n) - n // 2) * d for n, d in zip(shape, voxel_size, strict=True)), indexing="ij"
    )
    volume = np.zeros(shape)
    for (az, ay, ax), height in zip(positions, heights, strict=True):
        volume += height * np.exp(-((z - az) ** 2 + (y - ay) ** 2 + (x - ax) ** 2) / (2 * width**2))
    return volume


def minimal_content(**changes):
    volume = gaussian_atoms(ATOMS, [20.0, 30.0, 25.0]).astype(np.float32)
    return ReportContent(**{"title": "Particle", "volume": volume, "voxel_size": VOXEL_SIZE, **changes})


def full_content(**changes):
    rng = np.random.default_rng(0)
    truth = gaussian_atoms(ATOMS, [20.0, 30.0, 25.0]).astype(np.float32)
    volume = (truth + rng.normal(0, 0.3, SHAPE) + 0.05j * truth).astype(np.complex64)
    frequency = np.linspace(0, 0.8, 9)
    correlation = [1.0, 0.99, 0.97, 0.9, 0.7, 0.4, 0.2, 0.1, None]
    fsc = {"frequency": frequency.tolist(), "correlation": correlation, "one_bit": [0.4] * 9, "half_bit": [0.25] * 9}
    positions = np.stack(np.meshgrid(np.arange(5.0), np.arange(7.0), indexing="ij"), axis=-1).reshape(-1, 2)
    modes = rng.normal(size=(2, 15, 18)) + 1j * rng.normal(size=(2, 15, 18))
    parts = {
        "truth": truth,
        "epochs": [epoch_record(e, 0.1 + np.exp(-e), 0.11 + np.exp(-e)) for e in range(1, 13)],
        "tilts": [tilt_record(f"tilt_{i}", theta) for i, theta in enumerate((-50.0, 0.0, 60.0))],
        "probes": [ProbeModes("tilt_1", modes, (0.3, 0.25))],
        "scan_positions": [ScanPositions("tilt_1", positions, positions + rng.normal(0, 0.05, positions.shape))],
        "analysis": {
            "reference": "truth",
            "fsc": fsc,
            "resolution": {
                "0.5": {"resolution_A": 2.14, "at_nyquist": False},
                "0.143": {"resolution_A": 1.25, "at_nyquist": True},
                "one-bit": {"resolution_A": None, "at_nyquist": False},
            },
            "directional_fsc": [
                {"name": name, "direction": direction, "resolution_A": 2.0, "at_nyquist": False, **fsc}
                for name, direction in (
                    *(("z", [1, 0, 0]), ("y", [0, 1, 0]), ("x", [0, 0, 1])),
                    *(
                        (f"{a}°", [float(np.cos(np.radians(a))), 0.0, float(np.sin(np.radians(a)))])
                        for a in (30, 60, 120)
                    ),
                )
            ],
            "power_spectrum": {
                "frequency": frequency.tolist(),
                "mean_power": [None, *np.exp(-frequency[1:]).tolist()],
            },
            "atoms": {
                "positions": ATOMS[:2].tolist() + [[0.0, 4.0, 4.0]],
                "heights": [30.0, 20.0, 8.0],
                "threshold": 6.0,
                "match": {
                    "recall": 2 / 3,
                    "precision": 2 / 3,
                    "rmsd_A": 0.0421,
                    "num_true": 3,
                    "num_found": 3,
                    "pairs": [[0, 0], [1, 1]],
                },
            },
            "correlation": 0.8768,
            "total_potential_ratio": 0.9321,
            "poses": {"median_angle_error_deg": 0.12, "median_translation_error_A": 0.34},
        },
        "true_atoms": ATOMS,
        "provenance": {"Command": "dptt reconstruct <config>", "Input checksum": "0f" * 32},
        "versions": {"dptt": "0.1.0", "numpy": "2.4"},
        "config": "solver:\n  name: a < b & c\n",
    }
    return minimal_content(**{"volume": volume, **parts, **changes})


def fitted_atoms():
    """Three atoms: a sure Ni, a Pt whose element is not told, and one that may be noise."""
    return FittedAtoms(
        positions=ATOMS,
        errors=np.array(
            [[0.004, 0.002, 0.003, 0.01, 0.1], [0.004, 0.002, 0.003, 0.1, 0.1], [0.02, 0.01, 0.02, 0.1, 1]]
        ),
        symbols=["Ni", "Pt", "Ni"],
        occupancies=np.array([0.98, 1.02, 0.35]),
        probabilities=np.array([[0.99, 0.01], [0.4, 0.6], [0.97, 0.03]]),
        elements=["Ni", "Pt"],
        told=np.array([True, False, True]),
    )


def epoch_record(epoch, loss, held_out_loss):
    return {
        "epoch": epoch,
        "epochs": 12,
        "loss": loss,
        "held_out_loss": held_out_loss,
        "tilt_losses": [loss, loss, loss],
        "seconds": {"total": 2.0, "read": 0.2, "compute": 1.5, "communicate": 0.3},
        "bytes_sent": 0,
        "updates": 4,
        "changes": {"angles_deg": 0.1, "translations_A": 0.0, "positions_A": 0.01},
    }


def tilt_record(name, theta):
    return {
        "name": name,
        "euler_angles": [0.1, theta + 0.2, -0.1],
        "initial_euler_angles": [0.0, theta, 0.0],
        "translation": [0.3, -0.2],
        "initial_translation": [0.0, 0.0],
        "loss": 0.1,
        "num_positions": 35,
    }


def small_diffraction(modelled=True):
    """Two tilts of 5 x 7 positions; the pattern of position i has all its electrons, 100 + i, in two pixels."""
    rng = np.random.default_rng(1)
    positions = np.stack(np.meshgrid(np.arange(5.0), 1.5 * np.arange(7.0), indexing="ij"), axis=-1).reshape(-1, 2)
    sampled = np.arange(0, 35, 3)
    measured = np.zeros((len(sampled), 10, 12), dtype=np.float32)
    measured[:, 5, 6] = 60 + sampled
    measured[:, 2, 8] = 40
    tilts = [
        MeasuredTilt(
            name=f"tilt_{i}",
            theta=theta,
            positions=positions,
            step=1.2,
            mean=measured.mean(0),
            maps={
                "bright field": ScanMap("Bright field", "electrons", 100 + np.arange(35.0)),
                "figure of fit": ScanMap("Figure of fit", "", rng.random(12), sampled, "inferno"),
            },
            sampled=sampled,
            measured=measured,
            modelled=measured + 1 if modelled else None,
        )
        for i, theta in enumerate((-40.0, 3.0))
    ]
    return Diffraction(tilts, sampling=(2.0, 2.5), semiangle=8.0)

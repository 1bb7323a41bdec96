"""The files of the series: specimen, patterns of a detector with its faults, true errors, and a configuration."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from experiment_study.errors import Sizes, TiltErrors, errors_of, generator
from experiment_study.patterns import (
    DEFOCUS,
    ENERGY,
    LARGEST_ANGLE,
    MARGIN,
    SEMIANGLE,
    Tilt,
    expected_patterns,
    probe_modes,
    tilted,
)

FRACTIONS = {"Pt": 104, "Ni": 69, "Al": 26}
"""Atoms of each element in the particle of 199; a larger one has more of each."""
LATTICE_CONSTANT, STATIC_DISPLACEMENT = 3.85, 0.1
"""[Å], the latter along each axis."""
ORIENTATION = (17.0, 8.0, 31.0)
"""[degrees]"""
SIDE, STEP = 25, 0.9
"""Scan positions along each axis, and their distance [Å]."""
LARGEST_TILT = 56.0
"""[degrees]"""
BRIGHTER = 5
"""A hot pixel, over the brightest good one."""


def specimen(diameter: float, number: int | None, seed: int) -> Atoms:
    """Return the particle about the origin: fcc sites in a sphere, or the `number` innermost ones, disturbed."""
    random, reach = generator(seed, "specimen"), int(diameter / LATTICE_CONSTANT) + 2
    sites = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3), -1).reshape(-1, 3)
    # the centre is no special point of the lattice
    positions = (sites[sites.sum(1) % 2 == 0] / 2 - random.uniform(0, 0.5, 3)) * LATTICE_CONSTANT
    distance = np.linalg.norm(positions, axis=1)
    positions = positions[np.argsort(distance)][: int((distance <= diameter / 2).sum()) if number is None else number]
    positions = positions + STATIC_DISPLACEMENT * random.normal(size=positions.shape)
    symbols = np.repeat(list(FRACTIONS), list(FRACTIONS.values()))
    order = random.permutation(len(positions))
    chosen = symbols[np.floor(order * len(symbols) / len(positions)).astype(int)]
    turned = Rotation.from_euler("xyz", ORIENTATION, degrees=True).apply(positions)
    return Atoms(chosen.tolist(), turned - (turned.min(0) + turned.max(0)) / 2)


def nominal_positions() -> np.ndarray:
    """Return the raster (pos, 2) as (y, x) [Å], its middle on the rotation axis, in the order of time."""
    line = STEP * (np.arange(SIDE) - SIDE // 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)


def write_tilts(folder: Path, atoms: Atoms, angles: np.ndarray, sizes: Sizes, fluence: float, seed: int) -> None:
    """Write tilt_NUMBER.npy of every tilt, atoms.npy, atomic_numbers.npy, atoms.xyz and truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    nominal, modes = nominal_positions(), probe_modes(sizes.source_size, sizes.focal_spread)
    truth: dict[str, dict] = {}
    counted = []
    for number, theta in enumerate(angles):
        errors = errors_of(sizes, seed, number, np.abs(nominal).max())
        pose = np.array([0, theta, 0]) + errors.angles
        tilt = Tilt(tilted(atoms, pose, errors.translation), errors.C10 - DEFOCUS, errors.C12, errors.phi12)
        zero_angle = np.array([sizes.zero_angle_y, sizes.zero_angle_x])
        expected = expected_patterns(tilt, modes, errors.moved(nominal), nominal @ errors.descan.T + zero_angle)
        expected *= fluence * STEP**2 * errors.dose
        counted.append(_counted(_detected(expected, sizes, seed, number), sizes, seed, number))
        truth[f"{number:04d}"] = _truth(theta, pose, errors, nominal)
        print(
            f"tilt {number}: {theta:g} degrees, {counted[-1].sum() / len(nominal):.0f} electrons a pattern",
            flush=True,
        )
    dead, hot = _bad_pixels(counted[0].shape[1:], sizes, seed)
    for number, patterns in enumerate(counted):
        patterns[:, dead[:, 0], dead[:, 1]] = 0
        patterns[:, hot[:, 0], hot[:, 1]] = BRIGHTER * patterns.max()
        np.save(folder / f"tilt_{number:02d}.npy", patterns.reshape(SIDE, SIDE, *patterns.shape[1:]))
    np.save(folder / "atoms.npy", atoms.positions[:, ::-1])
    np.save(folder / "atomic_numbers.npy", atoms.numbers)
    ase.io.write(folder / "atoms.xyz", atoms)
    common = {"sizes": asdict(sizes), "seed": seed, "fluence_e_A2": fluence}
    pixels = {"dead_pixels": dead.tolist(), "hot_pixels": hot.tolist()}
    (folder / "truth.json").write_text(json.dumps(common | pixels | {"tilts": truth}, indent=1), encoding="utf-8")


def configuration(folder: Path) -> dict:
    """Return a configuration that imports the series, told nothing of its errors, and the usual sections."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    tilts = list(truth["tilts"].values())
    # the true values are for `dptt analyze` alone
    true: dict[str, Any] = {
        "atoms": str(folder / "atoms.npy"),
        "atomic_numbers": str(folder / "atomic_numbers.npy"),
        **{key: [tilt[key] for tilt in tilts] for key in ("phi", "psi")},
        "tilt_angles": [tilt["theta"] for tilt in tilts],
        "translations": [tilt["translation"] for tilt in tilts],
    }
    told = {
        "source": "scripts/experiment_study.py, by abTEM",
        "data": str(folder / "tilt_*.npy"),
        "axes": ["scan_y", "scan_x", "ky", "kx"],
        "tilt_angles": [tilt["nominal_theta"] for tilt in tilts],
        "energy": ENERGY,
        "semiangle_cutoff": SEMIANGLE * (1 + truth["sizes"]["aperture"] / 100),
        "aberrations": {"defocus": DEFOCUS},
        "scan": {"step": STEP},
        "detector": {"angular_sampling": 2 * LARGEST_ANGLE / np.load(folder / "tilt_00.npy", "r").shape[-1]},
    }
    for name in ("atoms", "atomic_numbers"):
        true[name] = {"path": true[name]}
    return {
        "series": str(folder / "series.h5"),
        "run": str(folder / "run"),
        "import": told | {"truth": true},
        "volume": {"voxel_size": 0.4, "thickness": 22.0},
        "brightfield": {},
        "ptychography": {"epochs": 7, "probe": {"from_epoch": 2, "modes": 2}},
        "alignment": {},
        "reconstruction": {
            "epochs": 12,
            "probe": {"from_epoch": 2, "modes": 2},
            "translations": {"from_epoch": 2, "step": 2.0},
        },
    }


def write_configuration(folder: Path) -> Path:
    """Write config.yaml and return its path."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(folder.resolve()), sort_keys=False), encoding="utf-8")
    return path


def _truth(theta: float, pose: np.ndarray, errors: TiltErrors, nominal: np.ndarray) -> dict:
    """Return what one tilt really has."""
    return {
        "nominal_theta": float(theta),
        **dict(zip(("phi", "theta", "psi"), pose.tolist(), strict=True)),
        "translation": errors.translation.tolist(),
        **errors.effective_scan(nominal),
        **{name: np.asarray(value).tolist() for name, value in vars(errors).items() if name != "translation"},
        "C10_A": errors.C10 - DEFOCUS,
    }


def _detected(expected: np.ndarray, sizes: Sizes, seed: int, tilt: int) -> np.ndarray:
    """Return the mean counts of a detector with blur and background, under a beam that fluctuates."""
    fluctuations = generator(seed, "current", tilt).normal(size=(len(expected), 1, 1))
    patterns = expected * np.clip(1 + sizes.current_spread * fluctuations, 0, None)
    if sizes.blur:
        patterns = gaussian_filter(patterns, (0, sizes.blur, sizes.blur))
    patterns = patterns[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    return patterns + sizes.background * patterns.mean((1, 2), keepdims=True)


def _counted(mean: np.ndarray, sizes: Sizes, seed: int, tilt: int) -> np.ndarray:
    if not sizes.shot_noise:
        return mean.astype(np.float32)
    return generator(seed, "shot noise", tilt).poisson(mean).astype(np.uint16)


def _bad_pixels(shape: tuple[int, ...], sizes: Sizes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the dead and the hot pixels of the detector, each (number, 2) as (ky, kx)."""
    dead, hot = int(sizes.dead_pixels), int(sizes.hot_pixels)
    chosen = generator(seed, "bad pixels").choice(shape[0] * shape[1], dead + hot, replace=False)
    pixels = np.stack(np.unravel_index(chosen, shape), 1)
    return pixels[:dead], pixels[dead:]

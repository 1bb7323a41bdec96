"""The patterns of this study beside those of abTEM's own probe and multislice in its whole cell."""

from typing import Any

import numpy as np

from experiment_study.patterns import (
    DETECTOR,
    ENERGY,
    LARGEST_ANGLE,
    MARGIN,
    PIXELS,
    SEMIANGLE,
    WINDOW,
    WINDOWS_IN_CELL,
    Tilt,
    expected_patterns,
    probe_modes,
    tilted,
)
from experiment_study.series import specimen

EDGE = 1.5
"""Pixels of the detector."""
THIN = 0.5
"""Slices [Å] of both: abTEM propagates behind each slice, the study between their middles."""


def worst_difference() -> float:
    """Return the largest difference of a pixel, as a fraction of the brightest: six positions, all aberrations.

    Where the aperture ends, abTEM's cell has a sharper edge: pixels within `EDGE` of it do not count, and the number
    of electrons beside it is fitted.
    """
    atoms = tilted(specimen(10.0, None, 0), np.array([2.0, 30.0, 5.0]), np.array([1.0, -2.0]))
    tilt = Tilt(atoms, -100.0, 30.0, 25.0)
    positions = np.random.default_rng(0).uniform(-6, 6, size=(6, 2))
    ours = expected_patterns(tilt, probe_modes(0.0, 0.0), positions, np.zeros((6, 2)), THIN)
    inner = slice(MARGIN, -MARGIN)
    angle = np.hypot(*np.meshgrid(*[np.arange(DETECTOR) - DETECTOR // 2] * 2)) * 2 * LARGEST_ANGLE / DETECTOR
    counted = np.abs(angle - SEMIANGLE) > EDGE * 2 * LARGEST_ANGLE / DETECTOR
    ours, theirs = ours[:, inner, inner][:, counted], abtem_patterns(tilt, positions)[:, counted]
    ours *= (ours * theirs).sum() / (ours**2).sum()
    return float(np.abs(ours - theirs).max() / theirs.max())


def abtem_patterns(tilt: Tilt, positions: np.ndarray) -> np.ndarray:
    """Return the patterns (pos, ky, kx) of one electron each by abTEM, on the pixels of the detector."""
    import abtem

    size, pixels = WINDOWS_IN_CELL * WINDOW, WINDOWS_IN_CELL * PIXELS
    depth = THIN * 2 * int(np.ceil(np.abs(tilt.atoms.positions[:, 2]).max() / THIN))
    atoms = tilt.atoms.copy()
    atoms.positions += [size / 2, size / 2, depth / 2]
    atoms.set_cell([size, size, depth])
    aberrations = {"C10": tilt.C10 - depth / 2, "C12": tilt.C12, "phi12": np.radians(tilt.phi12)}
    with abtem.config.set({"device": "cpu", "precision": "float32", "local_diagnostics.progress_bar": False}):
        potential = abtem.Potential(atoms, gpts=pixels, slice_thickness=THIN, projection="infinite")
        probe = abtem.Probe(
            energy=ENERGY, semiangle_cutoff=SEMIANGLE, extent=size, gpts=pixels, aberrations=aberrations
        )
        places = abtem.CustomScan((positions + size / 2)[:, ::-1])
        exit_waves: Any = probe.multislice(potential, scan=places, lazy=False)
    intensity = np.abs(np.fft.fft2(np.asarray(exit_waves.array))).transpose(0, 2, 1) ** 2
    seen = WINDOWS_IN_CELL * (np.arange(DETECTOR) - DETECTOR // 2)
    entering = np.abs(np.fft.fft2(np.asarray(probe.build(lazy=False).array))) ** 2
    return WINDOWS_IN_CELL**2 * intensity[:, seen][:, :, seen] / entering.sum()

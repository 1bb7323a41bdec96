"""What a microscope does to a tilt series beyond [P]: the errors of an experiment, each with a size, and their truth.

`ExperimentErrors` holds sizes, `TiltErrors` what one tilt really has. All errors of a series come from one seed, and
each from random numbers of its own, so that changing the size of one leaves the others as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter

from dptt.simulation.random_numbers import random_stream


@dataclass(frozen=True, kw_only=True)
class ExperimentErrors:
    """Sizes of the errors; what is meant stands beside the options of the same name in `config.experiment`."""

    scan_scale: tuple[float, float] = (0.0, 0.0)
    scan_scale_spread: float = 0.0
    scan_rotation: float = 0.0
    scan_rotation_spread: float = 0.0
    scan_shear: float = 0.0
    drift: float = 0.0
    descan: float = 0.0
    descan_spread: float = 0.0
    zero_angle: tuple[float, float] = (0.0, 0.0)
    focus_spread: float = 0.0
    astigmatism: float = 0.0
    dose_spread: float = 0.0
    current_spread: float = 0.0
    blur: float = 0.0
    background: float = 0.0
    dead_pixels: int = 0
    hot_pixels: int = 0
    aperture: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class TiltErrors:
    """The errors of one tilt."""

    scan_scale_y: float
    """[%]; positions are stretched about the rotation axis, turned as `Scan.rotation` counts, then sheared."""
    scan_scale_x: float
    scan_rotation: float
    """[degrees]"""
    scan_shear: float
    """[%] of y that is added to x."""
    drift_y: float
    """Of the specimen between the first and the last position [Å]."""
    drift_x: float
    drift_bend: float
    """How far the drift is from a steady one: 0 is steady, at ±0.5 it stops at one end, beyond that it turns back."""
    descan_yy: float
    """Shift of the pattern along y [pixels] by the distance of a position along y from the rotation axis [Å]."""
    descan_yx: float
    descan_xy: float
    descan_xx: float
    zero_angle_y: float
    """Where the beam is on the detector, beside the zero angle of the file [pixels]."""
    zero_angle_x: float
    C10: float
    """Added to that of the microscope [Å]."""
    C12: float
    """[Å], along `phi12` [degrees]; replaces that of the microscope unless it is 0."""
    phi12: float
    dose: float
    """Factor of all patterns."""

    @property
    def values(self) -> dict[str, float]:
        """Return all errors by name."""
        return {field.name: float(getattr(self, field.name)) for field in fields(self)}

    def aberrations(self, of_microscope: Mapping[str, float]) -> dict[str, float]:
        """Return the aberrations of the tilt [Å, degrees] under a microscope with these."""
        focus = {"C10": of_microscope.get("C10", 0.0) + self.C10} if self.C10 else {}
        astigmatism = {"C12": self.C12, "phi12": self.phi12} if self.C12 else {}
        return {**of_microscope, **focus, **astigmatism}

    @property
    def scan_matrix(self) -> Float64[np.ndarray, "2 2"]:
        """Return the matrix by which nominal positions (y, x) become true ones, but for the drift."""
        return scan_matrix(
            (self.scan_scale_y / 100, self.scan_scale_x / 100), self.scan_rotation, self.scan_shear / 100
        )

    def moved(self, positions: Float64[np.ndarray, "pos 2"]) -> Float64[np.ndarray, "pos 2"]:
        """Return where the probe hits a specimen at rest, for `positions` (y, x) [Å] in the order of time."""
        time = np.linspace(-0.5, 0.5, len(positions)) if len(positions) > 1 else np.zeros(1)
        course = time + 0.5 * self.drift_bend * (4 * time**2 - 1 / 3)
        return positions @ self.scan_matrix.T - course[:, None] * np.array([self.drift_y, self.drift_x])

    def pattern_shifts(self, positions: Float64[np.ndarray, "pos 2"]) -> Float64[np.ndarray, "pos 2"]:
        """Return how far the pattern of every nominal position is displaced on the detector (y, x) [pixels]."""
        matrix = np.array([[self.descan_yy, self.descan_yx], [self.descan_xy, self.descan_xx]])
        return positions @ matrix.T + np.array([self.zero_angle_y, self.zero_angle_x])


def scan_matrix(scale: tuple[float, float], rotation: float, shear: float) -> Float64[np.ndarray, "2 2"]:
    """Return the matrix on (y, x) that stretches by 1 + `scale`, turns [degrees], and shears x by y."""
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.array([[1, 0], [shear, 1]]) @ turn @ np.diag([1 + scale[0], 1 + scale[1]])


def draw_tilt_errors(errors: ExperimentErrors, tilt: int, half_extent: float) -> TiltErrors:
    """Return the errors of a tilt; `half_extent` [Å] is the distance at which the descan has its full size."""

    def normal(name: str, number: int = 1, index: int = tilt) -> np.ndarray:
        place = [field.name for field in fields(errors)].index(name)
        return random_stream("experiment", errors.seed, place, index + 1).normal(size=number)

    scale = np.array(errors.scan_scale) + errors.scan_scale_spread * normal("scan_scale_spread", 2)
    direction = normal("drift", 3)
    drift = errors.drift * direction[:2] / np.linalg.norm(direction[:2])
    descan = normal("descan", 4, -1)
    descan = descan / np.linalg.norm(descan.reshape(2, 2), 2) * errors.descan / half_extent
    descan = descan * (1 + errors.descan_spread * normal("descan_spread", 4))
    values = [
        *scale.tolist(),
        errors.scan_rotation + errors.scan_rotation_spread * normal("scan_rotation_spread").item(),
        errors.scan_shear,
        *drift.tolist(),
        math.tanh(direction[2]),
        *descan.tolist(),
        *errors.zero_angle,
        errors.focus_spread * normal("focus_spread").item(),
        errors.astigmatism,
        90 * math.tanh(normal("astigmatism").item()),
        max(0.0, 1 + errors.dose_spread * normal("dose_spread").item()),
    ]
    return TiltErrors(**dict(zip((field.name for field in fields(TiltErrors)), values, strict=True)))


def beam_current(errors: ExperimentErrors, tilt: int) -> np.random.Generator:
    """Return the generator of the fluctuations of the beam in a tilt, one number a pattern."""
    return random_stream("beam current", errors.seed, tilt)


def detected(errors: ExperimentErrors, dose: float, expected: np.ndarray, current: np.random.Generator) -> np.ndarray:
    """Return the mean counts (pos, ky, kx) of a detector with blur and background, under a beam that fluctuates."""
    fluctuations = current.normal(size=(len(expected), 1, 1))
    patterns = expected * (dose * np.clip(1 + errors.current_spread * fluctuations, 0, None))
    if errors.blur:
        patterns = gaussian_filter(patterns, (0, errors.blur, errors.blur), mode="constant")
    return (patterns + errors.background * patterns.mean((1, 2), keepdims=True)).astype(np.float32)


def bad_pixels(errors: ExperimentErrors, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the dead and the hot pixels of a detector, each (number, 2) as (ky, kx)."""
    chosen = random_stream("bad pixels", errors.seed).choice(
        shape[0] * shape[1], errors.dead_pixels + errors.hot_pixels, replace=False
    )
    pixels = np.stack(np.unravel_index(chosen, shape), axis=1)
    return pixels[: errors.dead_pixels], pixels[errors.dead_pixels :]


def with_bad_pixels(errors: ExperimentErrors, patterns: np.ndarray) -> np.ndarray:
    """Return `patterns` with zero in dead pixels, and in hot ones five times the brightest good pixel of all."""
    dead, hot = bad_pixels(errors, patterns.shape[1:])
    if len(dead) + len(hot) == 0:
        return patterns
    brightest = 5 * float(patterns.max(initial=0))
    kind = patterns.dtype if patterns.dtype.kind == "f" else np.min_scalar_type(int(brightest))
    patterns = patterns.astype(kind)
    patterns[:, dead[:, 0], dead[:, 1]] = 0
    patterns[:, hot[:, 0], hot[:, 1]] = brightest
    return patterns

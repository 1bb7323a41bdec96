"""The experiment: optics, scan, tilt scheme and exposure, as the microscope reports them and as they truly are.

*Nominal* values are those that the microscope reports and a data file holds; *true* values are where specimen and
probe really were. Their differences (jitter, drift, goniometer error) are drawn at random from a seed and kept as
ground truth. Units: Å, eV, mrad, degrees, e/Å².
"""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace

import numpy as np
from jaxtyping import Float64

from dptt.physics.aberrations import ABERRATION_NAMES
from dptt.physics.electron import wavelength
from dptt.simulation.checks import require_at_most, require_not_negative, require_positive
from dptt.simulation.experiment import ExperimentErrors, TiltErrors, draw_tilt_errors
from dptt.simulation.random_numbers import random_stream


@dataclass(frozen=True)
class Optics:
    """The probe-forming lens and the detector, as they truly are.

    Parameters
    ----------
    energy
        Beam energy [eV].
    semiangle_cutoff
        Semiangle of the probe-forming aperture [mrad].
    detector_shape
        Pixels (ky, kx) of a pattern.
    angular_sampling
        Angle from pixel to pixel along (ky, kx) [mrad]; see `angular_sampling_of`.
    aberrations
        Coefficients by name, as in `dptt.physics.aberrations`, in the plane z' = 0 through the rotation centre.
    focal_spread
        Standard deviation of the defocus [Å], from energy spread and chromatic aberration.
    source_size
        Standard deviation of the effective source along one axis, in the specimen plane [Å].
    soft_aperture
        Whether the edge of the aperture is smoothed over one detector pixel, or sharp.
    """

    energy: float
    semiangle_cutoff: float
    detector_shape: tuple[int, int]
    angular_sampling: tuple[float, float]
    aberrations: Mapping[str, float] = field(default_factory=dict)
    _: KW_ONLY
    focal_spread: float = 0.0
    source_size: float = 0.0
    soft_aperture: bool = True

    def __post_init__(self) -> None:
        require_positive("energy", self.energy, "eV")
        require_positive("semiangle_cutoff", self.semiangle_cutoff, "mrad")
        require_positive("detector_shape", min(self.detector_shape), "pixels (ky, kx)")
        require_positive("angular_sampling", min(self.angular_sampling), "mrad (y, x)")
        require_not_negative("focal_spread", self.focal_spread, "Å")
        require_not_negative("source_size", self.source_size, "Å")
        unknown = sorted(set(self.aberrations) - set(ABERRATION_NAMES))
        if unknown:
            raise ValueError(f"unknown aberrations {unknown}; expected names out of {', '.join(ABERRATION_NAMES)}")

    def defocused(self, change: float) -> "Optics":
        """Return the same optics with the defocus (= -C10) increased by `change` [Å]."""
        return replace(self, aberrations={**self.aberrations, "C10": self.aberrations.get("C10", 0.0) - change})

    @property
    def wavelength(self) -> float:
        """Electron wavelength [Å]."""
        return wavelength(self.energy)

    @property
    def window(self) -> tuple[float, float]:
        """Side lengths (y, x) [Å] of the real-space window of a pattern, L = lambda / angular sampling."""
        y, x = (self.wavelength / (1e-3 * angle) for angle in self.angular_sampling)
        return y, x

    @property
    def sampling(self) -> tuple[float, float]:
        """Pixel size (y, x) [Å] of the window with as many pixels as the detector: the grid of a reconstruction."""
        (y, x), (rows, columns) = self.window, self.detector_shape
        return y / rows, x / columns


def angular_sampling_of(largest_angle: float, detector_shape: tuple[int, int]) -> tuple[float, float]:
    """Return the angular sampling (ky, kx) [mrad] of a detector whose shorter side reaches `largest_angle` [mrad]."""
    step = 2 * largest_angle / min(detector_shape)
    return step, step


@dataclass(frozen=True)
class Scan:
    """A raster of probe positions.

    Parameters
    ----------
    shape
        Number of positions (y, x): rows, and positions per row. x is the fast direction.
    step
        Step along (y, x) [Å].
    rotation
        Angle a [deg] by which the raster is rotated: y = i cos a - j sin a, x = i sin a + j cos a.
    jitter
        Standard deviation of the random error of each position along one axis [Å].
    drift
        Distance (y, x) [Å] by which the specimen drifts during the scan of each tilt, at constant speed.
    seed
        Seed of the jitter.
    reported_rotation
        The rotation that the microscope reports [deg]; None for the true one.
    """

    shape: tuple[int, int]
    step: tuple[float, float]
    _: KW_ONLY
    rotation: float = 0.0
    jitter: float = 0.0
    drift: tuple[float, float] = (0.0, 0.0)
    seed: int = 0
    reported_rotation: float | None = None

    def __post_init__(self) -> None:
        require_positive("scan shape", min(self.shape), "positions (y, x)")
        require_positive("scan step", min(self.step), "Å (y, x)")
        require_not_negative("jitter", self.jitter, "Å")

    def nominal_positions(self) -> Float64[np.ndarray, "pos 2"]:
        """Return the reported raster (pos, 2) as (y, x) [Å]; position n//2 along y and x is on the rotation axis."""
        return self._raster(self.rotation if self.reported_rotation is None else self.reported_rotation)

    def _raster(self, rotation: float) -> Float64[np.ndarray, "pos 2"]:
        i, j = ((np.arange(n) - n // 2) * d for n, d in zip(self.shape, self.step, strict=True))
        cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        y, x = i[:, None] * cos - j * sin, i[:, None] * sin + j * cos
        return np.stack([y.ravel(), x.ravel()], axis=1)

    def true_positions(self, tilt_index: int) -> Float64[np.ndarray, "pos 2"]:
        """Return the true positions (pos, 2) of the probe in a tilt, relative to the specimen's own frame [Å].

        If the specimen has drifted by +d, the probe at p hits it at p - d. The drift is zero in the middle of the
        scan, so that it does not add to the tilt's translation.
        """
        raster = self._raster(self.rotation)
        time = np.linspace(-0.5, 0.5, len(raster)) if len(raster) > 1 else np.zeros(1)
        generator = random_stream("jitter", self.seed, tilt_index)
        return raster - time[:, None] * np.array(self.drift) + self.jitter * generator.normal(size=raster.shape)


@dataclass(frozen=True)
class Pose:
    """Pose of the specimen in one tilt: r' = Rz(psi) Ry(theta) Rx(phi) r + tau ([P] eq. 11).

    Parameters
    ----------
    euler_angles
        (phi, theta = stage tilt, psi) [deg].
    translation
        tau (y, x) [Å].
    """

    euler_angles: tuple[float, float, float]
    translation: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class TiltScheme:
    """The stage angles, and how far the true poses and the true focus differ from what the microscope reports.

    Parameters
    ----------
    angles
        Nominal stage angles theta [deg]; see `tilt_range`.
    angle_errors
        Errors of the true (phi, theta, psi) [deg] are uniform within ± these values.
    translation_error
        True translations along y and x [Å] are uniform within ± this value.
    seed
        Seed of the errors.
    defocus_error
        Differences of a tilt's true defocus from that of the optics [Å] are uniform within ± this value.
    """

    angles: tuple[float, ...]
    _: KW_ONLY
    angle_errors: tuple[float, float, float] = (0.0, 0.0, 0.0)
    translation_error: float = 0.0
    seed: int = 0
    defocus_error: float = 0.0

    def __post_init__(self) -> None:
        if not self.angles:
            raise ValueError("the tilt scheme has no angles; expected at least one [deg]")
        require_not_negative("angle_errors", min(self.angle_errors), "degrees (phi, theta, psi)")
        require_not_negative("translation_error", self.translation_error, "Å")
        require_not_negative("defocus_error", self.defocus_error, "Å")

    def nominal_poses(self) -> tuple[Pose, ...]:
        """Return the poses that the microscope reports: theta alone."""
        return tuple(Pose((0.0, angle, 0.0)) for angle in self.angles)

    def true_poses(self) -> tuple[Pose, ...]:
        """Return the true poses: nominal plus errors."""
        generator = random_stream("pose", self.seed)
        errors = generator.uniform(-1, 1, size=(len(self.angles), 5))
        poses = []
        for angle, error in zip(self.angles, errors, strict=True):
            phi, theta, psi = (error[:3] * self.angle_errors + (0.0, angle, 0.0)).tolist()
            tau_y, tau_x = (error[3:] * self.translation_error).tolist()
            poses.append(Pose((phi, theta, psi), (tau_y, tau_x)))
        return tuple(poses)

    def true_optics(self, optics: Optics) -> tuple[Optics, ...]:
        """Return the true optics of each tilt, with its own defocus."""
        errors = self.defocus_error * random_stream("defocus", self.seed).uniform(-1, 1, size=len(self.angles))
        return tuple(optics.defocused(error) if error else optics for error in errors.tolist())


def tilt_range(start: float, stop: float, step: float) -> tuple[float, ...]:
    """Return the angles from `start` to `stop` [deg], both included if `step` divides their distance."""
    if not step * (stop - start) > 0:
        raise ValueError(
            f"no tilt angles from {start} to {stop} in steps of {step} degrees; expected a step towards the stop"
        )
    require_at_most("tilts", (stop - start) / step, 1e5, "Check start, stop and step, in degrees.")
    return tuple(start + i * step for i in range(math.floor((stop - start) / step + 1e-9) + 1))


@dataclass(frozen=True)
class Exposure:
    """Number of electrons, and their shot noise.

    Parameters
    ----------
    fluence
        Electrons per Å² in each tilt.
    shot_noise
        Whether patterns are Poisson counts or their expectation.
    seed
        Seed of the shot noise.
    """

    fluence: float
    _: KW_ONLY
    shot_noise: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive("fluence", self.fluence, "e/Å²")

    def electrons_per_pattern(self, scan: Scan) -> float:
        """Return the mean number of electrons that hit the specimen per pattern."""
        return self.fluence * scan.step[0] * scan.step[1]

    def count(self, expected: np.ndarray, tilt_index: int, noise: np.random.Generator | None = None) -> np.ndarray:
        """Return Poisson counts of `expected`, in the smallest unsigned type; `noise` drew the patterns before."""
        counts = (noise or random_stream("shot noise", self.seed, tilt_index)).poisson(expected)
        return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


@dataclass(frozen=True)
class Acquisition:
    """The whole experiment.

    Parameters
    ----------
    optics
        Lens and detector; `scheme` changes the defocus from tilt to tilt.
    scan
        Probe positions of every tilt.
    scheme
        Poses.
    exposure
        Electrons and shot noise.
    errors
        What the microscope does beyond [P].
    """

    optics: Optics
    scan: Scan
    scheme: TiltScheme
    exposure: Exposure
    errors: ExperimentErrors = field(default_factory=ExperimentErrors)

    def errors_of(self, tilt_index: int) -> TiltErrors:
        """Return the errors of a tilt."""
        return draw_tilt_errors(self.errors, tilt_index, float(np.abs(self.scan.nominal_positions()).max()))

    def true_positions(self, tilt_index: int) -> Float64[np.ndarray, "pos 2"]:
        """Return the true positions (pos, 2) of the probe in a tilt, relative to the specimen's own frame [Å]."""
        return self.errors_of(tilt_index).moved(self.scan.true_positions(tilt_index))

    def true_optics(self) -> tuple[Optics, ...]:
        """Return the true optics of each tilt."""
        lenses = enumerate(self.scheme.true_optics(self.optics))
        return tuple(replace(one, aberrations=self.errors_of(i).aberrations(one.aberrations)) for i, one in lenses)

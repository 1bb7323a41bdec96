"""The errors of an experiment: their sizes, as in `jobs/configs/05_experiment.yaml`, and what a tilt has of each.

What each means stands in `dptt/config/experiment.py`; nothing here uses code of dptt.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

GROUPS = {
    "scale": ("scan_scale_y", "scan_scale_x", "scan_scale_spread"),
    "rotation": ("scan_rotation", "scan_rotation_spread"),
    "shear": ("scan_shear",),
    "drift": ("drift", "unsteady_drift"),
    "descan": ("descan", "descan_spread"),
    "zero_angle": ("zero_angle_y", "zero_angle_x"),
    "focus": ("focus_spread",),
    "astigmatism": ("astigmatism",),
    "dose": ("dose_spread",),
    "current": ("current_spread",),
    "blur": ("blur",),
    "background": ("background",),
    "bad_pixels": ("dead_pixels", "hot_pixels"),
    "aperture": ("aperture",),
    "translations": ("translation_error",),
    "angles": ("theta_error", "other_angle_errors"),
}
"""Names of errors that can be switched off, and their sizes in `Sizes`."""
GROUPS["scan"] = GROUPS["scale"] + GROUPS["rotation"] + GROUPS["shear"] + GROUPS["drift"]
GROUPS["all"] = tuple(dict.fromkeys(size for names in GROUPS.values() for size in names))
GROUPS["coherence"] = ("source_size", "focal_spread")
GROUPS["noise"] = ("shot_noise",)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the errors: lengths [Å], scan [%], angles [degrees], detector [pixels], the others as fractions."""

    scan_scale_y: float = 1.5
    scan_scale_x: float = 1.5
    scan_scale_spread: float = 0.5
    scan_rotation: float = 1.2
    scan_rotation_spread: float = 0.2
    scan_shear: float = 0.5
    drift: float = 1.0
    unsteady_drift: float = 0.05
    descan: float = 1.0
    descan_spread: float = 0.1
    zero_angle_y: float = 0.35
    zero_angle_x: float = -0.35
    focus_spread: float = 25.0
    astigmatism: float = 10.0
    dose_spread: float = 0.03
    current_spread: float = 0.02
    blur: float = 0.45
    background: float = 0.02
    dead_pixels: float = 6
    hot_pixels: float = 3
    aperture: float = 1.6
    """By how much the aperture in the file is larger than the true one [%]."""
    translation_error: float = 3.0
    theta_error: float = 0.4
    other_angle_errors: float = 0.05
    source_size: float = 0.2
    focal_spread: float = 20.0
    shot_noise: float = 1.0

    def without(self, names: list[str]) -> "Sizes":
        """Return the sizes with groups of errors switched off."""
        return replace(self, **{size: 0.0 for name in names for size in GROUPS[name]})

    def only(self, names: list[str]) -> "Sizes":
        """Return the sizes with all errors switched off but these; noise and coherence stay."""
        kept = {size for name in names for size in GROUPS[name]}
        return replace(self, **{size: 0.0 for size in GROUPS["all"] if size not in kept})


@dataclass(frozen=True)
class TiltErrors:
    """The errors of one tilt; lengths [Å], angles [degrees]."""

    angles: np.ndarray
    """(phi, theta, psi) of which the file tells nothing."""
    translation: np.ndarray
    """(y, x)"""
    scan: np.ndarray
    """Matrix on (y, x): nominal positions are stretched, turned, then sheared."""
    drift: np.ndarray
    """Of the specimen from the first to the last position (y, x)."""
    bend: np.ndarray
    """Root mean square of what is unsteady of it (y, x)."""
    descan: np.ndarray
    """Matrix from nominal positions (y, x) to the displacement of the pattern (y, x) [pixels/Å]."""
    C10: float
    C12: float
    phi12: float
    dose: float

    def moved(self, nominal: np.ndarray) -> np.ndarray:
        """Return where the probe hits a specimen at rest, for nominal positions (pos, 2) in the order of time."""
        time = np.linspace(-0.5, 0.5, len(nominal))[:, None]
        return nominal @ self.scan.T - time * self.drift - np.sqrt(2) * np.cos(2 * np.pi * time) * self.bend

    def effective_scan(self, nominal: np.ndarray) -> dict[str, float]:
        """Return scale, y longer than x, shear [%] and rotation [degrees] of the scan together with the drift."""
        matrix = np.linalg.lstsq(nominal - nominal.mean(0), self.moved(nominal), rcond=None)[0].T
        return scan_parameters(matrix)


def scan_parameters(matrix: np.ndarray) -> dict[str, float]:
    """Return scale, y longer than x, shear [%] and rotation [degrees] of a matrix on (y, x) near 1."""
    (yy, yx), (xy, xx) = matrix
    return {
        "scan_scale_percent": 100 * ((yy + xx) / 2 - 1),
        "scan_y_longer_than_x_percent": 100 * (yy - xx),
        "scan_rotation_deg": float(np.degrees((xy - yx) / 2)),
        "scan_shear_percent": 100 * (xy + yx),
    }


def scan_matrix(scale: np.ndarray, rotation: float, shear: float) -> np.ndarray:
    """Return the matrix on (y, x) that stretches by 1 + `scale` [%], turns, and adds `shear` [%] of y to x."""
    c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    return np.array([[1, 0], [shear / 100, 1]]) @ [[c, -s], [s, c]] @ np.diag(1 + scale / 100)


def generator(seed: int, name: str, tilt: int = -1) -> np.random.Generator:
    """Return the random numbers of one error in one tilt: others do not change them."""
    return np.random.default_rng([seed, tilt + 1, *name.encode()])


def errors_of(sizes: Sizes, seed: int, tilt: int, half_extent: float) -> TiltErrors:
    """Return the errors of a tilt; `half_extent` [Å] is where the descan has its full size."""

    def normal(name: str, number: int) -> np.ndarray:
        return generator(seed, name, tilt).normal(size=number)

    def within(name: str, number: int) -> np.ndarray:
        return generator(seed, name, tilt).uniform(-1, 1, size=number)

    def direction(name: str) -> np.ndarray:
        vector = normal(name, 2)
        return vector / np.linalg.norm(vector)

    descan = generator(seed, "descan").normal(size=(2, 2))
    descan *= sizes.descan / half_extent / np.linalg.norm(descan, 2)
    largest = np.array([sizes.other_angle_errors, sizes.theta_error, sizes.other_angle_errors])
    scale = np.array([sizes.scan_scale_y, sizes.scan_scale_x]) + sizes.scan_scale_spread * normal("scale", 2)
    rotation = sizes.scan_rotation + sizes.scan_rotation_spread * normal("rotation", 1)[0]
    return TiltErrors(
        angles=largest * within("angles", 3),
        translation=sizes.translation_error * within("translation", 2),
        scan=scan_matrix(scale, rotation, sizes.scan_shear),
        drift=sizes.drift * direction("drift"),
        bend=sizes.unsteady_drift * direction("unsteady drift"),
        descan=descan * (1 + sizes.descan_spread * normal("descan spread", 4).reshape(2, 2)),
        C10=sizes.focus_spread * normal("focus", 1)[0],
        C12=sizes.astigmatism,
        phi12=90 * within("astigmatism", 1)[0],
        dose=1 + sizes.dose_spread * normal("dose", 1)[0],
    )


def changed(sizes: Sizes, settings: list[str]) -> Sizes:
    """Return the sizes with each NAME=VALUE put in place."""
    names = [field.name for field in fields(Sizes)]
    values = dict(setting.split("=", 1) for setting in settings)
    if unknown := sorted(set(values) - set(names)):
        raise SystemExit(f"--size {', '.join(unknown)}: expected some of {', '.join(names)}")
    return replace(sizes, **{name: float(value) for name, value in values.items()})

"""What a reader of a foreign format returns: a lazy array, the meaning of its axes, and what its metadata say."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Metadata:
    """What a file says about its measurement; None for everything that it does not say.

    Parameters
    ----------
    energy
        Beam energy [eV].
    semiangle_cutoff
        Convergence semi-angle [mrad].
    scan_step
        Distance between scan positions along (scan_y, scan_x) [Å].
    angular_sampling
        Angle between pixels along (ky, kx) [mrad].
    reciprocal_sampling
        Instead of an angle: spatial frequency between pixels along (ky, kx) [1/Å].
    tilt_angle
        Stage angle [deg].
    fluence
        Electrons per area [1/Å²].
    camera
        Name of the detector.
    others
        What dptt does not use, but a user may want to see, as name -> text.
    """

    energy: float | None = None
    semiangle_cutoff: float | None = None
    scan_step: tuple[float, float] | None = None
    angular_sampling: tuple[float, float] | None = None
    reciprocal_sampling: tuple[float, float] | None = None
    tilt_angle: float | None = None
    fluence: float | None = None
    camera: str | None = None
    others: dict[str, str] = field(default_factory=dict)

    def angles_at(self, wavelength: float | None) -> tuple[float, float] | None:
        """Return the angle between pixels along (ky, kx) [mrad] at a `wavelength` [Å]; None if unknown."""
        if self.angular_sampling is not None or self.reciprocal_sampling is None or wavelength is None:
            return self.angular_sampling
        y, x = (1e3 * wavelength * step for step in self.reciprocal_sampling)
        return y, x

    def sentences(self) -> Iterator[str]:
        """Yield all that is known, as `name value unit`."""
        units = {
            "energy": "eV",
            "semiangle_cutoff": "mrad",
            "scan_step": "Å",
            "angular_sampling": "mrad",
            "reciprocal_sampling": "1/Å",
            "tilt_angle": "degrees",
            "fluence": "e/Å²",
            "camera": "",
        }
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name == "others" or value is None:
                continue
            yield f"{entry.name} {shown(value)} {units[entry.name]}".rstrip()
        yield from (f"{name} {text}" for name, text in self.others.items())


def shown(value: Any) -> str:
    """Return a number, a pair of numbers or a text as it is printed."""
    if isinstance(value, tuple):
        return "(" + ", ".join(shown(number) for number in value) + ")"
    return f"{value:.6g}" if isinstance(value, float | int) else str(value)


@dataclass(frozen=True)
class ForeignData:
    """An open array of patterns.

    Parameters
    ----------
    array
        Anything with `shape`, `dtype`, `ndim` and indexing by integers and slices of step one. Nothing is read before
        it is indexed.
    axes
        Meaning of its axes, out of `description.AXES`; empty if the format does not tell.
    metadata
        What the file says about the measurement.
    dataset
        Path of the array inside the file, for formats that hold several.
    """

    array: Any
    axes: tuple[str, ...] = ()
    metadata: Metadata = Metadata()
    dataset: str | None = None


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Parameters
    ----------
    name
        What a user calls it.
    recognises
        Whether the file or folder of a path, which begins with the bytes, is of this format.
    open_data
        Yields the array of patterns in the file of a path; the text, or None, names it where a file holds several.
    """

    name: str
    recognises: Callable[[Path, bytes], bool]
    open_data: Callable[[Path, str | None], AbstractContextManager[ForeignData]]

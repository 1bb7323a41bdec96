"""The bright-field result of one tilt as a record of plain arrays, numbers and texts, and back."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from dptt.solvers.brightfield import OpticalEstimate, Orientation
from dptt.solvers.brightfield.centre_of_mass import Curl
from dptt.solvers.brightfield.parallax import Shifts
from dptt.solvers.brightfield.search import Candidate
from dptt.solvers.brightfield.signs import BothSigns


@dataclass(frozen=True)
class TiltOptics:
    """The bright-field result of one tilt."""

    estimate: OpticalEstimate
    slope: tuple[float, float] | None
    """Slope of the defocus across the tilt axis, see `evidence.defocus_slope`; None near zero tilt."""


def as_record(optics: TiltOptics) -> dict[str, Any]:
    """Return the values of all fields by name, tensors as arrays."""
    record = _plain(asdict(optics.estimate))
    return record if optics.slope is None else record | {"slope": np.array(optics.slope)}


def from_record(record: dict[str, Any]) -> TiltOptics:
    """Return the result that `as_record` converted."""
    record = dict(record)
    slope = record.pop("slope", None)
    curls = record["curls"]
    nested = {
        "orientation": Orientation(**record["orientation"]),
        "other_parity": _candidate(record["other_parity"]),
        "by_sign": BothSigns(
            _candidate(record["by_sign"]["underfocus"]),
            _candidate(record["by_sign"]["overfocus"]),
            record["by_sign"]["error"],
        ),
        "image": torch.from_numpy(record["image"]),
        "image_sampling": tuple(record["image_sampling"].tolist()),
        "curls": (Curl(**curls["0"]), Curl(**curls["1"])),
        "defocus_curve": torch.from_numpy(record["defocus_curve"]),
        "shifts": Shifts(**{name: torch.from_numpy(array) for name, array in record["shifts"].items()}),
    }
    return TiltOptics(OpticalEstimate(**record | nested), None if slope is None else tuple(slope.tolist()))


def _candidate(record: dict[str, Any]) -> Candidate:
    return Candidate(Orientation(**record["orientation"]), torch.from_numpy(record["coefficients"]), record["energy"])


def _plain(value: Any) -> Any:
    """Return nested dictionaries of arrays, numbers and texts."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple) and isinstance(value[0], dict):
        return {str(number): _plain(item) for number, item in enumerate(value)}
    if isinstance(value, torch.Tensor):
        return value.numpy()
    return np.array(value) if isinstance(value, tuple) else value

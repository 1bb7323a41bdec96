"""The bright field of every tilt by itself: shared out over ranks, one file a tilt; done tilts are not done again.

The least tilted tilt comes first, alone: where it finds its orientation, the others begin their search. A share of
the work that does not find it done does it as well; whoever does it finds the same.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dptt.assembly.brightfield import BrightFieldError, bright_field_data, file_orientation
from dptt.config.brightfield import BrightFieldConfig
from dptt.distributed.comm import Communicator
from dptt.distributed.share import WHOLE, Share
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import DatasetError
from dptt.io.records import read_record, write_record
from dptt.logs import log, progress_bar
from dptt.solvers.brightfield import OpticalEstimate, Orientation, calibrated, estimate_optics
from dptt.solvers.brightfield.aberrations import to_cartesian
from dptt.solvers.brightfield.centre_of_mass import Curl
from dptt.solvers.brightfield.evidence import defocus_slope
from dptt.solvers.brightfield.parallax import Shifts
from dptt.solvers.brightfield.search import Candidate

TILTED = 5.0
"""[degrees] from which a tilt may show its sign."""


@dataclass(frozen=True)
class TiltOptics:
    """What the bright field of one tilt says."""

    estimate: OpticalEstimate
    slope: tuple[float, float] | None
    """Of the defocus across the tilt axis, see `evidence.defocus_slope`; None for a tilt that lies flat."""


class BrightFieldTilts:
    """The tilts of a series and where the result of each is kept.

    Parameters
    ----------
    choice
        How to estimate.
    series
        Open.
    folder
        Takes a file a tilt.
    identity
        What the results depend on; files of another identity do not count.
    """

    def __init__(self, choice: BrightFieldConfig, series: TiltSeries, folder: Path, identity: str) -> None:
        self._choice, self._series, self._folder, self._identity = choice, series, folder, identity
        self.ordered = sorted(series.tilts, key=lambda tilt: abs(tilt.euler_angles[1]))
        """The least tilted first."""

    def estimate(self, communicator: Communicator, share: Share = WHOLE) -> dict[str, str]:
        """Do the tilts of `share`, each on one rank; return why others failed, by name, on every rank."""
        failed = {name: " ".join(problems) for name, problems in self._series.unreadable.items()}
        if communicator.rank == 0:
            with communicator.working("estimating the least tilted tilt", alone=True):
                failed |= self._first()
        failed = json.loads(communicator.gather_messages(json.dumps(failed))[0])
        first = next((tilt for tilt in self.ordered if tilt.name not in failed), None)
        if first is None:
            return failed
        near = self.result(first).estimate.orientation
        others = [tilt for tilt in share.of(self.ordered) if tilt is not first and tilt.name not in failed]
        own = others[communicator.rank :: communicator.size]
        own_failed: dict[str, str] = {}
        with progress_bar("brightfield", "tilt", communicator.rank) as progress:
            for done, tilt in enumerate(own):
                with communicator.working(f"estimating tilt {tilt.name}", alone=True):
                    own_failed |= self._done(tilt, near)
                progress.update(done + 1, len(own))
        for message in communicator.gather_messages(json.dumps(own_failed)):  # all files are complete after this
            failed |= json.loads(message)
        return failed

    def result(self, tilt: Tilt) -> TiltOptics:
        """Return what was found for a tilt that `estimate` has done."""
        record = self._read(tilt)
        assert record is not None, f"tilt {tilt.name} was not done"
        return record

    def _first(self) -> dict[str, str]:
        """Do the least tilted tilt that can be done; return why less tilted ones failed."""
        failed: dict[str, str] = {}
        for tilt in self.ordered:
            failure = self._done(tilt, None)
            if not failure:
                log.info(f"method: {self.result(tilt).estimate.method}, as {self.result(tilt).estimate.reason}")
                break
            failed |= failure
        return failed

    def _done(self, tilt: Tilt, near: Orientation | None) -> dict[str, str]:
        """Make sure that the result of a tilt is there; return its name and why not if it cannot be."""
        if self._read(tilt) is not None:
            return {}
        keep = self._choice.orientation == "keep"
        try:
            start = file_orientation(tilt) if keep else near
            data = bright_field_data(tilt, self._series)
            estimate = estimate_optics(data, self._choice.method, self._choice.aberration_order, start, not keep)
        except (BrightFieldError, DatasetError, ValueError) as error:
            log.warning(f"tilt {tilt.name} has no bright-field result: {error}")
            return {tilt.name: str(error)}
        slope = None
        if abs(tilt.euler_angles[1]) >= TILTED:
            coefficients = to_cartesian(estimate.aberrations, self._choice.aberration_order)
            slope = defocus_slope(data, estimate, coefficients, _axis(tilt, estimate.orientation))
        write_record(self._path(tilt), as_record(TiltOptics(estimate, slope)), self._identity)
        log.info(f"tilt {tilt.name} ({tilt.euler_angles[1]:+.1f}°): {numbers(estimate)}")
        return {}

    def _path(self, tilt: Tilt) -> Path:
        return self._folder / f"{tilt.name}.h5"

    def _read(self, tilt: Tilt) -> TiltOptics | None:
        record = read_record(self._path(tilt), self._identity)
        return None if record is None else from_record(record)


def _axis(tilt: Tilt, orientation: Orientation) -> float:
    """Return psi [degrees] of the tilt in the frame of the detector: it turns with the scan."""
    as_filed = calibrated(
        file_orientation(tilt),
        {},
        orientation=orientation,
        rotation_uncertainty=0.0,
        aberrations={},
        defocus_uncertainty=0.0,
        sign_significance=math.inf,
    )
    return as_filed.pose(tilt.euler_angles, tilt.translation)[0][2]


def numbers(estimate: OpticalEstimate) -> str:
    """Return defocus, other aberrations and scan rotation as text."""
    aberrations = ", ".join(
        f"{name} {value:.3g}{'°' if name.startswith('phi') else ' Å'}"
        for name, value in estimate.aberrations.items()
        if name != "C10"
    )
    return (
        f"defocus {estimate.defocus:.4g} ± {estimate.defocus_uncertainty:.2g} Å, {aberrations}, "
        f"scan rotation {estimate.orientation.rotation:.2f}° ± {estimate.rotation_uncertainty:.2g}°"
    )


def as_record(optics: TiltOptics) -> dict[str, Any]:
    """Return the values of all fields by name, tensors as arrays."""
    record = _plain(asdict(optics.estimate))
    return record if optics.slope is None else record | {"slope": np.array(optics.slope)}


def from_record(record: dict[str, Any]) -> TiltOptics:
    """Return what `as_record` was given."""
    record = dict(record)
    slope = record.pop("slope", None)
    other, curls = record["other_parity"], record["curls"]
    nested = {
        "orientation": Orientation(**record["orientation"]),
        "other_parity": Candidate(
            Orientation(**other["orientation"]), torch.from_numpy(other["coefficients"]), other["energy"]
        ),
        "image": torch.from_numpy(record["image"]),
        "image_sampling": tuple(record["image_sampling"].tolist()),
        "curls": (Curl(**curls["0"]), Curl(**curls["1"])),
        "defocus_curve": torch.from_numpy(record["defocus_curve"]),
        "shifts": Shifts(**{name: torch.from_numpy(array) for name, array in record["shifts"].items()}),
    }
    return TiltOptics(OpticalEstimate(**record | nested), None if slope is None else tuple(slope.tolist()))


def _plain(value: Any) -> Any:
    """Return nested dictionaries of arrays, numbers and texts."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple) and isinstance(value[0], dict):
        return {str(number): _plain(item) for number, item in enumerate(value)}
    if isinstance(value, torch.Tensor):
        return value.numpy()
    return np.array(value) if isinstance(value, tuple) else value

"""Bright-field estimates of every tilt alone: shared out over ranks, one file per tilt, finished tilts are kept.

The least tilted tilt comes first: the others begin their search at its orientation. Each share of the work that does
not find its file estimates it again, with the same result.
"""

import json
from pathlib import Path

from dptt.assembly.brightfield import BrightFieldError, bright_field_data, file_orientation
from dptt.assembly.brightfield_records import TiltOptics, as_record, from_record
from dptt.config.brightfield import BrightFieldConfig
from dptt.distributed.comm import Communicator
from dptt.distributed.share import WHOLE, Share
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import DatasetError, WriteError
from dptt.io.records import read_record, write_record
from dptt.logs import log, progress_bar
from dptt.physics.aberrations import to_cartesian
from dptt.solvers.brightfield import MeasuredOptics, OpticalEstimate, Orientation, calibrated, estimate_optics
from dptt.solvers.brightfield.evidence import defocus_slope

TILTED = 5.0
"""Stage angle [degrees] from which the defocus across a tilt may show the sign of its angle."""


class BrightFieldTilts:
    """The tilts of a series and where the result of each is kept.

    Parameters
    ----------
    options
        The section `brightfield`.
    series
        The series, open.
    folder
        Folder of the results, one file per tilt.
    identity
        Identity of the step; files with another one are ignored.
    """

    def __init__(self, options: BrightFieldConfig, series: TiltSeries, folder: Path, identity: str) -> None:
        self._options, self._series, self._folder, self._identity = options, series, folder, identity
        self.ordered = sorted(series.tilts, key=lambda tilt: abs(tilt.euler_angles[1]))
        """All tilts, the least tilted first."""

    def estimate(self, communicator: Communicator, share: Share = WHOLE) -> dict[str, str]:
        """Estimate the tilts of `share`; return on every rank, by name, why tilts failed.

        Raises
        ------
        WriteError
            On every rank: a result cannot be written.
        """
        failed = {name: " ".join(problems) for name, problems in self._series.unreadable.items()}
        problems: list[str] = []
        if communicator.rank == 0:
            with communicator.working("estimating the least tilted tilt", alone=True):
                try:
                    failed |= self._estimate_first()
                except WriteError as error:
                    problems = [str(error)]
        failed = self._gather(communicator, failed, problems)[0]
        first = next((tilt for tilt in self.ordered if tilt.name not in failed), None)
        if first is None:
            return failed
        near = self.result(first).estimate.orientation
        others = [tilt for tilt in share.of(self.ordered) if tilt is not first and tilt.name not in failed]
        own = others[communicator.rank :: communicator.size]
        own_failed: dict[str, str] = {}
        with progress_bar("brightfield", "tilt", communicator.rank) as progress:
            for count, tilt in enumerate(own, 1):
                with communicator.working(f"estimating tilt {tilt.name}", alone=True):
                    try:
                        own_failed |= self._estimate_tilt(tilt, near)
                    except WriteError as error:
                        problems = [str(error)]
                        break
                progress.update(count, len(own))
        for failed_elsewhere in self._gather(communicator, own_failed, problems):  # all files are complete after this
            failed |= failed_elsewhere
        return failed

    def _gather(
        self, communicator: Communicator, failed: dict[str, str], problems: list[str]
    ) -> list[dict[str, str]]:
        """Return what failed on every rank; raise WriteError on all ranks if one could not write its files."""
        messages = map(json.loads, communicator.gather_messages(json.dumps([failed, problems])))
        by_rank, all_problems = zip(*messages, strict=True)
        if any(all_problems):
            raise WriteError(self._folder, [problem for problems in all_problems for problem in problems])
        return list(by_rank)

    def result(self, tilt: Tilt) -> TiltOptics:
        """Return the result of a tilt that `estimate` has finished."""
        record = self._read(tilt)
        assert record is not None, f"tilt {tilt.name} has no result"
        return record

    def _estimate_first(self) -> dict[str, str]:
        """Estimate the least tilted tilt that can be; return why less tilted ones failed."""
        failed: dict[str, str] = {}
        for tilt in self.ordered:
            failure = self._estimate_tilt(tilt, None)
            if not failure:
                log.info(f"method: {self.result(tilt).estimate.method}, as {self.result(tilt).estimate.reason}")
                break
            failed |= failure
        return failed

    def _estimate_tilt(self, tilt: Tilt, near: Orientation | None) -> dict[str, str]:
        """Estimate a tilt unless its file exists; return its name and the reason if that fails."""
        if self._read(tilt) is not None:
            return {}
        keep = self._options.orientation == "keep"
        try:
            start = file_orientation(tilt) if keep else near
            data = bright_field_data(tilt, self._series)
            estimate = estimate_optics(data, self._options.method, self._options.aberration_order, start, not keep)
        except (BrightFieldError, DatasetError, ValueError) as error:
            log.warning(f"tilt {tilt.name} has no bright-field result: {error}")
            return {tilt.name: str(error)}
        slope = None
        if abs(tilt.euler_angles[1]) >= TILTED:
            coefficients = to_cartesian(estimate.aberrations, self._options.aberration_order)
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
    """Return psi [degrees] of the tilt in the frame of the detector: it rotates with the scan."""
    corrected = calibrated(file_orientation(tilt), {}, MeasuredOptics(orientation))
    return corrected.pose(tilt.euler_angles, tilt.translation)[0][2]


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

"""The result of `dptt brightfield`: orientation of the series, optics and images of every tilt, in one HDF5 file.

Attributes of the file: ``format``, ``version``, ``identity`` and the provenance; ``rotation_deg`` and
``transposed`` of the scan relative to the detector as the series stores it, with ``rotation_uncertainty_deg`` and
``sign_significance``; ``findings`` in words. ``evidence`` is a table with one row for each of the eight detector
settings. ``tilts/NAME`` holds its aberrations as a series file does (``C10_A``, ``phi12_deg``, ...), and image,
curves and shifts as datasets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import read_aberrations, read_numbers, write_aberrations
from dptt.io.dataset_structure import format_problems
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import create_file, open_for_reading, text

FORMAT = "dptt-brightfield"
VERSION = 1
OWN_ATTRIBUTES = (
    *("format", "version", "rotation_deg", "transposed", "rotation_uncertainty_deg", "sign_significance"),
    *("trusted", "findings"),
)
TILT_NUMBERS = (
    "rotation_deg",
    "rotation_uncertainty_deg",
    "defocus_uncertainty_A",
    "explained_energy",
    "sign_significance",
)
TILT_ARRAYS = (
    "image",
    "image_sampling_A",
    "defocus_curve",
    "shift_angles_mrad",
    "shifts_measured_A",
    "shifts_fitted_A",
)


class CalibrationError(ProblemsError):
    """The result of the bright field is missing or cannot be read."""


@dataclass(frozen=True)
class TiltCalibration:
    """What the bright field says of one tilt.

    Parameters
    ----------
    aberrations
        By name [Å, degrees], axes in the detector frame of the series.
    numbers
        Those of `TILT_NUMBERS`.
    method, reason
        Used, and why.
    arrays
        Those of `TILT_ARRAYS`: the image along the raster's axes and its pixel (y, x); underfocus [Å] and explained
        energy (trial, 2); shifts of the virtual images (pixel, 2), angles in the detector's axes, shifts in the
        raster's.
    """

    aberrations: Mapping[str, float]
    numbers: Mapping[str, float]
    method: str
    reason: str
    arrays: Mapping[str, NDArray[np.floating]] = field(repr=False)


@dataclass(frozen=True)
class SeriesCalibration:
    """What the bright field says of a series.

    Parameters
    ----------
    rotation, transposed
        Of the scan relative to the stored detector frame [degrees].
    rotation_uncertainty
        [degrees]
    sign_significance
        Of the positive potential, which tells the setting from its twin [standard deviations].
    trusted
        Whether independent methods agree on the orientation; later steps keep the file's calibration where not.
    findings
        Sentences.
    evidence
        Column name -> one value per detector setting.
    tilts
        Name -> its calibration; tilts that failed are absent.
    attributes
        Provenance, and `identity`.
    """

    rotation: float
    transposed: bool
    rotation_uncertainty: float
    sign_significance: float
    trusted: bool
    findings: tuple[str, ...]
    evidence: Mapping[str, NDArray[Any]]
    tilts: Mapping[str, TiltCalibration]
    attributes: Mapping[str, str] = field(repr=False)


def write_calibration(path: str | Path, result: SeriesCalibration) -> None:
    """Write the result, replacing an earlier one only when it is complete."""
    with write_beside(path, overwrite=True) as partial, create_file(partial) as file:
        file.attrs.update(result.attributes)
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["rotation_deg"], file.attrs["transposed"] = result.rotation, result.transposed
        file.attrs["rotation_uncertainty_deg"] = result.rotation_uncertainty
        file.attrs["sign_significance"], file.attrs["trusted"] = result.sign_significance, result.trusted
        file.attrs["findings"] = "\n".join(result.findings)
        for name, column in result.evidence.items():
            file[f"evidence/{name}"] = column
        for name, tilt in result.tilts.items():
            group = file.create_group(f"tilts/{name}")
            write_aberrations(group.attrs, tilt.aberrations)
            group.attrs.update(tilt.numbers)
            group.attrs["method"], group.attrs["reason"] = tilt.method, tilt.reason
            for array, values in tilt.arrays.items():
                group[array] = values


def read_calibration(path: str | Path) -> SeriesCalibration:
    """Return the result of `dptt brightfield`.

    Raises
    ------
    CalibrationError
        The file is missing, damaged, or of another format.
    """
    with open_for_reading(path, CalibrationError) as file:
        problems = list(format_problems(file, FORMAT, VERSION, "Name a file written by `dptt brightfield`."))
        if problems:
            raise CalibrationError(path, problems)
        try:
            return _read(file)
        except (KeyError, OSError, ValueError) as failure:
            raise CalibrationError(path, [f"is incomplete ({failure}). Run `dptt brightfield` again."]) from failure


def _read(file: h5py.File) -> SeriesCalibration:
    return SeriesCalibration(
        rotation=read_numbers(file.attrs, "rotation_deg")[0],
        transposed=bool(file.attrs["transposed"]),
        rotation_uncertainty=read_numbers(file.attrs, "rotation_uncertainty_deg")[0],
        sign_significance=read_numbers(file.attrs, "sign_significance")[0],
        trusted=bool(file.attrs["trusted"]),
        findings=tuple(text(file.attrs["findings"]).split("\n")),
        evidence={name: column[()] for name, column in file["evidence"].items()},
        tilts={name: _read_tilt(group) for name, group in file["tilts"].items()},
        attributes={name: text(value) for name, value in file.attrs.items() if name not in OWN_ATTRIBUTES},
    )


def _read_tilt(group: h5py.Group) -> TiltCalibration:
    return TiltCalibration(
        aberrations=read_aberrations(group.attrs),
        numbers={name: read_numbers(group.attrs, name)[0] for name in TILT_NUMBERS},
        method=text(group.attrs["method"]),
        reason=text(group.attrs["reason"]),
        arrays={name: group[name][()] for name in TILT_ARRAYS},
    )

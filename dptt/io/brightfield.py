"""`brightfield.h5`, the result of `dptt brightfield`: orientation of the series, optics and images of every tilt.

Attributes of the file: ``format``, ``version``, ``identity`` and the provenance; ``rotation_deg`` and
``transposed`` of the scan relative to the detector as the series stores it, with ``rotation_uncertainty_deg`` and
``sign_significance``; ``findings`` in words. ``evidence`` is a table with one row for each of the eight detector
settings. ``tilts/NAME`` holds the aberrations as a series file does (``C10_A``, ``phi12_deg``, ...), and image,
curves and shifts as datasets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside
from dptt.io.attributes import (
    ABERRATIONS,
    aberration_attribute,
    number_problems,
    read_aberrations,
    read_numbers,
    result_problems,
    write_aberrations,
)
from dptt.io.disk_space import create_with_space
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import member, plain_values, read_array, read_attribute, reading_format, text
from dptt.io.hdf5_writing import write_array, write_attributes, write_format

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
    """A bright-field file is missing or cannot be read."""


@dataclass(frozen=True)
class TiltCalibration:
    """Bright-field result of one tilt.

    Parameters
    ----------
    aberrations
        By name [Å, degrees], axes in the detector frame of the series.
    numbers
        The values named in `TILT_NUMBERS`.
    method, reason
        The method used, and why.
    arrays
        The arrays named in `TILT_ARRAYS`: the image along the axes of the raster, and its pixel (y, x); underfocus
        [Å] and explained energy (trial, 2); shifts of the virtual images (pixel, 2), with angles along the axes of
        the detector and shifts along those of the raster.
    """

    aberrations: Mapping[str, float]
    numbers: Mapping[str, float]
    method: str
    reason: str
    arrays: Mapping[str, NDArray[np.floating]] = field(repr=False)


@dataclass(frozen=True)
class SeriesCalibration:
    """Bright-field result of a series.

    Parameters
    ----------
    rotation, transposed
        Orientation of the scan relative to the stored detector frame [deg].
    rotation_uncertainty
        [deg].
    sign_significance
        Significance of the positive sign of the potential, which distinguishes the detector setting from its twin
        [standard deviations].
    trusted
        Whether independent methods agree on the orientation. If not, later steps keep the calibration of the series.
    findings
        The result in sentences.
    evidence
        Column name -> one value per detector setting.
    tilts
        Name of the tilt -> its result; tilts that failed are absent.
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
    """Write a bright-field file; an existing one is replaced only when the new one is complete."""
    size = sum(values.nbytes for tilt in result.tilts.values() for values in tilt.arrays.values())
    with write_beside(path, overwrite=True) as partial, create_with_space(partial, size) as file:
        write_format(file, FORMAT, VERSION, result.attributes)
        file.attrs["rotation_deg"], file.attrs["transposed"] = result.rotation, result.transposed
        file.attrs["rotation_uncertainty_deg"] = result.rotation_uncertainty
        file.attrs["sign_significance"], file.attrs["trusted"] = result.sign_significance, result.trusted
        write_attributes(file.attrs, {"findings": "\n".join(result.findings)})
        for name, column in result.evidence.items():
            write_array(file, f"evidence/{name}", column)
        for name, tilt in result.tilts.items():
            group = file.create_group(f"tilts/{name}")
            write_aberrations(group.attrs, tilt.aberrations)
            write_attributes(group.attrs, {**tilt.numbers, "method": tilt.method, "reason": tilt.reason})
            for array, values in tilt.arrays.items():
                write_array(group, array, values)


def read_calibration(path: str | Path) -> SeriesCalibration:
    """Return the contents of a bright-field file.

    Raises
    ------
    CalibrationError
        The file is missing, damaged, or of another format.
    """
    with reading_format(path, CalibrationError, file_format=FORMAT, version=VERSION, command="brightfield") as file:
        problems = list(_problems(file))
        if problems:
            raise CalibrationError(path, problems)
        return _read(file)


def _problems(file: h5py.File) -> Iterator[str]:
    yield from number_problems(file.attrs, "rotation_deg", unit="deg", where="the file")
    for name, unit in (("rotation_uncertainty_deg", "deg"), ("sign_significance", "standard deviations")):
        yield from number_problems(file.attrs, name, unit=unit, where="the file", finite=False)
    for name in ("transposed", "trusted"):
        if not isinstance(read_attribute(file.attrs, name), np.bool_):
            yield f"the file: attribute {name} is {file.attrs[name]!r}; expected true or false. Correct it."
    yield from result_problems(file.attrs, "the file", checked=OWN_ATTRIBUTES[:-1])
    aberrations = set(map(aberration_attribute, ABERRATIONS))
    for tilt, group in (member(file, "tilts") or {}).items():
        where = f"tilts/{tilt}"
        for name in aberrations.intersection(group.attrs):
            yield from number_problems(group.attrs, name, unit=name.rpartition("_")[2], where=where)
        for number in TILT_NUMBERS:
            yield from number_problems(group.attrs, number, unit="", where=where, finite=False)
        yield from result_problems(group.attrs, where, checked=aberrations)


def _read(file: h5py.File) -> SeriesCalibration:
    return SeriesCalibration(
        rotation=read_numbers(file.attrs, "rotation_deg")[0],
        transposed=bool(read_attribute(file.attrs, "transposed")),
        rotation_uncertainty=read_numbers(file.attrs, "rotation_uncertainty_deg")[0],
        sign_significance=read_numbers(file.attrs, "sign_significance")[0],
        trusted=bool(read_attribute(file.attrs, "trusted")),
        findings=tuple(text(read_attribute(file.attrs, "findings")).split("\n")),
        evidence={name: read_array(file["evidence"], name) for name in file["evidence"]},
        tilts={name: _read_tilt(group) for name, group in file["tilts"].items()},
        attributes={name: text(value) for name, value in plain_values(file.attrs, without=OWN_ATTRIBUTES).items()},
    )


def _read_tilt(group: h5py.Group) -> TiltCalibration:
    return TiltCalibration(
        aberrations=read_aberrations(group.attrs),
        numbers={name: read_numbers(group.attrs, name)[0] for name in TILT_NUMBERS},
        method=text(read_attribute(group.attrs, "method")),
        reason=text(read_attribute(group.attrs, "reason")),
        arrays={name: read_array(group, name) for name in TILT_ARRAYS},
    )

"""`earlier_phase` of a tilt in a series: what another program found, to be shown beside the result of dptt."""

from collections.abc import Iterator

import h5py
import numpy as np

from dptt.io.hdf5_file import member, read_array, read_attribute, text
from dptt.io.hdf5_writing import write_array, write_attributes
from dptt.io.series_data import EarlierPhase

NAME = "earlier_phase"


def write_earlier_phase(tilt: h5py.Group, earlier: EarlierPhase) -> None:
    """Write the dataset `earlier_phase` to the group of a tilt."""
    write_array(tilt, NAME, np.asarray(earlier.phase, np.float32))
    attributes = tilt[NAME].attrs
    write_attributes(attributes, {"program": earlier.program})
    attributes["pixel_size_A"] = np.asarray(earlier.pixel_size, np.float64)
    attributes["axis_pixel"] = np.asarray(earlier.axis, np.float64)


def read_earlier_phase(tilt: h5py.Group) -> EarlierPhase | None:
    """Return what the group of a tilt has; None if there is none, as in a series without such starts."""
    dataset = member(tilt, NAME)
    if dataset is None:
        return None
    pixel_size, axis = (read_attribute(dataset.attrs, name) for name in ("pixel_size_A", "axis_pixel"))
    return EarlierPhase(
        text(dataset.attrs["program"]),
        read_array(tilt, NAME),
        (float(pixel_size[0]), float(pixel_size[1])),
        (float(axis[0]), float(axis[1])),
    )


def earlier_phase_problems(tilt: h5py.Group, where: str) -> Iterator[str]:
    """Yield what is wrong with `earlier_phase` of a tilt."""
    dataset = member(tilt, NAME)
    if dataset is None:
        return
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 2 or dataset.dtype.kind != "f" or 0 in dataset.shape:
        yield f"{where}/{NAME} is {dataset!r}; expected floats (y, x) [rad]. Rewrite or remove it."
        return
    for name in ("pixel_size_A", "axis_pixel"):
        value = np.asarray(dataset.attrs.get(name, np.nan))
        if value.shape != (2,) or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
            yield f"{where}/{NAME} has {name} = {value}; expected two numbers (y, x). Write it."
    if "program" not in dataset.attrs:
        yield f"{where}/{NAME} has no attribute `program`; expected a name. Write it."

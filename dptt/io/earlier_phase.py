"""`earlier_phase` of a tilt in a series: what another program found, to be shown beside the result of dptt."""

from collections.abc import Iterator

import h5py
import numpy as np

from dptt.io.attributes import number_problems, read_numbers
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
    pixel_y, pixel_x = read_numbers(dataset.attrs, "pixel_size_A")
    axis_y, axis_x = read_numbers(dataset.attrs, "axis_pixel")
    program = text(read_attribute(dataset.attrs, "program"))
    return EarlierPhase(program, read_array(tilt, NAME), (pixel_y, pixel_x), (axis_y, axis_x))


def earlier_phase_problems(tilt: h5py.Group, where: str) -> Iterator[str]:
    """Yield what is wrong with `earlier_phase` of a tilt."""
    dataset = member(tilt, NAME)
    if dataset is None:
        return
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 2 or dataset.dtype.kind != "f" or 0 in dataset.shape:
        yield f"{where}/{NAME} is {dataset!r}; expected floats (y, x) [rad]. Rewrite or remove it."
        return
    place = f"{where}/{NAME}"
    yield from number_problems(dataset.attrs, "pixel_size_A", size=2, unit="Å", where=place, positive=True)
    yield from number_problems(dataset.attrs, "axis_pixel", size=2, unit="pixels", where=place)
    if "program" not in dataset.attrs:
        yield f"{where}/{NAME} has no attribute `program`; expected a name. Write it."

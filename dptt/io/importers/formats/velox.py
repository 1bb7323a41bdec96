"""Velox .emd (HDF5): stacks (y, x, frame) of a camera, each with its metadata as JSON; the largest is taken."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Metadata
from dptt.io.importers.formats.stacked import Frames
from dptt.io.importers.formats.units import Axis, angle, pair, spatial_frequency


def is_velox(file: h5py.File) -> bool:
    """Return whether Velox wrote `file`."""
    return "Data/Image" in file and "Version" in file


def open_velox(file: h5py.File) -> ForeignData:
    """Return the frames (position, ky, kx) of the largest stack."""
    stacks = [group for group in file["Data/Image"].values() if isinstance(group.get("Data"), h5py.Dataset)]
    stacks = [group for group in stacks if group["Data"].ndim == 3]
    if not stacks:
        raise ImportDescriptionError(Path(file.filename), ["has no stack of images. Name another file."])
    largest = max(stacks, key=lambda group: math.prod(group["Data"].shape))
    data = largest["Data"]

    def read(number: int) -> NDArray[Any]:
        return np.asarray(data[:, :, number])

    frames = Frames(read, (data.shape[2], *data.shape[:2]), data.dtype)
    return ForeignData(frames, ("position", "ky", "kx"), _metadata(largest))


def _metadata(group: h5py.Group) -> Metadata:
    """Return what the JSON of the first frame says, in SI units."""
    stored = group.get("Metadata")
    try:
        tree = json.loads(np.asarray(stored[:, 0]).astype(np.uint8).tobytes().rstrip(b"\0").decode("utf-8"))
    except (TypeError, ValueError, AttributeError):
        return Metadata()
    energy, aperture = _number(tree, "Optics", "AccelerationVoltage"), _number(tree, "Optics", "BeamConvergence")
    tilt, length = _number(tree, "Stage", "AlphaTilt"), _number(tree, "Optics", "CameraLength")
    sizes = [_number(tree, "BinaryResult", "PixelSize", side) or 0.0 for side in ("height", "width")]
    units = [str(_entry(tree, "BinaryResult", f"PixelUnit{axis}")) for axis in "YX"]
    axes = [Axis(size, unit) for size, unit in zip(sizes, units, strict=True)]
    camera = _entry(tree, "BinaryResult", "Detector")
    return Metadata(
        energy=energy or None,
        semiangle_cutoff=1e3 * aperture if aperture else None,
        angular_sampling=pair([angle(axis) for axis in axes]),
        reciprocal_sampling=pair([spatial_frequency(axis) for axis in axes]),
        tilt_angle=None if tilt is None else math.degrees(tilt),
        camera=str(camera) if camera else None,
        others={"camera length": f"{length:g} m"} if length else {},
    )


def _entry(tree: Any, *names: str) -> Any:
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _number(tree: Any, *names: str) -> float | None:
    try:
        number = float(_entry(tree, *names))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None

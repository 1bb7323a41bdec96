"""Probe, scan positions and object in a result of quantem: a zarr folder or zip file of its class `Ptychography`.

The probe is in a module of torch that was saved whole, the positions in a tensor beside it, or in the module of the
data if these were saved too. The probe is at pixel 0; positions are the middles of the windows as (y, x) [pixels].
"""

from pathlib import Path
from typing import Any

import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.torch_archive import load
from dptt.io.importers.formats.zarr_store import open_store

PROBE = ("_probe_model/module", "_probe")
OBJECT = ("_obj_model/module", "_obj")
"""Complex transmission, or a phase."""
POSITIONS: tuple[tuple[str, str | None], ...] = (
    ("_dataset_metadata/learned_scan_positions_px/tensor", None),
    ("_dset/module", "_scan_positions_px"),
)


def read_quantem(path: Path) -> tuple[Any, Any, Any]:
    """Return the probe (mode, y, x), in the middle, the positions (n, 2), and the object (slice, y, x), if of pixels.

    Raises
    ------
    ImportDescriptionError
        It is no such result, or its probe is not one of pixels.
    """
    with open_store(path) as root:
        probe = _parameter(root, *PROBE, path)
        stored = [_parameter(root, member, name, path) for member, name in POSITIONS]
        positions = next((array for array in stored if array is not None), None)
        objects = _parameter(root, *OBJECT, path)
    if probe is None or positions is None:
        problem = "has no _probe_model of pixels and no scan positions; expected a result of quantem's Ptychography."
        raise ImportDescriptionError(path, [f"{problem} Name another, or save it with pixelated probe and object."])
    return np.fft.fftshift(probe, axes=(-2, -1)), positions, objects


def _parameter(root: Any, member: str, name: str | None, path: Path) -> Any:
    """Return a tensor, or the parameter `name` of a module; None if there is none."""
    if member not in root:
        return None
    try:
        stored = load(np.asarray(root[member][...], np.uint8).tobytes())
    except ValueError as failure:
        raise ImportDescriptionError(path, [f"{member} {failure}. Save it again."]) from failure
    if name is not None:
        stored = getattr(stored, "_parameters", {}).get(name)
    return stored if isinstance(stored, np.ndarray) else None

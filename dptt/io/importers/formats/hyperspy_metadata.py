"""The tree of metadata of HyperSpy and RosettaSciIO: energies in kV, angles in mrad and degrees, lengths in mm."""

import math
from collections.abc import Mapping
from typing import Any

from dptt.io.importers.formats.foreign_data import Metadata


def hyperspy_metadata(tree: Mapping[str, Any], calibration: Mapping[str, Any]) -> Metadata:
    """Return what a tree of metadata of HyperSpy says: kV, mrad, degrees, mm.

    Parameters
    ----------
    tree
        `metadata` of a signal.
    calibration
        The fields of `Metadata` that the axes tell.
    """
    instrument = _branch(tree, "Acquisition_instrument", "TEM")
    energy = _number(instrument.get("beam_energy"))
    length = _number(instrument.get("camera_length"))
    tilt = _number(_branch(instrument, "Stage").get("tilt_alpha"), zero=True)
    camera = _branch(tree, "Acquisition_instrument", "TEM", "Camera").get("name") or instrument.get("camera")
    return Metadata(
        energy=1e3 * energy if energy else None,
        semiangle_cutoff=_number(instrument.get("convergence_angle")),
        tilt_angle=tilt,
        camera=str(camera) if camera else None,
        others={"camera length": f"{length:g} mm"} if length else {},
        **calibration,
    )


def _branch(tree: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        tree = tree.get(name, {}) if isinstance(tree, Mapping) else {}
    return tree if isinstance(tree, Mapping) else {}


def _number(value: Any, zero: bool = False) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and (number > 0 or zero) else None

"""What `dptt validate` says of each wrong setting, one at a time, on series of different kinds.

    python scripts/validation_faults.py FOLDER [SERIES ...]

The series are the examples particle, film and low_dose, or those that are named; rotavirus is the experimental one of
docs/results.md (DPTT_DATA set). Prints a Markdown table as it goes: whether the fault is named by the item that it
concerns, by which other item, left open ("cannot be told"), or missed.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.validation import Check, check_series
from dptt.assembly.validation.record import UNKNOWN, WRONG
from dptt.commands.importing import import_series
from dptt.commands.simulate import simulate
from dptt.config import Config, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.physics.electron import wavelength
from dptt.runtime.shipped import shipped_configurations, shipped_examples

Patterns = np.ndarray
Edit = Callable[[h5py.File], None]
EXAMPLES = ("particle", "film", "low_dose")
EXPERIMENT = "rotavirus"


def change_positions(change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Edit the scan positions (positions, 2) of all tilts."""

    def edit(file: h5py.File) -> None:
        for tilt in file["tilts"].values():
            tilt["scan_positions"][...] = change(tilt["scan_positions"][()])

    return edit


def turn_scan(angle: float) -> Edit:
    """Rotate the scan by `angle` [degrees]."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return change_positions(lambda positions: positions @ np.array([[cos, -sin], [sin, cos]]).T)


def change_patterns(change: Callable[[Patterns], Patterns]) -> Edit:
    """Edit all patterns (positions, ky, kx)."""

    def edit(file: h5py.File) -> None:
        for tilt in file["tilts"].values():
            data = tilt["data"][()]
            new = change(data.reshape(-1, *data.shape[-2:]))
            del tilt["data"]
            tilt["data"] = new.reshape(*data.shape[:-2], *new.shape[1:])

    return edit


def set_attribute(name: str, change: Callable[[float], float]) -> Edit:
    """Change a number of the file's header."""

    def edit(file: h5py.File) -> None:
        file.attrs[name] = change(file.attrs[name])

    return edit


def reverse_defocus(file: h5py.File) -> None:
    """Change the sign of C10 in the header and in all tilts that have their own."""
    for holder in (file, *file["tilts"].values()):
        if "C10_A" in holder.attrs:
            holder.attrs["C10_A"] = -holder.attrs["C10_A"]


def angles_in_radians(file: h5py.File) -> None:
    """Store the stage angles in radians."""
    for tilt in file["tilts"].values():
        tilt.attrs["theta_deg"] = np.radians(tilt.attrs["theta_deg"])


def mirror(*, y: bool = False, x: bool = False) -> Callable[[Patterns], Patterns]:
    """Reverse axes of the patterns about n//2, the zero angle."""

    def change(patterns: Patterns) -> Patterns:
        if y:
            patterns = np.roll(patterns[:, ::-1], 1 - patterns.shape[1] % 2, 1)
        return np.roll(patterns[:, :, ::-1], 1 - patterns.shape[2] % 2, 2) if x else patterns

    return change


def unit_sum(patterns: Patterns) -> Patterns:
    """Divide every pattern by its sum."""
    return (patterns / np.maximum(patterns.sum((1, 2), keepdims=True), 1e-30)).astype(np.float32)


def _mask(valid: bool) -> Edit:
    def edit(file: h5py.File) -> None:
        for tilt in file["tilts"].values():
            mask = np.full(tilt["data"].shape[-2:], valid)
            mask[3, 4] = mask[-2, 2] = not valid
            if "mask" in tilt:
                del tilt["mask"]
            tilt["mask"] = mask

    return edit


FAULTS: dict[str, tuple[Edit, str]] = {
    "none": (lambda file: None, ""),
    "scan rotation off 90°": (turn_scan(90), "scan rotation"),
    "mirrored detector": (change_patterns(mirror(x=True)), "detector parity"),
    "defocus of the wrong sign": (reverse_defocus, "defocus"),
    "scan step in nm": (change_positions(lambda p: p / 10), "scan step"),
    "scan step in m": (change_positions(lambda p: p * 1e-10), "scan step"),
    "tilt angles in radians": (angles_in_radians, "tilt angles"),
    "300 eV for keV": (set_attribute("energy_eV", lambda energy: energy / 1000), "energy"),
    "zero angle at the corner": (change_patterns(lambda p: np.fft.ifftshift(p, (1, 2))), "zero angle"),
    "patterns normalised to 1": (change_patterns(unit_sum), "electrons"),
    "scan 500 Å off the axis": (change_positions(lambda p: p + (500.0, 0.0)), "rotation axis"),
    "inverted mask": (_mask(False), "mask"),
}
"""Wrong setting -> what makes it, and the item of the table that it concerns."""
DENSE = "scan 10 times denser than useful"


def series_of(name: str, folder: Path) -> Config:
    """Simulate or import the series `name` and return its configuration."""
    configurations = shipped_examples() | shipped_configurations()
    config = load_config(configurations["11_rotavirus_import" if name == EXPERIMENT else name])
    place = {"series": folder / name / "series.h5", "run": folder / name / "run"}
    config = config.model_copy(update=place)
    (import_series if name == EXPERIMENT else simulate)(config, overwrite=True)
    return config


def dense(config: Config) -> Config:
    """Simulate the same specimen with a tenth of the step that samples everything the aperture transmits."""
    simulation = config.simulation
    assert simulation is not None
    microscope = simulation.microscope
    step = wavelength(microscope.energy) / (40e-3 * microscope.semiangle_cutoff)
    scan = simulation.scan.model_copy(update={"step": (step, step)})
    changed = {"simulation": simulation.model_copy(update={"scan": scan}), "series": config.series.with_name("d.h5")}
    config = config.model_copy(update=changed)
    simulate(config, overwrite=True)
    return config


def said_of(config: Config, series: Path, item: str) -> str:
    """Return what the table says of the series, whose wrong setting concerns `item`."""
    with TiltSeries.open(series, leave_out_bad_tilts=True) as opened:
        try:
            geometry = plan_series_geometry(config, opened)
        except ProblemsError:
            geometry = None  # as in `dptt validate`
        checks = check_series(opened, geometry)
    wrong = [check.item for check in checks if check.verdict == WRONG]
    if not item:
        return f"wrong: {', '.join(wrong)}" if wrong else "nothing wrong"
    others = f"; also {', '.join(name for name in wrong if name != item)}" if set(wrong) - {item} else ""
    if item in wrong:
        return f"named{others}"
    if wrong:
        return f"named by {', '.join(wrong)}"
    return _left_open(next((check for check in checks if check.item == item), None))


def _left_open(check: Check | None) -> str:
    if check is None or check.verdict != UNKNOWN:
        return "**missed**"
    return f"cannot be told ({check.measured})"


def lines(names: list[str], folder: Path) -> Iterator[str]:
    """Yield the lines of the table: one a wrong setting and series, so that a long run can be followed."""
    yield "| series | wrong setting | `dptt validate` says |"
    yield "|---|---|---|"
    for name in names:
        config = series_of(name, folder)
        for fault, (change, item) in FAULTS.items():
            copy = config.series.with_name("faulty.h5")
            shutil.copy(config.series, copy)
            with h5py.File(copy, "r+") as file:
                change(file)
            yield f"| {name} | {fault} | {said_of(config, copy, item)} |"
        if config.simulation is not None:
            finer = dense(config)
            yield f"| {name} | {DENSE} | {said_of(finer, finer.series, 'scan density')} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("series", nargs="*", default=list(EXAMPLES), choices=[*EXAMPLES, EXPERIMENT])
    arguments = parser.parse_args()
    for line in lines(arguments.series, arguments.folder):
        print(line, flush=True)


if __name__ == "__main__":
    main()

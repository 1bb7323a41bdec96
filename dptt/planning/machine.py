"""Rates of one rank and of the network between ranks, with their source.

A machine is a JSON file of these numbers: measured by `dptt plan` or `scripts/scaling.py calibrate`, or one of
`KNOWN`, whose rates are published.
"""

import json
import math
from dataclasses import Field, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Machine:
    """What a rank can do, and how ranks are connected."""

    name: str
    source: str
    """Where the numbers come from; printed with every prediction."""
    unit: str
    """What a rank occupies: ``GPU`` or ``core``."""
    gradients: float
    """Loss and gradients: pixels × modes × slices of patterns per second."""
    losses: float
    """The loss alone, in the same unit."""
    turning: float
    """Rotation: voxels per second projected into slices or back-projected."""
    updating: float
    """Voxels updated and constrained per second."""
    slicing: float
    """Pixels × slices per second of transmission, its gradient, and packing its message."""
    filtering: float
    """Voxels filtered in Fourier space per second."""
    reading: float
    """Bytes of patterns that a rank reads per second."""
    overhead: float
    """Seconds per update for everything else."""
    baseline: int
    """Memory of a process before it holds any data [bytes]."""
    memory: int
    """Memory that a rank may use [bytes]."""
    ranks_per_node: int
    full_speed: int
    """Ranks of a node that do not slow each other down: its cores or GPUs."""
    latency: float
    """Seconds before a message within a node moves."""
    bandwidth: float
    """Bytes per second of a rank within a node."""
    latency_between: float
    """Seconds before a message between nodes moves."""
    bandwidth_between: float
    """Bytes per second of a rank between nodes."""

    def save(self, path: Path) -> None:
        """Write the numbers as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def changed(self, **numbers: Any) -> "Machine":
        """Return the machine with some numbers replaced; None keeps a number."""
        return replace(self, **{name: number for name, number in numbers.items() if number is not None})


def read_machine(name: str) -> Machine:
    """Return a known machine, or the one in a JSON file.

    Raises
    ------
    ValueError
        There is no such machine or file, or it lacks numbers.
    """
    if name in KNOWN:
        return KNOWN[name]
    try:
        numbers = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"--machine {name}: is neither one of {', '.join(KNOWN)} nor a JSON file of rates ({error}). "
            "Leave it out to measure this machine, or write one with `scripts/scaling.py calibrate`."
        ) from None
    wanted = {field.name for field in fields(Machine)}
    if not isinstance(numbers, dict) or set(numbers) != wanted:
        differing = ", ".join(sorted(wanted ^ set(numbers))) if isinstance(numbers, dict) else "all"
        raise ValueError(f"--machine {name}: expected exactly the rates of a machine; differing: {differing}")
    wrong = [field.name for field in fields(Machine) if not _can_be(field, numbers[field.name])]
    if wrong:
        shown = ", ".join(f"{name}: {str(numbers[name])[:40]}" for name in wrong)
        raise ValueError(f"--machine {name}: expected texts, and positive numbers for rates; got {shown}")
    return Machine(**numbers)


MAY_BE_ZERO = ("overhead", "baseline", "latency", "latency_between")


def _can_be(field: "Field[Any]", value: Any) -> bool:
    """Return whether a value of a JSON file can be that of a field of a machine."""
    if field.type is str:
        return isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    whole = field.type is not int or isinstance(value, int)
    return number and whole and (value > 0 or field.name in MAY_BE_ZERO)


def _gpu(name: str, gradients: float, published: str, bandwidth: float, memory: int) -> Machine:
    """Return a GPU node: a published multislice rate; all other rates from the memory bandwidth [byte/s].

    The bytes moved are those of complex64 in the present kernels, at 60 % of the bandwidth: 330 per voxel and
    rotation (8 taps with their indices and weights), 80 per voxel and update, 100 per pixel and slice, 130 per voxel
    and filter.
    """
    useful = 0.6 * bandwidth
    return Machine(
        name=name,
        source=f"{published}; other rates from its memory bandwidth of {bandwidth / 1e12:g} TB/s (data sheet), "
        "60 % of it used; network: data sheets, 80 % used. Nothing of this was measured with dptt",
        unit="GPU",
        gradients=gradients,
        losses=2.5 * gradients,
        turning=useful / 330,
        updating=useful / 80,
        slicing=useful / 100,
        filtering=useful / 130,
        reading=1e9,
        overhead=2e-3,
        baseline=round(1.5 * GIBIBYTE),
        memory=memory,
        ranks_per_node=4,
        full_speed=4,
        latency=1e-5,
        bandwidth=0.8 * (450e9 if name == "h100" else 300e9),
        latency_between=2e-5,
        bandwidth_between=0.8 * (50e9 if name == "h100" else 25e9),
    )


KNOWN = {
    "a100": _gpu("a100", 4.7e9, "multislice rate of PtyRAD on an A100 (4.7e9/s)", 2.04e12, 80 * GIBIBYTE),
    "h100": _gpu("h100", 8.15e9, "multislice rate of PtyRAD on an H100 (8.15e9/s)", 3.35e12, 80 * GIBIBYTE),
}
"""GPUs with a published rate of the multislice operation. NVLink with 300 and 450 GB/s in each direction; one
InfiniBand port per GPU with 25 GB/s (HDR) and 50 GB/s (NDR)."""

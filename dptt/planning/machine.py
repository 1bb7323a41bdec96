"""Rates of one rank and of the network between ranks, with their source.

A machine is a JSON file of these numbers: measured by `dptt plan` or `scripts/scaling.py calibrate`, or one of
`KNOWN`.
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


def _gpu(
    name: str, source: str, *, gradients: float, bandwidth: float, link: float, port: float, memory: int
) -> Machine:
    """Return a node of four GPUs: rates measured on an H200, adapted to another card.

    On an NVIDIA H200 (docs/gpu.md; 296³ complex64, 48400 patterns of 66², 3 modes, 8 slices, 5 minibatches) the fused
    kernel took 82.1 ms a tilt, a projection 0.316 ms, back-projection, update and constraint together 1.73 ms, and
    the host kept the GPU waiting for 3.7 to 5.8 ms an update. The multislice works in shared memory and follows
    `gradients` [pixels × modes × slices per second]; everything on the volume follows the memory `bandwidth`
    [byte/s]. Not measured: the projection by a windowed sinc, as that was a trilinear one; the loss alone, counted at
    0.4 of the gradients; slices and filters, at 100 and 130 bytes a pixel and a voxel and 60 % of the bandwidth.
    `link` and `port` are data sheets' bytes per second of a GPU within a node and between nodes, of which 80 % are
    used.
    """
    useful = 0.6 * bandwidth
    relative = bandwidth / H200_BANDWIDTH
    return Machine(
        name=name,
        source=f"{source}; slices and filters: memory bandwidth of {bandwidth / 1e12:g} TB/s (data sheet), 60 % of "
        "it used; network: data sheets, 80 % used, not measured",
        unit="GPU",
        gradients=gradients,
        losses=2.5 * gradients,
        turning=8.2e10 * relative,
        updating=1.83e10 * relative,
        slicing=useful / 100,
        filtering=useful / 130,
        reading=1e9,
        overhead=5e-3,
        baseline=round(1.5 * GIBIBYTE),
        memory=memory,
        ranks_per_node=4,
        full_speed=4,
        latency=1e-5,
        bandwidth=0.8 * link,
        latency_between=2e-5,
        bandwidth_between=0.8 * port,
    )


H200_GRADIENTS, H200_BANDWIDTH = 6.16e10, 4.8e12

KNOWN = {
    "a100": _gpu(
        "a100",
        "rates of dptt on an H200, multislice times 0.58 (what PtyRAD publishes for an A100 and an H100), volume by "
        "bandwidth",
        gradients=4.7e9 / 8.15e9 * H200_GRADIENTS,
        bandwidth=2.04e12,
        link=300e9,
        port=25e9,
        memory=80 * GIBIBYTE,
    ),
    "h100": _gpu(
        "h100",
        "rates of dptt on an H200, which has the same processors; volume by bandwidth",
        gradients=H200_GRADIENTS,
        bandwidth=3.35e12,
        link=450e9,
        port=50e9,
        memory=80 * GIBIBYTE,
    ),
    "h200": _gpu(
        "h200",
        "multislice and volume measured with dptt on an H200",
        gradients=H200_GRADIENTS,
        bandwidth=H200_BANDWIDTH,
        link=450e9,
        port=50e9,
        memory=139 * GIBIBYTE,
    ),
}
"""GPUs whose rates are known. NVLink with 300 (A100) and 450 GB/s in each direction; one InfiniBand port per GPU
with 25 GB/s (HDR) and 50 GB/s (NDR)."""

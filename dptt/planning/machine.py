"""Rates of one rank and of the network between ranks, each set with its source.

A machine is a file of these numbers: measured here by `dptt plan` or `scripts/scaling.py calibrate`, or one of
`KNOWN`, whose rates others have published.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Machine:
    """What a rank can do, and how ranks are connected."""

    name: str
    source: str
    """Where the numbers come from, to be printed beside every prediction."""
    unit: str
    """What a rank occupies: ``GPU`` or ``core``."""
    gradients: float
    """Loss, gradients and all: pixels × modes × slices of patterns in a second."""
    losses: float
    """The loss alone: the same in a second."""
    turning: float
    """Voxels of the volume projected into slices, or slices back-projected, in a second."""
    updating: float
    """Voxels moved and constrained in a second."""
    slicing: float
    """Pixels × slices of an image: transmission, its gradient, the message, in a second."""
    filtering: float
    """Voxels filtered in Fourier space in a second."""
    reading: float
    """Bytes of patterns read by a rank in a second."""
    overhead: float
    """Seconds of an update beside all that."""
    baseline: int
    """Bytes of a process before it holds any data."""
    memory: int
    """Bytes that a rank may use."""
    ranks_per_node: int
    full_speed: int
    """Ranks of a node that do not slow each other down: its cores or GPUs."""
    latency: float
    """Seconds before a message moves, within a node ..."""
    bandwidth: float
    """... and bytes a second of a rank."""
    latency_between: float
    """The same between nodes."""
    bandwidth_between: float

    def save(self, path: Path) -> None:
        """Write the numbers as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def changed(self, **numbers: Any) -> "Machine":
        """Return the machine with other `numbers`; those that are None stay."""
        return replace(self, **{name: number for name, number in numbers.items() if number is not None})


def read_machine(name: str) -> Machine:
    """Return a known machine, or that of a JSON file.

    Raises
    ------
    ValueError
        There is no such machine or file, or it lacks numbers.
    """
    if name in KNOWN:
        return KNOWN[name]
    try:
        found = json.loads(Path(name).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"--machine {name}: is neither one of {', '.join(KNOWN)} nor a JSON file of rates ({error}). "
            "Leave it out to measure this machine, or write one with `scripts/scaling.py calibrate`."
        ) from None
    wanted = {field.name for field in fields(Machine)}
    if not isinstance(found, dict) or set(found) != wanted:
        differing = ", ".join(sorted(wanted ^ set(found))) if isinstance(found, dict) else "all"
        raise ValueError(f"--machine {name}: expected exactly the numbers of a machine; differing: {differing}")
    return Machine(**found)


def _gpu(name: str, gradients: float, published: str, bandwidth: float, memory: int) -> Machine:
    """Return a GPU node: published multislice rate and memory bandwidth [byte/s], everything else by bytes moved.

    The bytes are those of complex64 in the present kernels, at 60 % of the bandwidth: 330 a voxel and turn (8 taps
    with their indices and weights), 80 a voxel and update, 100 a pixel and slice, 130 a voxel and filter.
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
"""GPUs of which a rate of the inner operation is published. NVLink 300 and 450 GB/s each way; one InfiniBand port a
GPU, 25 GB/s (HDR) and 50 GB/s (NDR)."""

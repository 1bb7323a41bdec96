"""How a window is cut up for the fused kernel: radices, modes at once, threads; or None where it does not fit."""

import math
from dataclasses import dataclass, replace

LARGEST_RADIX = 16
"""What a thread transforms in registers; a length is the product of two, so windows go up to 256."""
_REGISTERS, _RESERVED_BYTES = 65536, 1024
"""Of a multiprocessor; of its shared memory, what every block takes for the system."""
_FEW, _MANY = 96, 128
"""Registers that a thread needs while it adds one mode, and while it sums modes by eights of pixels: `ptxas -v`."""
_LONGEST_TENSOR = 128
"""Numbers of a line that 8 lines' sums leave registers for."""
_THREADS, _MOST_BLOCKS = range(64, 641, 32), 8


@dataclass(frozen=True)
class Multiprocessor:
    """The limits of the GPU that the kernel is fitted to."""

    number: int
    """On the GPU."""
    shared_bytes: int
    block_bytes: int
    """Of shared memory that one block may have."""
    tensor: bool = False
    """Whether its tensor cores do what `tensor.cuh` asks for: compute capability 8.0."""


@dataclass(frozen=True)
class Plan:
    """One way to run the kernel."""

    window: tuple[int, int]
    radices: tuple[tuple[int, int], tuple[int, int]]
    """(Y1, Y2), (X1, X2): see `fourier.cuh`."""
    modes: int
    group: int
    """Modes in shared memory at once."""
    resident: int
    """Blocks of a multiprocessor."""
    threads: int
    """Of a block."""
    tensor: bool = False
    """Whether adjoint steps from slice to slice are on tensor cores: see `tensor.cuh`."""

    @property
    def shared_bytes(self) -> int:
        """Of a block: waves; ramps of a shift and sums or, in their place, the tensor cores' kernels."""
        kernels = 4 * sum(parts_of(length) * 16 * tiles_of(length) for length in self.window) if self.tensor else 0
        return _wave_bytes(self.window) * self.group + max(8 * sum(self.window) + 4 * self.threads, kernels)

    @property
    def definitions(self) -> tuple[str, ...]:
        """Definitions that the source is compiled with, except type and loss."""
        (y1, y2), (x1, x2) = self.radices
        numbers = {"HEIGHT": self.window[0], "WIDTH": self.window[1], "Y1": y1, "Y2": y2, "X1": x1, "X2": x2}
        numbers |= {"MODES": self.modes, "GROUP": self.group, "THREADS": self.threads, "RESIDENT": self.resident}
        numbers |= {
            "TENSOR": int(self.tensor),
            "PARTS_Y": parts_of(self.window[0]),
            "PARTS_X": parts_of(self.window[1]),
        }
        return tuple(f"{name}={number}" for name, number in numbers.items())

    def order(self, axis: int) -> list[int]:
        """Return the frequency that every place of a transformed line holds."""
        first, second = self.radices[axis]
        return [place // second + first * (place % second) for place in range(first * second)]


def plan(window: tuple[int, int], modes: int, device: Multiprocessor) -> Plan | None:
    """Return how to compute windows with so many modes, or None if they do not fit into a multiprocessor.

    As many waves as possible are in shared memory. Among equals, there are two blocks at least, so that one computes
    while another waits at a barrier, and as many modes as possible together, because these are summed before they
    are added to the slices.
    """
    radices = radices_of(window[0]), radices_of(window[1])
    if radices[0] is None or radices[1] is None:
        return None
    found: list[tuple[tuple[float, bool, int], Plan]] = []
    for group in range(1, modes + 1):
        candidate = Plan(window, (radices[0], radices[1]), modes, group, 1, _THREADS[0])
        needed = candidate.shared_bytes
        resident = min(device.shared_bytes // (needed + _RESERVED_BYTES), _MOST_BLOCKS)
        if needed <= device.block_bytes and resident:
            waves = resident * modes / math.ceil(modes / group)
            threads = _best_threads(candidate, resident, device)
            rank = waves, resident > 1, group
            found.append((rank, replace(candidate, resident=resident, threads=threads)))
    return max(found, key=lambda choice: choice[0])[1] if found else None


def with_tensor_cores(found: Plan, device: Multiprocessor) -> Plan | None:
    """Return the plan with adjoint steps on tensor cores, or None where GPU or window do not allow it.

    Estimated from the machine code for an H100, not timed: for 64² to 128² pixels a step then takes 0.42 to 0.54 of
    the instructions of its transforms, while its products keep the tensor cores busy a quarter to a half of the time.
    Forward steps stay with transforms: in the three products that single precision needs they would still take 0.66
    to 0.79 of the instructions, a tenth less for the whole, and tensor cores are said to truncate sums, which the
    loss, made of small differences, would feel.
    """
    candidate = replace(found, tensor=True)
    needed = candidate.shared_bytes
    fits = needed <= device.block_bytes and found.resident * (needed + _RESERVED_BYTES) <= device.shared_bytes
    return candidate if device.tensor and fits and max(found.window) <= _LONGEST_TENSOR else None


def parts_of(length: int) -> int:
    """Return the parts of a line, up to 4, with the fewest products: a transform of 4 is additions only."""
    return min((n for n in range(1, 5) if length % n == 0), key=lambda n: n * math.ceil(length / n / 8) ** 2)


def tiles_of(length: int) -> int:
    """Return how many times 8 numbers a part of a line is."""
    return math.ceil(length / parts_of(length) / 8)


def radices_of(length: int) -> tuple[int, int] | None:
    """Return the most equal pair of radices whose product is `length`, the smaller one first."""
    for first in range(min(LARGEST_RADIX, math.isqrt(length)), 0, -1):
        if length % first == 0 and length // first <= LARGEST_RADIX:
            return first, length // first
    return None


def _best_threads(candidate: Plan, resident: int, device: Multiprocessor) -> int:
    """Return the threads that leave the fewest idle, of those that have registers and shared memory enough."""
    (y1, y2), (x1, x2), (height, width), group = *candidate.radices, candidate.window, candidate.group
    registers = _FEW if y1 < 8 or (y1 == 8 and group == 1) else _MANY
    room = device.shared_bytes // resident - _RESERVED_BYTES, device.block_bytes
    allowed = [
        threads
        for threads in _THREADS
        if threads * resident * registers <= _REGISTERS
        and replace(candidate, threads=threads).shared_bytes <= min(room)
    ]
    passes = ((x1 * height * group, 2 * x2), (x2 * height * group, 2 * x1), (y1 * width * group, 2 * y2))

    def time(threads: int) -> int:
        slices = math.ceil(y2 * width / threads) * 3 * y1 * group
        return slices + sum(math.ceil(items / threads) * work for items, work in passes)

    return min(allowed, key=time)


def _wave_bytes(window: tuple[int, int]) -> int:
    return 8 * window[0] * (window[1] | 1)  # rows of odd length: see multislice.cu

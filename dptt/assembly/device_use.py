"""How a rank uses the device that computes: the host, or a share of a GPU."""

from dataclasses import dataclass, replace

from dptt.config import ConfigError
from dptt.model.transfer import SameMemory, Transfer
from dptt.planning.gpu import placed, shortage
from dptt.planning.layout import Layout
from dptt.planning.memory import keeps_patterns, pattern_memory, peak_memory
from dptt.planning.workload import Workload
from dptt.solvers.tomography.settings import TomographySettings


@dataclass(frozen=True)
class DeviceUse:
    """How a rank uses its device; the same on all ranks, except for the transfer."""

    transfer: Transfer = SameMemory()
    """Brings patterns to the device."""
    resident: bool = False
    """Whether patterns stay on the device."""
    chunk_bytes: int | None = None
    """Memory for the waves computed at once; that of the configuration if None."""
    description: str = ""
    """For the log; empty on the host."""

    def settings(self, settings: TomographySettings) -> TomographySettings:
        """Return the settings with the chunk of waves that suits the device."""
        return settings if self.chunk_bytes is None else replace(settings, chunk_bytes=self.chunk_bytes)


ON_HOST = DeviceUse()


def gpu_use(workload: Workload, layout: Layout, transfer: Transfer) -> DeviceUse:
    """Return how ranks use `workload.gpu_bytes` of a GPU each; no pattern is read.

    Raises
    ------
    ConfigError
        Volume, momentum, two minibatches and a few waves do not fit; raised on every rank.
    """
    assert workload.gpu_bytes is not None
    placement, fits = placed(workload, layout)
    peak = peak_memory(placement, layout)
    if not fits:
        raise ConfigError(shortage(peak, workload.gpu_bytes))
    size = _mebibytes(pattern_memory(placement, layout))
    source = "the host's memory" if keeps_patterns(placement, layout) else "the file, read in every epoch"
    patterns = (
        f"{size} of patterns stay on it" if placement.resident else f"{size} of patterns at a time from {source}"
    )
    return DeviceUse(
        transfer,
        placement.resident,
        placement.chunk_bytes,
        f"a rank may use {_mebibytes(workload.gpu_bytes)} of its GPU and plans for "
        f"{_mebibytes(peak.total)}: {patterns}, waves of {_mebibytes(placement.chunk_bytes)}",
    )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.4g} MiB"

"""How a rank uses the device that computes: the host itself, or what of a GPU the workload was given."""

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
    """The same on all ranks, the transfer apart."""

    transfer: Transfer = SameMemory()
    """The way of the patterns to the device."""
    resident: bool = False
    """Whether they stay there."""
    chunk_bytes: int | None = None
    """Of the waves held at once; what the configuration says if None."""
    description: str = ""
    """For the log; empty on a host."""

    def settings(self, chosen: TomographySettings) -> TomographySettings:
        """Return the settings with the chunk of waves that suits the device."""
        return chosen if self.chunk_bytes is None else replace(chosen, chunk_bytes=self.chunk_bytes)


ON_HOST = DeviceUse()


def gpu_use(workload: Workload, layout: Layout, transfer: Transfer) -> DeviceUse:
    """Return how ranks use GPUs of `workload.gpu_bytes` each; no pattern is read.

    Raises
    ------
    ConfigError
        On every rank: volume, momentum, two minibatches and a few waves do not fit.
    """
    assert workload.gpu_bytes is not None
    chosen, fits = placed(workload, layout)
    if not fits:
        raise ConfigError(shortage(peak_memory(chosen, layout), workload.gpu_bytes))
    held = _mebibytes(pattern_memory(chosen, layout))
    source = "the host's memory" if keeps_patterns(chosen, layout) else "the file, read every epoch"
    patterns = f"{held} of patterns stay there" if chosen.resident else f"{held} of patterns at a time from {source}"
    return DeviceUse(
        transfer,
        chosen.resident,
        chosen.chunk_bytes,
        f"a rank may use {_mebibytes(workload.gpu_bytes)} of its GPU and plans for "
        f"{_mebibytes(peak_memory(chosen, layout).total)}: {patterns}, waves of {_mebibytes(chosen.chunk_bytes)}",
    )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.4g} MiB"

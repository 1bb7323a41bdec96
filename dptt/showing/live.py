"""The state of a running job, as the live page shows it: read from the files of the run whenever a browser asks."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import read_volume
from dptt.logs import duration, log, read_metrics
from dptt.report.content import column, number, numbers
from dptt.report.grids import Layer, volume_layers
from dptt.runtime.run_folder import LOG
from dptt.showing.content import result_files
from dptt.showing.latest import run_config, unfinished_volume

LINES_OF_LOG = 200
PACE_OF = 5
"""Epochs whose median time tells how long the others will take."""
LATE = 3.0
"""An epoch that takes this many times as long as those before it is remarked on."""


@dataclass
class LiveRun:
    """A run folder that is watched."""

    folder: Path
    _volume: tuple[str, dict[str, Any]] = ("", {})
    _thetas: dict[int, list[float]] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return what changes while a job runs: progress, losses, log, files, and which volume there is."""
        epochs = read_metrics(self.folder / "metrics.jsonl")
        last = epochs[-1] if epochs else {}
        total, done = int(number(last, "epochs") or 0), int(number(last, "epoch") or 0)
        losses = numbers(last, "tilt_losses")
        return {
            "title": str(self.folder),
            "epoch": done,
            "epochs": total,
            "share": done / total if total else 0.0,
            "sentence": self._sentence(epochs, done, total),
            "epochsDone": _plain(column(epochs, "epoch")),
            "loss": _plain(column(epochs, "loss")),
            "heldOut": _plain(column(epochs, "held_out_loss")),
            "tiltLosses": [] if losses is None else _plain(losses),
            "thetas": self._angles(0 if losses is None else len(losses)),
            "log": self._log(),
            "files": result_files(self.folder),
            "report": (self.folder / "report.html").exists(),
            "volume": self._version(),
        }

    def volume(self) -> dict[str, Any]:
        """Return the latest volume for the slices: the finished one, or that of the checkpoint; empty without any."""
        version = self._version()
        if version and self._volume[0] != version:
            self._volume = (version, self._read_volume())
        return self._volume[1]

    def _read_volume(self) -> dict[str, Any]:
        config = run_config(self.folder)
        finished = self.folder / "volume.h5"
        if self._source() == finished:
            result = read_volume(finished)
        else:
            with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
                found = unfinished_volume(self.folder, config, series)
            if found is None:
                return {}
            result = found
        potential = np.nan_to_num(result.volume.real)
        epoch = result.attributes.get("epoch", result.attributes.get("epochs", 0))
        return {**volume_layers([Layer("Potential", potential, result.voxel_size)]), "epoch": int(epoch)}

    def _source(self) -> Path | None:
        """Return the newest file with a volume."""
        files = [path for name in ("volume.h5", "checkpoint.h5") if (path := self.folder / name).exists()]
        return max(files, key=lambda path: path.stat().st_mtime, default=None)

    def _version(self) -> str:
        source = self._source()
        return "" if source is None else f"{source.name} {source.stat().st_mtime_ns}"

    def _sentence(self, epochs: list[dict[str, Any]], done: int, total: int) -> str:
        if not epochs:
            return "No epoch is complete yet."
        if done >= total:
            return f"All {total} epochs are complete."
        seconds = column(epochs, "seconds", "total")
        known = seconds[np.isfinite(seconds)][-PACE_OF:]
        if not len(known):
            return f"Epoch {done} of {total} is complete."
        pace = float(np.median(known))
        since = max(0.0, time.time() - (self.folder / "metrics.jsonl").stat().st_mtime)
        left = max(pace * (total - done) - min(since, pace), 0.0)
        late = f" The last one ended {duration(since)} ago." if since > LATE * pace + 10 else ""
        return f"Epoch {done} of {total} is complete, {duration(pace)} each; about {duration(left)} left.{late}"

    def _angles(self, num_tilts: int) -> list[float] | None:
        """Return the nominal angle of every tilt, where the series has exactly the tilts of the losses."""
        if num_tilts and num_tilts not in self._thetas:
            self._thetas[num_tilts] = []
            try:
                config: Config = run_config(self.folder)
                with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
                    kept = [tilt for tilt in series.tilts if tilt.name not in config.reconstruction.exclude]
                    if len(kept) == num_tilts:
                        self._thetas[num_tilts] = [tilt.euler_angles[1] for tilt in kept]
            except ProblemsError as error:
                log.info(f"the page shows no tilt angles: {error}")
        return self._thetas.get(num_tilts) or None

    def _log(self) -> str:
        path = self.folder / LOG
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 200 * LINES_OF_LOG))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-LINES_OF_LOG:])


def _plain(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON has them: null where there is none."""
    return [float(value) if np.isfinite(value) else None for value in values]

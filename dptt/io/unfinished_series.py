"""The complete tilts of a series that is not: each in a file of its own, in a hidden folder beside the series.

Whoever makes the series may be killed at any moment; the tilts that are complete then need not be made again. Several
ranks may each write other tilts. At the end they are joined into the series, and the folder is removed.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from dptt.io.atomic_write import write_beside
from dptt.io.dataset_writer import tilt_name, write_tilts
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import reading, text
from dptt.io.series_data import StoredTilt, TiltData
from dptt.io.write_failures import write_failures_reported


class UnfinishedSeries:
    """The tilts that are complete.

    Parameters
    ----------
    series
        The file that is to be.
    identity
        Of all that the tilts depend on; a tilt with another one counts as missing.

    Raises
    ------
    ProblemsError
        A file has the name of the folder.
    """

    def __init__(self, series: Path, identity: str) -> None:
        self._folder, self._series, self._identity = folder_of(series), series, identity
        if self._folder.exists() and not self._folder.is_dir():
            problem = "is a file; expected a folder, for the tilts that are complete. Move it away."
            raise ProblemsError(self._folder, [problem])

    def missing(self, count: int) -> list[int]:
        """Return the numbers, below `count`, of the tilts that are not complete."""
        return [number for number in range(count) if not self._is_complete(self._path(number))]

    def write(self, number: int, tilt: TiltData, compression: str | None) -> None:
        """Store a tilt, which counts from then on; `compression` is that of `write_tilt_series`.

        Raises
        ------
        WriteError
            The disk is full, a limit is reached, or the folder is read-only.
        """
        with write_failures_reported(self._folder):
            self._folder.mkdir(exist_ok=True)
        with write_beside(self._path(number), overwrite=True) as partial:
            write_tilts(partial, [(number, tilt)], compression, {"identity": self._identity})

    def stored(self, count: int) -> list[StoredTilt]:
        """Return where all `count` tilts are, in their order."""
        return [StoredTilt(self._path(number), tilt_name(number)) for number in range(count)]

    def discard_others(self) -> int:
        """Remove everything but the complete tilts; return the number of tilts that had another identity."""
        discarded = 0
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if not self._is_complete(path):
                discarded += ".partial" not in path.name
                path.unlink(missing_ok=True)
        self.remove_if_empty()
        return discarded

    def remove_if_empty(self) -> None:
        """Remove the folder if no tilt is in it."""
        with suppress(OSError):
            self._folder.rmdir()

    def remove(self) -> None:
        """Remove all tilts: the series holds them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._series.name}.{tilt_name(number)}{self._series.suffix}"

    def _is_complete(self, path: Path) -> bool:
        if not path.is_file() or ".partial" in path.name:
            return False
        try:
            with reading(path, ProblemsError) as file:
                return text(file.attrs.get("identity", "")) == self._identity
        except ProblemsError:
            return False


def folder_of(series: Path) -> Path:
    """Return the folder of the complete tilts of a series that is not."""
    return series.with_name(f".{series.name}.tilts")

"""Folders of results: made, and known to be writable, before any long work."""

from pathlib import Path

from dptt.io.errors import ProblemsError


def prepare_series(series: Path, overwrite: bool) -> None:
    """Make sure before any long work that the tilt-series file `series` may and can be written."""
    if series.exists() and not overwrite:
        raise FileExistsError(f"{series} exists; remove it or give --overwrite")
    prepare_folder(series.parent, series)


def prepare_folder(folder: Path, file: Path | None = None) -> None:
    """Create a folder, and make sure before any long work that files, or a certain `file`, can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-test"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        problem = f"results cannot be written here ({error.strerror}). Choose another folder."
        raise ProblemsError(file or folder, [problem]) from None

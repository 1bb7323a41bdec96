"""Create folders for results, and check that they are writable before any long work."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dptt.io.errors import ProblemsError


@contextmanager
def no_empty_folder_left(folder: Path) -> Iterator[None]:
    """If the block fails, remove `folder` and its parents, as far as they were made in the block and are empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def prepare_series(series: Path, overwrite: bool) -> None:
    """Check that the tilt-series file `series` may be written, and that its folder is writable.

    Raises
    ------
    FileExistsError
        The series exists and `overwrite` is false.
    ProblemsError
        The series is a folder, or its folder is not writable.
    """
    if series.is_dir():
        raise ProblemsError(series, ["is a folder; expected the name of a file to write. Correct `series`."])
    if series.exists() and not overwrite:
        raise FileExistsError(f"{series} exists; remove it, or give --overwrite to replace it")
    prepare_folder(series.parent, series)


def prepare_folder(folder: Path, file: Path | None = None) -> None:
    """Create `folder` and check that files can be written to it; an error names `file` if it is not None.

    Raises
    ------
    ProblemsError
        The folder is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except OSError as error:
        problem = f"results cannot be written here ({error.strerror}). Make it writable, or set another folder."
        raise ProblemsError(file or folder, [problem]) from None


def check_writable(folder: Path) -> None:
    """Raise OSError unless files can be written to `folder`."""
    probe = folder / ".write-test"
    probe.touch()
    probe.unlink(missing_ok=True)  # another rank may have removed it

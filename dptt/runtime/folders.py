"""Create folders for results, and check that they are writable before any long work."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dptt.io.errors import ProblemsError


def missing_folders(folder: Path) -> list[Path]:
    """Return which of `folder` and its parents do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Remove the folders, the innermost first, as far as they are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


@contextmanager
def no_empty_folder_left(folder: Path) -> Iterator[None]:
    """If the block fails, remove `folder` and its parents, as far as they were made in the block and are empty."""
    new = missing_folders(folder)
    try:
        yield
    except BaseException:
        remove_empty(new)
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

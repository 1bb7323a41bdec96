"""Shared test set-up: third-party data where present, shape-checked signatures, the order of the tests."""

import logging
import multiprocessing
from pathlib import Path

import pytest
import signature_checks

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
LONG = (
    *("cluster", "commands/test_shipped_runs", "commands/test_killed_ranks", "commands/test_ranks"),
    *("commands/test_resume", "commands/test_clean_stop", "commands/test_run", "commands/test_bad_tilts"),
    *("solvers/tomography/test_mesh_equality", "commands", "solvers"),
)
"""Files that take longest, begun first, so that no process ends much later than the others; none is divided."""
NOT_FAST = (
    *("cluster", "commands", "interface/test_python_steps", "interface/test_python_results"),
    *("kernels/test_cuda", "kernels/test_triton", "kernels/test_compiled"),
    *("solvers/brightfield/test_optics", "solvers/alignment/test_needle", "solvers/alignment/test_alignment"),
    *("solvers/tomography/test_mesh_equality", "solvers/tomography/test_slice_gradient"),
    *("distributed/test_joining", "distributed/test_watch", "distributed/test_many_ranks"),
    *("distributed/test_communicator", "distributed/test_row_output", "solvers/atoms/test_atom_fit"),
    *("solvers/brightfield/test_signs", "analysis/test_atom_registration"),
    *("report/test_report_page", "report/test_page_in_browser", "runtime/test_folder_lock", "test_signature_checks"),
)
"""What `--fast` leaves out beside tests that are marked slow or thorough: what starts processes or takes seconds.

It checks no annotations either, which takes a third of the time.
"""
THOROUGH = ("cluster",)
"""What only `--all` runs, as CI does, beside tests marked thorough: clusters, more cases of what others show.

A file or test that is named on the command line is run in any case.
"""
YET_FAST = ("commands/test_documented_use", "commands/test_earlier_results")

FORKED = ("dptt.distributed.joining", "dptt.commands.run", "dptt.commands.validate", "dptt.commands.plan", "pytest")
"""What the server has imported from which tests fork their processes: all that `dptt COMMAND` would import first."""
multiprocessing.set_forkserver_preload(list(FORKED))

stop_checking = signature_checks.install()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of third-party data sets beside the checkout; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"third-party data not found at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def log_as_imported() -> None:
    """Undo what a command that ran in this process has set up for its log lines, which `caplog` would then miss."""
    log = logging.getLogger("dptt")
    log.handlers[:], log.propagate = [], True
    log.setLevel(logging.NOTSET)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only quick tests: some of every room, in a minute or so")
    parser.addoption("--all", action="store_true", help="thorough tests too, as CI does")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):  # nothing of dptt is imported yet
        stop_checking()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    name = str(collection_path.relative_to(ROOT / "tests"))
    left_out = collection_path.is_file() and name.startswith(NOT_FAST) and not name.startswith(YET_FAST)
    return True if left_out and config.getoption("--fast") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((rank for rank, start in enumerate(LONG) if _name(item).startswith(start)), len(LONG))

    items.sort(key=place)
    left_out = []
    if config.getoption("--fast"):
        left_out = [item for item in items if item.get_closest_marker("slow") or _is_thorough(item)]
    elif not config.getoption("--all") and _is_whole(config.args):
        left_out = [item for item in items if _is_thorough(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _name(item: pytest.Item) -> str:
    return str(item.path.relative_to(ROOT / "tests"))


def _is_thorough(item: pytest.Item) -> bool:
    return _name(item).startswith(THOROUGH) or item.get_closest_marker("thorough") is not None


def _is_whole(arguments: list[str]) -> bool:
    """Return whether the whole suite is asked for; processes of pytest-xdist are given the folder itself."""
    return all(Path(argument).resolve() in (ROOT, ROOT / "tests") for argument in arguments)

"""Shared test set-up: third-party data where present, shape-checked signatures, one thread per process."""

from pathlib import Path

import jaxtyping
import pytest

# Every annotated shape and dtype in dptt is checked while the tests run, and only then.
jaxtyping.install_import_hook("dptt", "beartype.beartype")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of third-party data sets beside the checkout; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"third-party data not found at {SHARED_DATA}")
    return SHARED_DATA

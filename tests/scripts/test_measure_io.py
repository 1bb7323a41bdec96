"""The script that times volume files runs on one process and says what it measured."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_io.py"


@pytest.mark.slow
def test_it_times_every_way_and_leaves_nothing(tmp_path):
    command = [sys.executable, SCRIPT, tmp_path, "--size", "20", "--times", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SCRIPT.parents[1]).stdout
    assert said.startswith("20³ complex64 = 0.00 GiB on 1 rank(s)")
    for way in ("write  piece by piece to rank 0", "write  gathered on rank 0", "read   own rows, independently"):
        assert way in said
    assert list(tmp_path.iterdir()) == []

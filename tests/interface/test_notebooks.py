"""The notebooks of the documentation run, say what they promise, and are stored without results."""

import json
import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SAYS = {
    "first_volume": ["Reconstruction: ", "checks, 0 wrong", "ShellCorrelation with the truth", "particle.mrc"],
    "own_data": ["Series series.h5: 5 tilts", "TiltImages: 5 tilts", "AlignedTilts: 5 tilts", "mine"],
    "cluster_job": ["GPU-h", "#SBATCH --partition=gpu", "big/plan/reconstruct.sbatch"],
}
"""What the cells of each must say."""
PICTURES = {"first_volume": 1 + 3, "own_data": 1 + 1 + 3, "cluster_job": 0}
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_the_three_notebooks():
    assert {path.stem for path in NOTEBOOKS} == set(SAYS)


@each
def test_it_is_stored_without_results(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@each
def test_it_runs(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = str(FOLDER.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(json.dumps(output, ensure_ascii=False) for output in outputs)
    assert [words for words in SAYS[path.stem] if words not in said] == []
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert shown.count("data:image/png;base64,") == PICTURES[path.stem]

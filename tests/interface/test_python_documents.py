"""Every public function has an example that runs, and `import dptt` costs next to nothing."""

import doctest
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dptt
from dptt.interface import reading, series, steps, volume

ROOT = Path(__file__).resolve().parents[2]


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(recurse=True)
    modules = (reading, series, steps, volume)
    found = [test for module in modules for test in finder.find(module, extraglobs={"dptt": dptt})]
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory) -> Path:
    """A copy of the tiny folder, in which examples may write."""
    return Path(shutil.copytree(tiny, tmp_path_factory.mktemp("examples") / "tiny"))


LONG = ("steps.run", "steps.brightfield", "steps.align")
"""Examples that take seconds, of functions that other tests call as well."""


def cases() -> list[Any]:
    """Return the examples as cases of a test."""
    named = [(test.name.removeprefix("dptt.interface."), test) for test in examples()]
    marks = {name: [pytest.mark.slow, pytest.mark.thorough] for name in LONG}
    return [pytest.param(test, id=name, marks=marks.get(name, ())) for name, test in named]


@pytest.mark.parametrize("example", cases())
def test_the_example_of_the_docstring_gives_what_it_says(example, folder, monkeypatch):
    monkeypatch.chdir(folder)
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(verbose=False, optionflags=flags).run(example, out=said.append, clear_globs=False)
    assert not said, "".join(said)


def test_every_public_function_has_an_example_and_a_numpy_docstring():
    have = {test.name.rsplit(".", 1)[-1] for test in examples()}
    assert set(dptt.__all__) <= have
    for name in dptt.__all__:
        function = getattr(dptt, name)
        text = inspect.getdoc(function) or ""
        named = [n for n, p in inspect.signature(function).parameters.items()]
        documented = text.split("Parameters\n")[1].split("Raises\n")[0] if "Parameters\n" in text else ""
        assert all(parameter in documented for parameter in named if parameter != "run" or name != "load"), name


def test_importing_dptt_is_instant_and_names_every_function():
    script = (
        "import sys, time; began = time.perf_counter(); import dptt; seconds = time.perf_counter() - began; "
        "print(seconds); print(*sorted({m.split('.')[0] for m in sys.modules})); print(*dir(dptt))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, modules, names = done.stdout.splitlines()
    assert not {"torch", "numpy", "pydantic", "matplotlib", "h5py"} & set(modules.split())
    assert set(dptt.__all__) <= set(names.split())
    assert float(seconds) < 0.2


def test_the_package_carries_its_types_and_refuses_unknown_names():
    assert (ROOT / "dptt" / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'reconstrcut'"):
        dptt.reconstrcut  # noqa: B018


@pytest.mark.slow
def test_the_five_lines_of_the_document_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (first, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    defined: dict = {}
    exec(first, defined)
    assert len(defined["checks"]) > 10 and len(defined["result"].epochs) == 2

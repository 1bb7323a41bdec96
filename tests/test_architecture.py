"""Imports point downwards only, heavy packages stay where they belong, and no file outgrows a reader."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dptt
from dptt.cli import COMMANDS

ROOT = Path(dptt.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
PAGE = (ROOT.parent / "docs" / "architecture.md").read_text()


def rooms_of_the_page() -> dict[str, set[str]]:
    """Return room -> what it may import besides itself, from the table of docs/architecture.md."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| ?([`\w ]*)\|$", PAGE, re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}


def floors_of_the_page() -> dict[str, int]:
    """Return room -> floor, from the drawing of docs/architecture.md."""
    lines = re.findall(r"^(\d)   (.*)$", PAGE, re.MULTILINE)
    return {room: int(floor) for floor, line in lines for room in re.split(r" {3,}", line)[0].split()}


LAYERS = rooms_of_the_page() | {"__main__": {"cli"}, "__init__": {"interface", "runtime"}}
"""What each layer may import besides itself; everything may import the version in dptt/__init__.py."""
PACKAGES = {
    "physics": {"torch", "jaxtyping"},
    "kernels": {"torch", "jaxtyping", "numpy", "numba", "llvmlite", "triton"},
    "model": {"torch", "jaxtyping", "numpy"},
    "distributed": {"torch", "mpi4py"},
    "solvers": {"torch", "jaxtyping", "numpy", "scipy"},
    "analysis": {"numpy", "scipy", "jaxtyping"},
    "io": {"numpy", "h5py", "mrcfile", "gemmi"},
    "report": {"numpy", "matplotlib"},
    "config": {"pydantic", "yaml"},
    "planning": set(),
    "logs": {"tqdm"},
    "cli": set(),
    "arguments": {"argcomplete"},
    "interface": {"numpy", "matplotlib", "h5py"},
}
"""What each layer may import from outside dptt besides the standard library; layers not named are free."""


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imported_modules(path: Path) -> tuple[str, ...]:
    """Return the full names of all modules that a file imports, at its top or inside a function."""
    return tuple(_imported_modules(path))


def _imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: relative import"
            yield node.module
            if node.module == "dptt":  # `from dptt import physics` names a layer, `__version__` does not
                yield from (f"dptt.{alias.name}" for alias in node.names if alias.name != "__version__")


def imported_layers(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("dptt.")}


def imported_packages(path: Path) -> set[str]:
    top = {name.split(".")[0] for name in imported_modules(path)}
    return top - {"dptt"} - set(sys.stdlib_module_names)


def modules_after(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has imported after running `code`."""
    script = f"import sys\n{code}\nprint('MODULES', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    layer = layer_of(path)
    assert imported_layers(path) <= LAYERS[layer] | {layer}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_layer_keeps_to_its_packages(path):
    allowed = PACKAGES.get(layer_of(path))
    if allowed is not None:
        assert imported_packages(path) <= allowed


def test_only_the_configuration_knows_pydantic_and_yaml():
    knowing = {str(p.relative_to(ROOT)) for p in FILES if imported_packages(p) & {"pydantic", "yaml"}}
    inside = {name for name in knowing if name.startswith("config/")}
    assert knowing - inside <= {"commands/report.py"}, "report.py reads the configuration that a volume carries"
    assert "config/__init__.py" in inside


def test_the_command_line_imports_its_layers_only_inside_a_command():
    top = ast.parse((ROOT / "cli.py").read_text()).body
    names = {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert {name for name in names if name.startswith("dptt.")} == set()


def test_every_module_of_commands_is_a_subcommand():
    modules = {"import": "importing"}  # a keyword of Python cannot name a module
    files = {path.stem for path in (ROOT / "commands").glob("*.py")} - {"__init__"}
    assert files == {modules.get(name, name) for name in COMMANDS}


def test_only_run_and_example_call_other_commands():
    calling = {
        path.stem
        for path in (ROOT / "commands").glob("*.py")
        if any(name.startswith("dptt.commands") for name in imported_modules(path))
    }
    assert calling == {"run", "example"}


def test_importing_the_command_line_imports_no_torch():
    found = modules_after("import dptt.cli")
    assert "dptt" in found
    assert not found & {"torch", "numpy", "h5py", "pydantic", "scipy", "matplotlib"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["reconstruct", "--help"]], ids=" ".join)
def test_asking_for_help_imports_no_torch(arguments):
    found = modules_after(
        "from dptt.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert not found & {"torch", "numpy", "h5py", "pydantic", "scipy", "matplotlib"}


def test_a_misspelt_configuration_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "run.yaml").write_text("series: a\nrunn: b\n")
    found = modules_after(f"from dptt.cli import main\nassert main(['reconstruct', '{tmp_path}/run.yaml']) == 2")
    assert "torch" not in found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_the_page_of_the_architecture_names_every_room():
    assert {layer_of(path) for path in FILES} == set(LAYERS)


def test_rooms_of_the_page_import_from_lower_floors_only():
    floors = floors_of_the_page()
    assert floors.keys() == rooms_of_the_page().keys()
    for room, allowed in rooms_of_the_page().items():
        assert all(floors[below] < floors[room] for below in allowed), room


def test_the_page_allows_no_import_that_nobody_needs():
    for room, allowed in rooms_of_the_page().items():
        used = set().union(*(imported_layers(path) for path in FILES if layer_of(path) == room))
        assert allowed <= used, room

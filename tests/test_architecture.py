"""Imports point downwards only, heavy packages stay where they belong, and no file outgrows a reader."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dptt

ROOT = Path(dptt.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LAYERS = {
    "physics": set(),
    "kernels": {"physics"},
    "model": {"physics"},
    "distributed": set(),
    "solvers": {"model", "kernels", "physics", "distributed", "analysis"},
    "io": set(),
    "analysis": set(),
    "report": set(),
    "simulation": {"physics"},
    "config": set(),
    "planning": set(),
    "logs": set(),
    "assembly": {
        *("config", "io", "solvers", "kernels", "model", "physics", "simulation", "planning", "distributed", "logs"),
    },
    "runtime": {
        *("assembly", "config", "io", "solvers", "kernels", "model", "physics", "planning", "distributed", "logs"),
    },
    "commands": {
        *("runtime", "assembly", "config", "io", "solvers", "model", "distributed", "analysis", "report", "planning"),
        "logs",
    },
    "cli": {"commands", "runtime", "planning", "config", "distributed", "io", "logs"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""What each layer may import besides itself; everything may import the version in dptt/__init__.py."""
PACKAGES = {
    "physics": {"torch", "jaxtyping"},
    "kernels": {"torch", "jaxtyping", "numpy", "numba", "llvmlite", "triton"},
    "model": {"torch", "jaxtyping", "numpy"},
    "distributed": {"torch", "mpi4py"},
    "solvers": {"torch", "jaxtyping", "numpy", "scipy"},
    "analysis": {"numpy", "scipy", "jaxtyping"},
    "io": {"numpy", "h5py", "mrcfile"},
    "report": {"numpy", "matplotlib"},
    "config": {"pydantic", "yaml"},
    "planning": set(),
    "logs": {"tqdm"},
    "cli": set(),
}
"""What each layer may import from outside dptt besides the standard library; layers not named are free."""


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, at its top or inside a function."""
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


def test_the_layers_are_those_of_the_house():
    assert {layer_of(path) for path in FILES} == set(LAYERS)

"""One version, and the same dependencies for pip and conda. What the package contains: scripts/check_package.sh."""

import re
from pathlib import Path

import pytest
import yaml

from dptt import __version__
from dptt.config import load_config
from dptt.runtime.shipped import shipped_configurations, shipped_examples, shipped_folder

ROOT = Path(__file__).resolve().parents[1]
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def requirements(section: str) -> dict[str, str]:
    """Return name -> version of the packages in a list of setup.py."""
    found = re.findall(r'^ +"([\w-]+)([<>=][^";]*)"', section, re.MULTILINE)
    return {CONDA_NAMES.get(name, name): version for name, version in found}


def test_conda_has_the_version_and_the_dependencies_of_pip():
    recipe = yaml.safe_load((ROOT / "packaging" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == __version__
    needed = SETUP.partition("install_requires=[")[2].partition("\n    ],")[0]
    conda = dict(entry.split(" ", 1) for entry in recipe["requirements"]["run"])
    assert requirements(needed).items() <= conda.items()
    assert {"zarr", "tifffile", "python"} == set(conda) - set(requirements(needed))


def test_the_version_is_in_one_place():
    assert __version__ not in SETUP
    assert "version" not in (ROOT / "CITATION.cff").read_text().replace("cff-version", "")


def test_the_citation_is_that_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["preferred-citation"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (paper["journal"], paper["volume"], paper["start"], paper["year"]) == (
        "Physica Scripta",
        100,
        "015404",
        2025,
    )
    assert paper["doi"] in SETUP


def test_the_shipped_files_are_those_of_the_checkout():
    assert shipped_folder() == ROOT / "jobs"
    assert list(shipped_configurations())[0] == "00_minimal"
    assert {"particle", "film", "low_dose", "single_view"} <= set(shipped_examples())


@pytest.mark.parametrize(
    "file", [*shipped_configurations().values(), *shipped_examples().values()], ids=lambda f: f.stem
)
def test_no_configuration_needs_a_path_that_nobody_can_find(file):
    """Paths are those of the run itself, crystals that dptt has, or third-party data whose source the head names."""
    config, text = load_config(file), file.read_text(encoding="utf-8")
    assert not config.series.is_absolute()
    if config.import_ is not None:
        assert all(source.path.startswith("${DPTT_DATA}/") for source in config.import_.data)
        head = text.partition("\nseries:")[0]
        assert "# Data: https://" in head and "DPTT_DATA" in head
    else:
        assert "DPTT_DATA" not in text
        paths = re.findall(r"^ +(?:path|core|shell): *(.+)$", text, re.MULTILINE)
        assert all(path.startswith("crystal:") for path in paths)

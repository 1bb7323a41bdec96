"""The files that come with dptt: configurations, example series, job scripts."""

import textwrap
from pathlib import Path

import dptt


def shipped_folder() -> Path:
    """Return the folder `jobs`: inside the package where it is installed, beside it in a checkout."""
    installed = Path(dptt.__file__).parent / "jobs"
    return installed if installed.is_dir() else installed.parents[1] / "jobs"


def shipped_configurations() -> dict[str, Path]:
    """Return name -> file of every configuration that shows an idea, in reading order."""
    return {file.stem: file for file in sorted((shipped_folder() / "configs").glob("*.yaml"))}


def shipped_examples() -> dict[str, Path]:
    """Return name -> configuration of every example series."""
    return {file.stem: file for file in sorted((shipped_folder() / "examples").glob("*.yaml"))}


def summary_of(file: Path) -> str:
    """Return the beginning of the comment at the head of a configuration, after the line for editors."""
    lines = [line.lstrip("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return textwrap.shorten(" ".join(lines[1:]), 90, placeholder=" ...")

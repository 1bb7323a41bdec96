"""Unit cells of crystals from published parameters; each file names its source. In a configuration: `crystal:Pt`."""

from pathlib import Path

PREFIX = "crystal:"


def unit_cells() -> dict[str, Path]:
    """Return name -> CIF file of every crystal."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.cif"))}


def unit_cell_file(name: str) -> Path:
    """Return the CIF file of a crystal.

    Raises
    ------
    ValueError
        There is no such crystal.
    """
    if name not in unit_cells():
        known = ", ".join(PREFIX + one for one in unit_cells())
        raise ValueError(f"{PREFIX}{name} is not known; expected one of {known}, or the path of a file")
    return unit_cells()[name]

"""dptt in Python: `dptt.read`, `dptt.reconstruct` and their like, for scripts and notebooks.

A thin layer over the commands. Settings are the keys of the sections of the YAML file, with the same defaults and the
same errors; the work is done by the functions in `dptt.commands`, so a result here is that of the command, bit for
bit. What a command prints as ``error: ...`` is raised as an exception with that text.

    reading.py      where a tilt series comes from
    series.py       a tilt series: checked, shown
    steps.py        one function a step: brightfield, ptychography, align, reconstruct; run does all of them
    results.py      what the steps before the volume return
    volume.py       what a reconstruction returns, and how to judge it
    fitted.py       atoms fitted to the patterns
    settings.py     keywords -> configuration
    workplace.py    the folder of a result, temporary or not, and the right to write into it
    judgement.py    what an analysis found: the Fourier shell correlation, the atoms
    pictures.py     figures that a notebook shows
    tables.py       tables that a terminal and a notebook show
"""

from dptt.interface.fitted import FittedAtoms, atoms
from dptt.interface.reading import read, simulate
from dptt.interface.results import AlignedTilts, BrightField, TiltImages
from dptt.interface.series import Series
from dptt.interface.steps import align, brightfield, ptychography, reconstruct, run
from dptt.interface.volume import Reconstruction, load

__all__ = [
    "AlignedTilts",
    "BrightField",
    "FittedAtoms",
    "Reconstruction",
    "Series",
    "TiltImages",
    "align",
    "atoms",
    "brightfield",
    "load",
    "ptychography",
    "read",
    "reconstruct",
    "run",
    "simulate",
]

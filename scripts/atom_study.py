#!/usr/bin/env python
"""How well `dptt atoms` finds atoms in patterns of another program: atom_study.py FOLDER.

A particle of Co, Pd and Pt from an experimental structure, of which abTEM computes the patterns (`pip install
abtem`), at rest or as the mean of N configurations of thermal motion (0.08 Å rms) in every tilt; then `dptt run`
with the section `atoms`. The script prints how far traced and fitted atoms are from the true ones, and whether error
bars, elements, B and total potential are right. DPTT_DATA names the folder of third-party data sets. What has been
run before is not repeated.
"""

import argparse
from pathlib import Path

from angle_study.abtem_series import write_abtem_series
from atom_measures import measures

from dptt.commands.run import run
from dptt.config import Config
from dptt.distributed.comm import SerialCommunicator
from dptt.logs import set_up_logging

WAVELENGTH, WINDOW, PIXELS = 0.019687, 12.8, 32
"""[Å], [Å], and pixels of the detector along a side."""


RMS_DISPLACEMENT = 0.08
"""[Å] of every atom along every axis, in thermal motion: B = 0.51 Å²."""


def configuration(folder: Path, snapshots: int, fluence: float) -> Config:
    """Return the configuration of the series and its run."""
    sections = {
        "series": str(folder / "series.h5"),
        "run": str(folder / "run"),
        "simulation": {
            "specimen": {
                "kind": "file",
                "path": "${DPTT_DATA}/atomic_models/exp_HEA4_nanoparticle_aet.xyz.gz",
                "shape": "sphere",
                "diameter": 16.0,
                "rms_displacement": RMS_DISPLACEMENT if snapshots else 0.0,
                "orientation": [11.0, 7.0, 23.0],
            },
            "microscope": {
                "energy": 300e3,
                "semiangle_cutoff": 21.0,
                "aberrations": {"defocus": 100.0},
                "detector_shape": [PIXELS, PIXELS],
                "largest_angle": 1e3 * PIXELS / 2 * WAVELENGTH / WINDOW,
            },
            "scan": {"shape": [16, 16], "step": 1.2},
            "tilts": {"start": -56, "stop": 56, "step": 8},
            "fluence": fluence,
            "multislice": {"frozen_phonons": snapshots},
            "seed": 3,
        },
        "volume": {"thickness": 22.0},
        "atoms": {"elements": ["Co", "Pd", "Pt"]},
    }
    return Config.model_validate(sections)


def main() -> None:
    """Simulate, run, and print what the atoms are worth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of series and run")
    parser.add_argument("--snapshots", type=int, default=0, help="configurations of every tilt, an even number")
    parser.add_argument("--fluence", type=float, default=1e5, help="electrons per Å² of every tilt")
    given = parser.parse_args()
    patterns = given.folder / f"expected_{given.snapshots}"
    folder = given.folder / f"snapshots_{given.snapshots}_fluence_{given.fluence:g}"
    folder.mkdir(parents=True, exist_ok=True)
    set_up_logging(0)
    config = configuration(folder, given.snapshots, given.fluence)
    if not config.series.exists():
        write_abtem_series(config, patterns)
    run(config.model_copy(update={"simulation": None}), SerialCommunicator())
    for line in measures(config):
        print(line)


if __name__ == "__main__":
    main()

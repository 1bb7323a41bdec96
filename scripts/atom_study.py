#!/usr/bin/env python
"""How well `dptt atoms` finds atoms in patterns of another program: atom_study.py FOLDER.

A particle of Co, Pd and Pt from an experimental structure, without thermal motion, of which abTEM computes the
patterns (`pip install abtem`); then `dptt run` with the section `atoms`. The script prints what the analysis says of
traced and of fitted atoms. DPTT_DATA names the folder of third-party data sets. What has been run before is not
repeated.
"""

import argparse
from pathlib import Path

from angle_study.abtem_series import write_abtem_series

from dptt.analysis.summary import summary
from dptt.commands.run import run
from dptt.config import Config
from dptt.distributed.comm import SerialCommunicator
from dptt.logs import set_up_logging
from dptt.runtime.results import load_analysis

WAVELENGTH, WINDOW, PIXELS = 0.019687, 12.8, 32
"""[Å], [Å], and pixels of the detector along a side."""


def configuration(folder: Path) -> Config:
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
                "rms_displacement": 0.0,
                "orientation": [11.0, 7.0, 23.0],
            },
            "microscope": {
                "energy": 300e3,
                "semiangle_cutoff": 21.0,
                "aberrations": {"defocus": 100.0},
                "detector_shape": [PIXELS, PIXELS],
                "largest_angle": 1e3 * PIXELS / 2 * WAVELENGTH / WINDOW,
            },
            "scan": {"shape": [21, 21], "step": 0.9},
            "tilts": {"start": -56, "stop": 56, "step": 8},
            "fluence": 1e5,
            "seed": 3,
        },
        "volume": {"thickness": 22.0},
        "atoms": {"elements": ["Co", "Pd", "Pt"]},
    }
    return Config.model_validate(sections)


def main() -> None:
    """Simulate, run, and print what the analysis says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of series and run")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    set_up_logging(0)
    config = configuration(folder)
    if not config.series.exists():
        write_abtem_series(config)
    run(config.model_copy(update={"simulation": None}), SerialCommunicator())
    for line in summary(load_analysis(config.run) or {}):
        print(line)


if __name__ == "__main__":
    main()

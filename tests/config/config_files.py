"""A configuration with every section, written to a folder, and the problems that loading a changed one reports."""

from pathlib import Path

import pytest

from dptt.config import ConfigError, load_config

COMPLETE = """
series: data/series.h5
run: runs/trial
simulation:
  specimen: {kind: nanoparticle, element: Au, diameter: 9.0}
  microscope:
    energy: 300e3
    semiangle_cutoff: 21.0
    aberrations: {defocus: 40.0}
    detector_shape: [16, 14]
    largest_angle: 30.0
  scan: {shape: [7, 6], step: [0.7, 0.8]}
  tilts: {start: -60, stop: 60, step: 7.5}
  fluence: 1.0e5
  multislice: {slice_thickness: 2.0}
import:
  data: [{path: foreign.h5, dataset: frames}]
  axes: [tilt, scan_y, scan_x, ky, kx]
  tilt_angles: [-30, 0, 45]
  energy: 200e3
  semiangle_cutoff: 20.0
  scan: {step: 0.5}
  detector: {angular_sampling: [2.0, 1.5]}
  truth: {atoms: {path: atoms.npy}, atomic_number: 79}
volume: {thickness: 12.5, margin: 3}
reconstruction:
  epochs: 5
  probe: {from_epoch: 3}
  positions: {from_epoch: 2, step: 0.5}
  regularisation: {l1: 0.01}
analysis: {mask_radius: 5.0}
"""


def write_config(folder: Path, text: str = COMPLETE) -> Path:
    """Return the path of a YAML file in `folder` that holds `text`."""
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def problems_of(folder: Path, *overrides: str) -> list[str]:
    """Return the problems that the complete configuration has after `overrides`, which must be some."""
    with pytest.raises(ConfigError) as failure:
        load_config(write_config(folder), overrides)
    headline, *problems = str(failure.value).splitlines()
    assert headline.endswith(f"run.yaml: {len(problems)} error{'s' * (len(problems) > 1)}")
    return [problem.removeprefix("  - ") for problem in problems]

"""The phase of another program's result beside that of `dptt ptycho`: its pixels, its place, and what is said."""

import re
import shutil

import h5py
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from dptt.assembly.earlier_phases import compare_with_earlier
from dptt.io.dataset import TiltSeries
from dptt.io.earlier_phase import write_earlier_phase
from dptt.io.ptychography import read_tilt_image
from dptt.io.series_data import EarlierPhase
from dptt.physics.electron import interaction_constant

CHOICES = ["ptychography.epochs=4", "ptychography.batches=2"]
SHIFT = (1.3, -0.7)
"""(y, x) [Å] by which the specimen of the other program must be moved."""


@pytest.fixture(scope="module")
def started(tiny, tmp_path_factory):
    """Return a folder with a run, whose series has the phase of two tilts on another grid, with a ramp."""
    from dptt.cli import main

    folder = tmp_path_factory.mktemp("earlier")
    assert main(["ptycho", str(tiny / "tiny.yaml"), f"run={folder / 'run'}", *CHOICES]) == 0
    shutil.copy(tiny / "series.h5", folder / "series.h5")
    with h5py.File(folder / "series.h5", "a") as file:
        energy = float(file.attrs["energy_eV"])
        for name in ("0000", "0002"):
            image = read_tilt_image(folder / "run" / "ptychography.h5", name)
            write_earlier_phase(file["tilts"][name], other_grid(image, energy))
    return folder


def other_grid(image, energy: float) -> EarlierPhase:
    """Return the phase of `image` in finer pixels that are not square, moved, and with a ramp."""
    size, axis, shape = (0.83 * image.pixel_size[0], 0.91 * image.pixel_size[1]), (40.25, 47.5), (80, 90)
    points = [
        ((np.arange(n) - middle) * step + by) / pixel + m // 2
        for n, middle, step, by, pixel, m in zip(
            shape, axis, size, SHIFT, image.pixel_size, image.projection.shape, strict=True
        )
    ]
    phase = map_coordinates(image.projection, np.meshgrid(*points, indexing="ij"), order=3, mode="nearest")
    y, x = np.indices(shape)
    return EarlierPhase("PtyRAD", interaction_constant(energy) * phase + 0.3 + 2e-3 * y - 1e-3 * x, size, axis)


def test_a_phase_is_found_again_wherever_its_pixels_put_it(started):
    with TiltSeries.open(started / "series.h5") as series:
        compared = compare_with_earlier(started / "run" / "ptychography.h5", ("0000", "0001", "0002"), series)
    assert len(compared) == 2
    for both in compared.values():
        assert both.shift == pytest.approx(SHIFT, abs=0.1)  # a third of a pixel: the frame cuts the specimen
        assert both.correlation > 0.995
        close = np.isfinite(both.own)
        difference = both.earlier[close] - both.own[close]
        assert difference.std() < 0.1 * both.own[close].std()  # one scale: radians, not volts


def test_the_command_says_and_draws_it(dptt, tiny, started):
    ended = dptt("ptycho", tiny / "tiny.yaml", f"series={started / 'series.h5'}", f"run={started / 'run'}", *CHOICES)
    assert ended.code == 0, ended.stderr
    said = re.search(r"correlation with the phases of PtyRAD: median (\S+), least (\S+);", ended.stderr)
    assert said and 0.99 < float(said[2]) <= float(said[1]) <= 1
    assert (started / "run" / "ptychography_earlier.png").read_bytes()[:4] == b"\x89PNG"


def test_a_phase_beside_the_illuminated_area_is_named_and_not_compared(started, tmp_path, caplog):
    shutil.copy(started / "series.h5", tmp_path / "series.h5")
    with h5py.File(tmp_path / "series.h5", "a") as file:
        file["tilts/0000/earlier_phase"].attrs["axis_pixel"] = (500.0, 500.0)
    with TiltSeries.open(tmp_path / "series.h5") as series:
        compared = compare_with_earlier(started / "run" / "ptychography.h5", ("0000", "0002"), series)
    assert len(compared) == 1
    assert "tilt 0000: the phase of PtyRAD covers too little to be compared" in caplog.text


def test_a_damaged_phase_is_a_problem_of_the_series(started, tmp_path):
    shutil.copy(started / "series.h5", tmp_path / "series.h5")
    with h5py.File(tmp_path / "series.h5", "a") as file:
        del file["tilts/0000/earlier_phase"].attrs["pixel_size_A"]
        del file["tilts/0002/earlier_phase"].attrs["program"]
        file["tilts/0002/earlier_phase"].attrs["pixel_size_A"] = (0.3, -0.3)
    said = "0000/earlier_phase has no attribute pixel_size_A; expected 2 finite positive numbers"
    with pytest.raises(ValueError, match=said) as failure:
        TiltSeries.open(tmp_path / "series.h5")
    assert "0002/earlier_phase has no attribute `program`" in str(failure.value)
    assert "0002/earlier_phase: attribute pixel_size_A is [0.3, -0.3]" in str(failure.value)

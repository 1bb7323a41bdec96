"""Probe and positions of other programs' results become the starts of the tilts."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_results import MIDDLES, PIXEL, PROBE, SLICES, WRITERS, Probe, saved, write_ptyrad, write_py4dstem

from dptt.commands.importing import import_series
from dptt.config import ConfigError, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.torch_archive import load
from dptt.io.importers.reconstructions import read_reconstruction

SHAPE = (3, 4, 6, 8)
ANGLES = (2.0, 1.5)


TO_PIXELS = {
    "PtyRAD": (23, 24),
    "py4DSTEM": (23, 23),
    "quantem": (23, 23),
    "PtychoShelves": (12, 14),
    "v7.3": (12, 14),
}
"""What each file above adds to `MIDDLES` to get pixels of the object: of PtychoShelves, half of its shape, less 3."""


@pytest.mark.parametrize("name", WRITERS)
def test_every_program_gives_the_same_phase_and_its_place(tmp_path, name):
    result = read_reconstruction(WRITERS[name](tmp_path / "result.x"))
    np.testing.assert_allclose(result.phase, SLICES.sum(0), atol=1e-6)
    middle = (MIDDLES.min(0) + MIDDLES.max(0)) / 2
    np.testing.assert_allclose(result.axis, middle + TO_PIXELS[name], atol=1e-6)


@pytest.mark.parametrize("write", WRITERS.values(), ids=list(WRITERS))
def test_every_program_gives_the_same_probe_and_positions_from_their_middle(tmp_path, write):
    result = read_reconstruction(write(tmp_path / "result.x"))
    np.testing.assert_array_equal(result.probe, PROBE)
    middle = (MIDDLES.min(0) + MIDDLES.max(0)) / 2
    np.testing.assert_allclose(result.positions, MIDDLES - middle, atol=1e-6)


def config_of(folder: Path, *lines: str, shape: tuple[int, ...] = SHAPE):
    np.save(folder / "patterns.npy", np.ones((2, *shape), np.uint8))
    text = "".join(f"  {line}\n" for line in lines)
    (folder / "a.yaml").write_text(
        f"series: {folder}/series.h5\nrun: {folder}/run\nimport:\n  data: {folder}/patterns.npy\n  energy: 300e3\n"
        "  semiangle_cutoff: 21\n  tilt_angles: [0, 5]\n"
        "  detector: {angular_sampling: [2, 1.5]}\n" + text
    )
    return load_config(folder / "a.yaml")


def test_starts_of_the_tilts_have_positions_in_angstrom_by_the_calibration_of_the_patterns(tmp_path):
    write_ptyrad(tmp_path / "tilt_1.hdf5")
    write_py4dstem(tmp_path / "tilt_2.hdf5")
    import_series(config_of(tmp_path, f"start: {tmp_path}/tilt_*.hdf5"))
    with TiltSeries.open(tmp_path / "series.h5") as series:
        for tilt in series.tilts:
            np.testing.assert_array_equal(tilt.probe(), PROBE)
            middle = (MIDDLES.min(0) + MIDDLES.max(0)) / 2
            np.testing.assert_allclose(tilt.scan_positions(), PIXEL * (MIDDLES - middle), atol=1e-6)
            earlier = tilt.earlier_phase()
            np.testing.assert_allclose(earlier.phase, SLICES.sum(0), atol=1e-6)
            np.testing.assert_allclose(earlier.pixel_size, PIXEL, rtol=1e-6)
            assert earlier.program == ("PtyRAD" if tilt.name == "0000" else "py4DSTEM")
            np.testing.assert_allclose(earlier.axis, middle + TO_PIXELS[earlier.program], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "lines"),
    [
        ((12, *SHAPE[2:]), ("axes: [tilt, position, ky, kx]",)),
        ((3, 5, *SHAPE[2:]), ("scan: {flyback: 1}",)),
        (SHAPE, ("scan: {step: 3}",)),
    ],
    ids=["a list of patterns", "with flyback", "with a step that says nothing"],
)
def test_whatever_the_scan_the_positions_are_those_of_the_starts(tmp_path, shape, lines):
    write_ptyrad(tmp_path / "tilt_1.hdf5")
    write_py4dstem(tmp_path / "tilt_2.hdf5")
    import_series(config_of(tmp_path, f"start: {tmp_path}/tilt_*.hdf5", *lines, shape=shape))
    with TiltSeries.open(tmp_path / "series.h5") as series:
        middle = (MIDDLES.min(0) + MIDDLES.max(0)) / 2
        for tilt in series.tilts:
            np.testing.assert_allclose(tilt.scan_positions(), PIXEL * (MIDDLES - middle), atol=1e-6)


def test_without_starts_the_step_is_asked_for(tmp_path):
    with pytest.raises(ImportDescriptionError, match=r"scan.step \[Å\] is missing.* Set import.scan.step"):
        import_series(config_of(tmp_path))


def test_flyback_of_a_list_of_patterns_is_refused(tmp_path):
    files = [write_ptyrad(tmp_path / f"{number}.h5") for number in range(2)]
    lines = f"start: [{files[0]}, {files[1]}]", "axes: [tilt, position, ky, kx]", "scan: {flyback: 1}"
    with pytest.raises(ImportDescriptionError, match=r"scan.flyback is 1, but axes has no scan_x. Set scan.shape"):
        import_series(config_of(tmp_path, *lines, shape=(12, *SHAPE[2:])))


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_nothing_that_a_result_of_quantem_names_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = Probe()
    module.harmful = Harmful()
    parameter = load(saved(module).tobytes())._parameters["_probe"]
    np.testing.assert_array_equal(np.fft.fftshift(parameter, axes=(1, 2)), PROBE)
    assert not (tmp_path / "harmed").exists()
    with pytest.raises(ValueError, match="cannot be read as what torch saves"):
        load(saved(module).tobytes()[:-200])


def test_results_that_do_not_belong_to_the_patterns_are_refused(tmp_path):
    good, bad = write_ptyrad(tmp_path / "good.h5"), write_ptyrad(tmp_path / "bad.h5", dx=1.1 * PIXEL)
    (tmp_path / "none.h5").write_bytes(b"x" * 200)
    config = config_of(tmp_path, f"start: [{bad}, {tmp_path}/none.h5]")
    with pytest.raises(ImportDescriptionError) as failure:
        import_series(config)
    assert "bad.h5: PtyRAD has pixels of" in str(failure.value) and "none.h5: is neither HDF5" in str(failure.value)
    with pytest.raises(
        ImportDescriptionError, match=r"is a result of PtyRAD, which .*got the index .*Leave `index` out"
    ):
        import_series(config_of(tmp_path, f"start: [{{path: {good}, index: [0]}}, {good}]"))
    with pytest.raises(ImportDescriptionError, match="start has 1 files; expected 2"):
        import_series(config_of(tmp_path, f"start: {good}"))
    with h5py.File(good, "a") as file:
        for name in ("optimizable_tensors/probe_pos_shifts", "model_attributes/crop_pos"):
            shorter = file[name][:-1]
            del file[name]
            file[name] = shorter
    with pytest.raises(ImportDescriptionError, match="start of tilt 0001 has 11 positions; expected 12"):
        import_series(config_of(tmp_path, f"start: [{good}, {good}]"))
    with h5py.File(good, "a") as file:
        del file["optimizable_tensors"]
    with pytest.raises(
        ImportDescriptionError, match="has no probe and positions; expected optimizable_tensors/probe"
    ):
        import_series(config_of(tmp_path, f"start: [{good}, {good}]"))
    with pytest.raises(ConfigError, match="expected no `probe` and no `scan.positions`"):
        config_of(tmp_path, f"start: {good}", f"probe: {good}")

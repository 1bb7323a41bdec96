"""Probe and positions of other programs' results become the starts of the tilts."""

import io
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr
from scipy.io import savemat

from dptt.commands.importing import import_series
from dptt.config import ConfigError, load_config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.torch_archive import load
from dptt.io.importers.reconstructions import read_reconstruction
from dptt.physics.electron import wavelength

SHAPE = (3, 4, 6, 8)
ANGLES = (2.0, 1.5)
PIXEL = 1e3 * wavelength(300e3) / (6 * 2.0)
RANDOM = np.random.default_rng(4)
PROBE = (RANDOM.normal(size=(2, 6, 8)) + 1j * RANDOM.normal(size=(2, 6, 8))).astype(np.complex64)
SLICES = RANDOM.normal(0, 0.3, (3, 30, 34))
"""Phases of the object (slice, y, x)."""
MIDDLES = np.array([(y, 1.5 * x) for y in range(3) for x in range(4)]) + RANDOM.normal(0, 0.1, (12, 2))
"""Middles of the windows in the object [pixels], but for a shift."""


def write_ptyrad(path: Path, **changes) -> Path:
    """Write the layout of PtyRAD's model files: whole corners of windows, and shifts."""
    corners = np.round(MIDDLES + 20)
    with h5py.File(path, "w") as file:
        file["optimizable_tensors/probe"] = PROBE
        file["optimizable_tensors/probe_pos_shifts"] = (MIDDLES + 20 - corners).astype(np.float32)
        file["model_attributes/crop_pos"] = corners.astype(np.int32)
        file["model_attributes/dx"] = changes.get("dx", PIXEL)
        file["optimizable_tensors/objp"] = np.stack([SLICES, SLICES]).astype(np.float32)  # two modes
    return path


def write_py4dstem(path: Path) -> Path:
    """Write a probe at pixel 0 and positions of middles, in the groups of emdfile."""
    with h5py.File(path, "w") as file:
        file["ptycho_root/ptycho/_probe_emd/data"] = np.fft.ifftshift(PROBE, axes=(1, 2))
        file["ptycho_root/ptycho/metadatabundle/preprocess_metadata/positions_px"] = MIDDLES + 23.0
        file["ptycho_root/ptycho/_object_emd/data"] = np.exp(1j * SLICES)
    return path


class Probe(torch.nn.Module):
    """Like quantem's model of a probe: a parameter, and attributes of classes that dptt does not have."""

    def __init__(self) -> None:
        super().__init__()
        self._probe = torch.nn.Parameter(torch.from_numpy(np.fft.ifftshift(PROBE, axes=(1, 2)).copy()))
        self._rng, self._names = np.random.default_rng(1), {"a", Path("b")}


class Object(torch.nn.Module):
    """Like quantem's model of an object of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self._obj = torch.nn.Parameter(torch.from_numpy(np.exp(1j * SLICES)))


def saved(value) -> np.ndarray:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def write_quantem(path: Path) -> Path:
    """Write the members that quantem's `save` writes for a probe and positions, as it writes them."""
    store = zarr.storage.ZipStore(str(path), mode="w")
    root = zarr.open_group(store, mode="w")
    positions = torch.from_numpy(MIDDLES + 23.0)
    members = {
        "_probe_model/module": saved(Probe()),
        "_obj_model/module": saved(Object()),
        "_dataset_metadata/learned_scan_positions_px/tensor": saved(positions.T.contiguous().T),
    }
    for name, content in members.items():
        root.create_array(name, data=content, compressors=None)
    store.close()
    return path


def write_shelves_5(path: Path) -> Path:
    variables = {
        "probe": PROBE.transpose(1, 2, 0)[..., None],
        "outputs": {"probe_positions": MIDDLES[:, ::-1] - 3},
        "object": np.exp(1j * SLICES).transpose(1, 2, 0),
    }
    savemat(path, variables)
    return path


def write_shelves_7_3(path: Path) -> Path:
    """Write what MATLAB writes: axes reversed, complex numbers as pairs with names."""
    pairs = np.empty(PROBE.transpose(0, 2, 1).shape, [("real", "<f8"), ("imag", "<f8")])
    pairs["real"], pairs["imag"] = PROBE.transpose(0, 2, 1).real, PROBE.transpose(0, 2, 1).imag
    with h5py.File(path, "w") as file:
        file["probe"], file["outputs/probe_positions"] = pairs, (MIDDLES[:, ::-1] - 3).T
        objects = np.empty(SLICES.transpose(0, 2, 1).shape, pairs.dtype)
        values = np.exp(1j * SLICES.transpose(0, 2, 1))
        objects["real"], objects["imag"] = values.real, values.imag
        file["object"] = objects
    return path


WRITERS = {
    "PtyRAD": write_ptyrad,
    "py4DSTEM": write_py4dstem,
    "quantem": write_quantem,
    "PtychoShelves": write_shelves_5,
    "v7.3": write_shelves_7_3,
}


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


def config_of(folder: Path, *lines: str):
    np.save(folder / "patterns.npy", np.ones((2, *SHAPE), np.uint8))
    text = "".join(f"  {line}\n" for line in lines)
    (folder / "a.yaml").write_text(
        f"series: {folder}/series.h5\nrun: {folder}/run\nimport:\n  data: {folder}/patterns.npy\n  energy: 300e3\n"
        f"  semiangle_cutoff: 21\n  tilt_angles: [0, 5]\n  scan: {{step: 1}}\n"
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

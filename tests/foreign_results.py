"""Tiny results of other ptychography programs and of [P], in the layout that each program writes."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import torch
import zarr
from scipy.io import savemat

from dptt.physics.electron import wavelength

PIXEL = 1e3 * wavelength(300e3) / (6 * 2.0)
"""[Å] Of a window of 6 pixels whose patterns have 2 mrad a pixel."""
RANDOM = np.random.default_rng(4)
PROBE = (RANDOM.normal(size=(2, 6, 8)) + 1j * RANDOM.normal(size=(2, 6, 8))).astype(np.complex64)
SLICES = RANDOM.normal(0, 0.3, (3, 30, 34))
"""Phases of the object (slice, y, x)."""
MIDDLES = np.array([(y, 1.5 * x) for y in range(3) for x in range(4)]) + RANDOM.normal(0, 0.1, (12, 2))
"""Middles of the windows in the object [pixels], but for a shift."""
K_MAX, NUMBERS, SCAN, PIXELS = 1.25, (171, 173, 204), (3, 4), 6
CHANCE = np.random.default_rng(13)
PATTERNS = CHANCE.integers(0, 90, (3, *SCAN, PIXELS, PIXELS), dtype=np.uint16)
PROBES = (CHANCE.random((3, 2, 3, PIXELS, PIXELS)) + 1j).astype(np.complex64)
POSITIONS = CHANCE.normal(0, 5, (3, 2, 2, 12))
POSES = {"phi": CHANCE.normal(0, 0.5, 3), "theta": CHANCE.normal(0, 0.05, 3), "psi": CHANCE.normal(0, 0.05, 3)}
SHIFTS = CHANCE.normal(0, 3, (2, 3))


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


def store_object(path: Path, name: str, value: dict, codec: str) -> None:
    """Add the array of one object to a zip file of zarr, as zarr 2 writes it with `object_codec`."""
    array = np.empty(1, object)
    array[0] = value
    import numcodecs

    encoder = {"json2": numcodecs.JSON, "msgpack2": numcodecs.MsgPack, "pickle": numcodecs.Pickle}[codec]()
    compressor = numcodecs.Zlib()
    metadata = dict(
        zarr_format=2, shape=[1], chunks=[1], dtype="|O", order="C", fill_value=0, compressor=compressor.get_config()
    )
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(f"{name}/.zarray", json.dumps(metadata | {"filters": [encoder.get_config()]}))
        file.writestr(f"{name}/0", bytes(compressor.encode(encoder.encode(array))))


def published(folder: Path, codec: str = "json2") -> Path:
    """Write three tilts in the published layout, and one without a reconstruction."""
    (folder / "data").mkdir()
    (folder / "results").mkdir()
    for tilt, number in enumerate((*NUMBERS, 230)):
        path = folder / "data" / f"{number}.zip"
        store = zarr.storage.ZipStore(str(path), mode="w")
        group = zarr.open_group(store, mode="w", zarr_format=2)
        group.create_array("data", data=PATTERNS[tilt % 3], chunks=(1, 4, PIXELS, PIXELS))
        store.close()
        k_max = np.array([K_MAX, K_MAX]) if codec == "pickle" else [K_MAX, K_MAX]
        store_object(path, "meta", {"k_max": k_max}, codec)
    for tilt, number in enumerate(NUMBERS):
        with h5py.File(folder / "results" / f"{number}.h5", "w") as file:
            file["probe"], file["best_positions"] = PROBES[tilt], POSITIONS[tilt]
    for name, angles in POSES.items():
        np.save(folder / f"{name}_astra.npy", angles)
    np.save(folder / "translation_astra.npy", SHIFTS)
    return folder

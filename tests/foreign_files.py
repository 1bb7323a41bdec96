"""Tiny files of every foreign format, each written by the library of its ecosystem where that can write it.

No library writes .mib, .dm4, Velox and EMPAD: their bytes are put together here, as their makers describe them.
Nion Swift and stempy are large: their writers are used where they are installed, else the same layout is written.
"""

import json
import struct
import zipfile
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np

SHAPE = (3, 4, 6, 5)
COUNTS = np.random.default_rng(3).integers(0, 200, SHAPE, dtype=np.uint16)
STEPS, FREQUENCIES = (0.5, 0.4), (0.02, 0.03)
"""Scan step (y, x) [Å], spatial frequency between pixels (ky, kx) [1/Å]."""
ENERGY, SEMIANGLE, TILT = 200e3, 21.0, -12.0
ANGULAR = tuple(0.025079340 * frequency for frequency in FREQUENCIES)
"""The same in radians: times the wavelength [Å] at `ENERGY`."""


def signal(data: np.ndarray) -> dict:
    """Return `data` as RosettaSciIO takes it, with nm and 1/nm."""
    units, scales = ("nm", "nm", "1/nm", "1/nm"), (*np.divide(STEPS, 10), *np.multiply(FREQUENCIES, 10))
    axes = [
        dict(name=name, units=unit, scale=float(scale), offset=0.0, size=size, index_in_array=number)
        | dict(navigate=number < 2, _type="UniformDataAxis")
        for number, (name, unit, scale, size) in enumerate(
            zip(("y", "x", "ky", "kx"), units, scales, data.shape, strict=True)
        )
    ]
    microscope = {"beam_energy": ENERGY / 1e3, "convergence_angle": SEMIANGLE, "Stage": {"tilt_alpha": TILT}}
    metadata = {
        "General": {"title": "scan"},
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": microscope},
    }
    package = {"package": "", "package_version": ""}
    empty = dict.fromkeys(("original_metadata", "tmp_parameters", "learning_results", "models"), {})
    attributes = {"_lazy": False, "ragged": False}
    return (
        dict(data=data, axes=axes, metadata=metadata, attributes=attributes, package_info=package) | empty | package
    )


def write_hspy(folder: Path) -> Path:
    from rsciio.hspy import file_writer

    file_writer(folder / "scan.hspy", signal(COUNTS))
    return folder / "scan.hspy"


def write_zspy(folder: Path) -> Path:
    """Write the groups of an .hspy file as zarr, because the writer of .zspy needs zarr 2."""
    import zarr

    root = zarr.open_group(str(folder / "scan.zspy"), mode="w", zarr_format=2)

    def copy(source, target) -> None:
        target.attrs.update({name: _plain(value) for name, value in source.attrs.items()})
        for name, item in source.items():
            if isinstance(item, h5py.Group):
                copy(item, target.create_group(name))
            elif item.dtype.kind in "uif":
                target.create_array(name, data=item[()], chunks=item.shape or "auto")

    with h5py.File(write_hspy(folder)) as file:
        copy(file, root)
    root.attrs["file_format"] = "ZSpy"
    return folder / "scan.zspy"


def _plain(value):
    return value.decode() if isinstance(value, bytes) else value.item() if hasattr(value, "item") else value


def write_ncem(folder: Path) -> Path:
    from rsciio.emd import file_writer

    file_writer(folder / "scan.emd", signal(COUNTS))
    return folder / "scan.emd"


def write_velox(folder: Path) -> Path:
    """Write the groups of Velox: frames last, metadata as JSON in SI units. No library writes these files."""
    frames = np.moveaxis(COUNTS.reshape(-1, *SHAPE[2:]), 0, -1)
    size = {"width": str(1e10 * FREQUENCIES[1]), "height": str(1e10 * FREQUENCIES[0])}
    tree = {
        "Optics": {"AccelerationVoltage": str(ENERGY), "BeamConvergence": str(SEMIANGLE / 1e3)},
        "Stage": {"AlphaTilt": str(np.deg2rad(TILT))},
        "BinaryResult": {"PixelSize": size, "PixelUnitX": "1/m", "PixelUnitY": "1/m", "Detector": "Ceta"},
    }
    text = np.frombuffer(json.dumps(tree).encode() + bytes(40), np.uint8)
    with h5py.File(folder / "scan.emd", "w") as file:
        file["Version"] = [json.dumps({"format": "Velox", "version": "1.10"})]
        group = file.create_group("Data/Image/0b3f")
        group.create_dataset("Data", data=frames, chunks=(*SHAPE[2:], 1))
        group["Metadata"] = np.repeat(text[:, None], frames.shape[2], axis=1)
    return folder / "scan.emd"


def write_py4dstem(folder: Path) -> Path:
    import emdfile

    dims = [*map(float, STEPS), *map(float, FREQUENCIES)]
    cube = emdfile.Array(
        data=COUNTS,
        name="datacube",
        dims=dims,
        dim_units=["A", "A", "A^-1", "A^-1"],
        dim_names=["y", "x", "ky", "kx"],
    )
    emdfile.save(str(folder / "scan.h5"), cube, mode="o")
    return folder / "scan.h5"


def write_nexus(folder: Path) -> Path:
    from rsciio.nexus import file_writer

    file_writer(str(folder / "scan.nxs"), signal(COUNTS))
    return folder / "scan.nxs"


def write_dectris(folder: Path) -> Path:
    """Write a master file, two files of patterns compressed with bitshuffle, and the metadata file of NCEM."""
    import hdf5plugin

    frames = COUNTS.reshape(-1, *SHAPE[2:])
    master = folder / "scan_master.h5"
    with h5py.File(master, "w") as file:
        file["entry/instrument/detector/description"] = "Dectris ARINA"
        for number, part in enumerate((frames[:7], frames[7:]), 1):
            name = f"scan_data_{number:06d}.h5"
            with h5py.File(folder / name, "w") as patterns:
                patterns.create_dataset(
                    "entry/data/data", data=part, chunks=(1, *SHAPE[2:]), **hdf5plugin.Bitshuffle()
                )
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "entry/data/data")
    with h5py.File(folder / "scan_em_metadata.h5", "w") as file:
        scan = file.create_group("electron_microscope/scan_controller/regular_scan")
        scan["n_pixels_y"], scan["n_pixels_x"] = SHAPE[:2]
        for axis, step in zip("yx", STEPS, strict=True):
            scan[f"pixel_size_{axis}"] = step / 10
            scan[f"pixel_size_{axis}"].attrs["units"] = "nm"
        voltage = file.create_dataset("electron_microscope/electron_source/accelerating_voltage", data=ENERGY / 1e3)
        voltage.attrs["units"] = "kV"
    return master


def nion_properties() -> dict:
    """Return the properties that Swift keeps beside the data, in nm, rad and V."""
    scales, units = (*np.divide(STEPS, 10), *ANGULAR), ("nm", "nm", "rad", "rad")
    calibrations = [
        {"offset": 0.0, "scale": float(scale), "units": unit} for scale, unit in zip(scales, units, strict=True)
    ]
    scanned = {"EHT": ENERGY, "StageOutA": float(np.deg2rad(TILT))}
    instrument = {"high_tension": ENERGY, "convergence_angle": SEMIANGLE / 1e3, "ImageScanned": scanned}
    return {
        "is_sequence": False,
        "collection_dimension_count": 2,
        "datum_dimension_count": 2,
        "dimensional_calibrations": calibrations,
        "metadata": {"instrument": instrument, "hardware_source": {"hardware_source_id": "ronchigram"}},
    }


def write_nion_ndata(folder: Path) -> Path:
    """Write an .ndata file: with Nion Swift where it is installed, else the same zip file."""
    path = folder / "scan.ndata"
    try:
        from nion.swift.model.NDataHandler import write_zip
    except ImportError:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as members:
            with members.open("data.npy", "w") as file:
                np.save(file, COUNTS)
            members.writestr("metadata.json", json.dumps(nion_properties()))
    else:
        write_zip(str(path), COUNTS, nion_properties())
    return path


def write_nion_h5(folder: Path) -> Path:
    """Write the .h5 file of a data item: with Nion Swift where it is installed, else the same dataset."""
    path = folder / "scan.h5"
    try:
        from nion.swift.model.HDF5Handler import HDF5Handler
    except ImportError:
        with h5py.File(path, "w") as file:
            file["data"] = COUNTS
            file["data"].attrs["properties"] = json.dumps(nion_properties())
    else:
        handler = HDF5Handler(str(path))
        handler.write_data(COUNTS, datetime.now())
        handler.write_properties(nion_properties(), datetime.now())
        handler.close()
    return path


def write_nion_nhdf(folder: Path) -> Path:
    """Write an export of Nion Swift, whose writer takes the items of its user interface."""
    with h5py.File(folder / "scan.nhdf", "w") as file:
        file.create_group("index").attrs["1"] = "{}"
        file["data/0"] = COUNTS
        file["data/0"].attrs["properties"] = json.dumps(nion_properties())
    return folder / "scan.nhdf"


def electron_lists(frames: int) -> np.ndarray:
    """Return lists of the pixels hit, one per scan position and frame; all frames together have the counts."""
    lists = np.empty((SHAPE[0] * SHAPE[1], frames), dtype=object)
    for position, pattern in enumerate(COUNTS.reshape(-1, SHAPE[2] * SHAPE[3])):
        pixels = np.repeat(np.arange(pattern.size, dtype=np.uint32), pattern)
        for number in range(frames):
            lists[position, number] = pixels[number::frames]
    return lists


def write_stempy(folder: Path) -> Path:
    """Write two frames per scan position: with stempy where it is installed, else the same groups (version 3)."""
    path, lists = folder / "scan.h5", electron_lists(2)
    path.unlink(missing_ok=True)
    try:
        from stempy.io.sparse_array import SparseArray
    except ImportError:
        _write_electrons(path, lists.ravel(), np.arange(len(lists)), version=3)
    else:
        SparseArray(lists, SHAPE[:2], SHAPE[2:]).write_to_hdf5(path)
    return path


def write_stempy_1(folder: Path) -> Path:
    """Write the layout of earlier stempy: the position of every frame, in any order."""
    order = np.random.default_rng(8).permutation(SHAPE[0] * SHAPE[1])
    _write_electrons(folder / "scan.h5", electron_lists(1)[order, 0], order, version=1)
    return folder / "scan.h5"


def _write_electrons(path: Path, lists: np.ndarray, positions: np.ndarray, version: int) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["version"] = version
        places = file.create_dataset("electron_events/scan_positions", data=positions)
        places.attrs["Nx"], places.attrs["Ny"] = SHAPE[1], SHAPE[0]
        frames = file.create_dataset("electron_events/frames", (len(lists),), h5py.vlen_dtype(np.uint32))
        frames.attrs["Nx"], frames.attrs["Ny"] = SHAPE[2:]
        frames[...] = lists


def write_matlab_5(folder: Path) -> Path:
    from scipy.io import savemat

    savemat(folder / "scan.mat", {"dp": COUNTS.T, "note": np.ones(3)})
    return folder / "scan.mat"


def write_matlab_7_3(folder: Path) -> Path:
    """Write what MATLAB writes: a block of 512 bytes before an HDF5 file, arrays with the first axis fastest."""
    path = folder / "scan.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["dp"] = COUNTS
        file["dp"].attrs["MATLAB_class"] = np.bytes_("uint16")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(128))
    return path


def write_tiff(folder: Path) -> Path:
    import tifffile

    tifffile.imwrite(folder / "scan.tif", COUNTS.reshape(-1, *SHAPE[2:]))
    return folder / "scan.tif"


def write_tiff_pages(folder: Path) -> Path:
    import tifffile

    with tifffile.TiffWriter(folder / "scan.tif", bigtiff=True) as file:
        for frame in COUNTS.reshape(-1, *SHAPE[2:]):
            file.write(frame, contiguous=False, compression="zlib")
    return folder / "scan.tif"


def write_mrc(folder: Path) -> Path:
    import mrcfile

    with mrcfile.new(folder / "scan.data", overwrite=True) as file:
        file.set_data(COUNTS.reshape(-1, *SHAPE[2:]))
    return folder / "scan.data"


def write_zarr(folder: Path) -> Path:
    import zarr

    group = zarr.open_group(str(folder / "scan.zarr"), mode="w")
    group.create_array("entry/data", data=COUNTS, chunks=(1, 4, 6, 5))
    return folder / "scan.zarr"


def write_zarr_zip(folder: Path) -> Path:
    import zarr

    store = zarr.storage.ZipStore(str(folder / "scan.zip"), mode="w")
    group = zarr.open_group(store, mode="w", zarr_format=2)
    group.create_array("data", data=COUNTS, chunks=(1, 4, 6, 5))
    store.close()
    return folder / "scan.zip"


def write_numpy(folder: Path) -> Path:
    np.save(folder / "scan.npy", COUNTS)
    return folder / "scan.npy"


def write_blockfile(folder: Path) -> Path:
    from rsciio.blockfile import file_writer

    square = signal(COUNTS[..., :5, :].astype(np.uint8))
    for axis in square["axes"][2:]:
        axis.update(units="cm", scale=0.1)
    square["original_metadata"] = {"blockfile_header": {"Beam_energy": int(ENERGY), "Note": ""}}
    file_writer(str(folder / "scan.blo"), square, show_progressbar=False, intensity_scaling=None)
    return folder / "scan.blo"


def write_merlin(folder: Path) -> Path:
    """Write frames, each after 384 bytes of text, and the .hdr file. RosettaSciIO turns them upside down."""
    rows, columns = SHAPE[2:]
    fields = ("MQ1", "{number:06d}", "00384", "01", f"{columns:04d}", f"{rows:04d}", "U16", "   1x1", "01")
    times = ("2020-01-01T00:00:00.{number:06d}Z", "0.001000ns", "0", "6")
    header = ",".join((*fields, *times))
    with (folder / "scan.mib").open("wb") as file:
        for number, frame in enumerate(COUNTS.reshape(-1, rows, columns)):
            file.write(header.format(number=number).encode().ljust(384))
            file.write(frame[::-1].astype(">u2").tobytes())
    lines = (
        "HDR,",
        f"Frames in Acquisition (Number):\t{SHAPE[0] * SHAPE[1]}",
        f"Frames per Trigger (Number):\t{SHAPE[1]}",
    )
    (folder / "scan.hdr").write_text("\n".join((*lines, "End\t")))
    return folder / "scan.mib"


def write_dm3(folder: Path) -> Path:
    """Write the earlier version, whose lengths are 32 bits and whose tags do not say how long they are."""
    return _write_dm(folder / "scan.dm3", version=3)


def write_dm4(folder: Path) -> Path:
    return _write_dm(folder / "scan.dm4", version=4)


def _write_dm(path: Path, version: int) -> Path:
    """Write the tags of a DM file that tell an array and its calibration."""
    dimensions = [{"Origin": 0.0, "Scale": scale, "Units": unit} for scale, unit in _dm_axes()]
    image = {
        "Name": "scan",
        "ImageData": {
            "Calibrations": {
                "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""},
                "Dimension": {f"#{number}": entry for number, entry in enumerate(dimensions)},
            },
            "Data": COUNTS,
            "DataType": 10,
            "Dimensions": {f"#{number}": size for number, size in enumerate(SHAPE[::-1])},
            "PixelDepth": 2,
        },
        "ImageTags": {"Microscope Info": {"Voltage": ENERGY, "Stage Position": {"Stage Alpha": TILT}}},
        "UniqueID": {"#0": 1, "#1": 2, "#2": 3, "#3": 4},
    }
    body = _dm_group({"ImageList": {"#0": image}, "ImageSourceList": {"#0": {"ClassName": "x"}}}, version)
    with path.open("wb") as file:
        file.write(struct.pack(f">I{_DM_LENGTH[version]}I", version, len(body), 1) + body + bytes(8))
    return path


_DM_LENGTH = {3: "I", 4: "Q"}


def _dm_axes():
    yield from (
        (10 * FREQUENCIES[1], "1/nm"),
        (10 * FREQUENCIES[0], "1/nm"),
        (STEPS[1] / 10, "nm"),
        (STEPS[0] / 10, "nm"),
    )


def _dm_group(tags: dict, version: int) -> bytes:
    written = (_dm_tag(name, value, version) for name, value in tags.items())
    return struct.pack(f">BB{_DM_LENGTH[version]}", 0, 0, len(tags)) + b"".join(written)


def _dm_tag(name: str, value, version: int) -> bytes:
    label = b"" if name.startswith("#") else name.encode()
    if isinstance(value, dict):
        kind, body = 20, _dm_group(value, version)
    else:
        kind, body = 21, b"%%%%" + _dm_value(value, version)
    size = struct.pack(">Q", len(body)) if version == 4 else b""
    return struct.pack(">BH", kind, len(label)) + label + size + body


def _dm_value(value, version: int) -> bytes:
    """Return the number of words that tell the type, these words, and the value in the byte order of the PC."""
    if isinstance(value, np.ndarray):
        words, body = (20, 4, value.size), value.astype("<u2").tobytes()
    elif isinstance(value, str):
        words, body = (20, 4, len(value)), value.encode("utf-16-le")
    elif isinstance(value, float):
        words, body = (7,), struct.pack("<d", value)
    else:
        words, body = (5,), struct.pack("<I", value)
    return struct.pack(f">{1 + len(words)}{_DM_LENGTH[version]}", len(words), *words) + body


def write_empad(folder: Path, name: str = "scan", seed: int = 5) -> Path:
    """Write 2 x 3 patterns of 130 rows, the last two of which are no pixels, and the XML of version 1.2."""
    rows = np.random.default_rng(seed).random((2, 3, 130, 128), dtype=np.float32)
    rows.tofile(folder / f"{name}.raw")
    (folder / f"{name}.xml").write_text(
        f'<root><raw_file filename="{name}.raw"/><pix_x>3</pix_x><pix_y>2</pix_y><iom_measurements>'
        f"<high_voltage>{ENERGY}</high_voltage><nominal_camera_length>0.5</nominal_camera_length>"
        f"<calibrated_pixelsize>{FREQUENCIES[0] * 1e-8}</calibrated_pixelsize>"
        "<full_scan_field_of_view><x>1.2e-10</x><y>1.2e-10</y><scale_factor>0.8</scale_factor>"
        "</full_scan_field_of_view></iom_measurements></root>"
    )
    return folder / f"{name}.raw"


def write_empad_g2(folder: Path) -> Path:
    """Write 2 x 3 exported patterns of 128 rows, and the XML, which has another name and names the raw file."""
    np.random.default_rng(6).random((2, 3, 128, 128), dtype=np.float32).tofile(folder / "scan.raw")
    (folder / "other_name.xml").write_text(
        "<root><sensor><type>EMPAD2</type></sensor><scan><shape>(2, 3)</shape></scan><rawfile><filename>scan.raw"
        "</filename></rawfile><iom_measurements><ColumnSourceHighVoltage>300000</ColumnSourceHighVoltage>"
        "<calibrated_diffraction_angle>0.0005</calibrated_diffraction_angle></iom_measurements></root>"
    )
    return folder / "scan.raw"

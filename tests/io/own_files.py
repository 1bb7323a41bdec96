"""A small file of every kind that dptt writes in HDF5, with what reads it and the error that the reader promises."""

from pathlib import Path

import h5py
import numpy as np

from dptt.io.alignment import (
    AlignedTilt,
    Alignment,
    AlignmentError,
    read_alignment,
    read_projections,
    write_alignment,
)
from dptt.io.atoms import AtomsError, AtomsFile, read_atoms, write_atoms
from dptt.io.brightfield import (
    TILT_ARRAYS,
    TILT_NUMBERS,
    CalibrationError,
    SeriesCalibration,
    TiltCalibration,
    read_calibration,
    write_calibration,
)
from dptt.io.checkpoint import load_checkpoint, save_checkpoint
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.errors import CheckpointError, DatasetError, ImportDescriptionError, VolumeError
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.ptychography import (
    PtychographyError,
    TiltImage,
    link_tilt_images,
    linked_tilts,
    read_tilt_image,
    tilt_path,
    write_tilt_image,
)
from dptt.io.records import read_record, write_record
from dptt.io.series_data import ElectronEvents, ExternalPatterns, SeriesHeader, TiltData
from dptt.io.truth import TrueTilt, Truth
from dptt.io.volumes import ReconstructedTilt, read_volume, write_volume

RANDOM = np.random.default_rng(3)
PROVENANCE = {"config": "run: a\nvolume: {margin: 2}\n", "command": "dptt run", "identity": "c0ffee", "note": ""}
POSE = ((0.5, -30.0, 1.5), (0.25, -2.0))
VOLUME = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)
COMPLEX = (RANDOM.normal(size=(2, 6, 5)) + 1j).astype(np.complex64)
POSITIONS = RANDOM.normal(size=(6, 2))
COUNTS = RANDOM.poisson(2.0, (6, 4, 5)).astype(np.uint16)


def series(path: Path, tilts: list[TiltData], truth: Truth | None = None) -> Path:
    header = SeriesHeader(
        300e3, 21.0, (2.0, 2.1), {"C10": -200.0, "phi12": 12.0}, creator="dptt", config=PROVENANCE["config"]
    )
    write_tilt_series(path, header, tilts, truth)
    return path


def tilt(patterns, **others) -> TiltData:
    return TiltData(patterns, POSITIONS, *POSE, aberrations={"C12": 3.0}, **others)


def stored_series(folder: Path) -> Path:
    events = ElectronEvents(np.array([3, 1, 7, 7, 2]), np.array([0, 1, 2, 2, 3, 5, 5]), (3, 4))
    dense = tilt(COUNTS, probe=COMPLEX, mask=np.eye(4, 5) == 0, scan_shape=(2, 3), counts_per_electron=2.0)
    return series(folder / "series.h5", [dense, tilt(COUNTS.astype(np.float32)), tilt(events)])


def linked_series(folder: Path) -> Path:
    with h5py.File(folder / "raw.h5", "w") as file:
        file["counts"] = COUNTS
    return series(folder / "series.h5", [tilt(ExternalPatterns("raw.h5", "counts"))])


def linked_file(folder: Path) -> Path:
    linked_series(folder)
    return folder / "raw.h5"


def series_with_truth(folder: Path) -> Path:
    tilts = (TrueTilt("0000", *POSE, POSITIONS, {"C10": -190.0}, {"C10": 3.0}),)
    truth = Truth(VOLUME, (1.0, 0.5, 0.25), (0.0, 1.0, 0.0), RANDOM.normal(size=(7, 3)), np.arange(7), tilts)
    return series(folder / "series.h5", [tilt(COUNTS[:, :1, :1])], truth)


def series_by_hand(folder: Path) -> Path:
    """In the oldest format of HDF5, which checks next to nothing by itself."""
    with h5py.File(folder / "hand.h5", "w", libver=("earliest", "v108")) as file:
        file.attrs.update(
            format=np.bytes_("dptt-tilt-series"), version=1, energy_eV=300e3, semiangle_cutoff_mrad=21.0
        )
        file.attrs["angular_sampling_mrad"] = (2.0, 2.1)
        group = file.create_group("tilts/0000")
        group["data"], group["scan_positions"] = COUNTS, POSITIONS
        group.attrs.update(phi_deg=0.0, theta_deg=5.0, psi_deg=0.0, translation_A=(0.0, 0.0))
    return folder / "hand.h5"


def read_series(path: Path) -> object:
    with TiltSeries.open(path) as opened:
        tilts = [
            (t.name, t.euler_angles, t.translation, t.counts_per_electron, t.aberrations, t.scan_shape)
            + (t.scan_positions(), t.mask(), t.probe(), t.read(slice(None)))
            for t in opened.tilts
        ]
        return opened.header, tilts, opened.truth(), opened.checksum()


def checkpoint(folder: Path) -> Path:
    arrays = {"probes/0000": COMPLEX, "euler_angles": POSITIONS}
    save_checkpoint(folder / "run.h5", arrays, {"epoch": 2, **PROVENANCE}, {"volume": VOLUME, "velocity": -VOLUME})
    return folder / "run.h5"


def volume(folder: Path) -> Path:
    tilts = {"0000": ReconstructedTilt(*POSE, POSITIONS, COMPLEX, {"loss": 0.5}), "0001": ReconstructedTilt(*POSE)}
    write_volume(folder / "volume.h5", VOLUME, (1.0, 0.5, 0.25), attributes=PROVENANCE | {"epochs": 3}, tilts=tilts)
    return folder / "volume.h5"


def alignment(folder: Path) -> Path:
    tilts = {"0000": AlignedTilt(*POSE, 0.1, 1.0), "0001": AlignedTilt(*POSE, 0.2, 0.5)}
    write_alignment(folder / "alignment.h5", Alignment(VOLUME, (1.0, 1.0, 1.0), tilts, PROVENANCE))
    return folder / "alignment.h5"


def tilt_image(folder: Path) -> Path:
    image = TiltImage(COMPLEX, abs(COMPLEX[0]), COMPLEX, POSITIONS, *POSE, pixel_size=(0.5, 0.4), slice_thickness=2.0)
    write_tilt_image(folder / "ptychography.h5", "0000", image, PROVENANCE)
    link_tilt_images(folder / "ptychography.h5", ["0000"], (0.5, 0.4), PROVENANCE)
    return tilt_path(folder / "ptychography.h5", "0000")


def links(folder: Path) -> Path:
    tilt_image(folder)
    return folder / "ptychography.h5"


def read_links(path: Path) -> object:
    return linked_tilts(path), read_projections(path)


def calibration(folder: Path) -> Path:
    one = TiltCalibration(
        aberrations={"C10": -130.5, "phi12": -70.0},
        numbers={name: float(number) for number, name in enumerate(TILT_NUMBERS)},
        method="parallax",
        reason="the scan is coarse",
        arrays={name: RANDOM.normal(size=(5, 2)) for name in TILT_ARRAYS},
    )
    evidence = {"rotation": np.array([-120.5, 59.5]), "transpose": np.array([True, False])}
    result = SeriesCalibration(-120.5, True, 0.1, 2.5, True, ("one", "± 1°"), evidence, {"0000": one}, PROVENANCE)
    write_calibration(folder / "brightfield.h5", result)
    return folder / "brightfield.h5"


def record(folder: Path) -> Path:
    values = {
        "method": "parallax",
        "reason": "",
        "number": 3,
        "energy": 0.25,
        "known": True,
        "curls": {"0": POSITIONS},
    }
    write_record(folder / "0000.h5", values, "c0ffee")
    return folder / "0000.h5"


def atoms(folder: Path) -> Path:
    content = AtomsFile(
        positions=RANDOM.normal(size=(4, 3)),
        atomic_numbers=np.array([78, 46, 28, 78]),
        occupancies=np.linspace(0.5, 1.0, 4),
        b_factors=np.linspace(0.3, 0.9, 4),
        standard_errors=RANDOM.normal(size=(4, 5)),
        probabilities=RANDOM.random((4, 3)),
        elements=np.array([28, 46, 78]),
        told=np.array([True, False, True, True]),
        attributes=PROVENANCE
        | {"figure_of_fit": 1.02, "figure_uncertainty": 0.01, "misfit_z": 1.5, "scan_doubt": 0.005}
        | {"source_size_A": 0.2, "focal_spread_A": 20.0, "aperture_per_A": 1.07},
        tilts={"0000": ReconstructedTilt(*POSE, POSITIONS, COMPLEX, {}), "0001": ReconstructedTilt(*POSE)},
    )
    write_atoms(folder / "atoms.h5", content)
    return folder / "atoms.h5"


class NoRecordError(ValueError):
    """A record that is not sound is made again."""


def read_sound_record(path: Path) -> object:
    found = read_record(path, "c0ffee")
    if found is None:
        raise NoRecordError(path.name)
    return found


def read_foreign(path: Path) -> object:
    with open_array(ArraySource(str(path), "counts")) as array:
        return array.read_all()


KINDS = {
    "series": (stored_series, read_series, DatasetError),
    "linked series": (linked_series, read_series, DatasetError),
    "truth": (series_with_truth, read_series, DatasetError),
    "checkpoint": (checkpoint, load_checkpoint, CheckpointError),
    "volume": (volume, read_volume, VolumeError),
    "alignment": (alignment, read_alignment, AlignmentError),
    "atoms": (atoms, read_atoms, AtomsError),
    "tilt image": (tilt_image, lambda path: read_tilt_image(path.parent, path.stem), PtychographyError),
    "links": (links, read_links, (AlignmentError, PtychographyError)),
    "calibration": (calibration, read_calibration, CalibrationError),
    "record": (record, read_sound_record, NoRecordError),
}
"""Name -> what writes a file, what reads it, and the error that the reader promises."""
OTHERS = {
    "linked patterns": (linked_file, lambda path: read_series(path.with_name("series.h5")), DatasetError),
    "series by hand": (series_by_hand, read_series, DatasetError),
    "foreign arrays": (linked_file, read_foreign, ImportDescriptionError),
}
"""Files of other programs: HDF5 has no checksum of their numbers."""

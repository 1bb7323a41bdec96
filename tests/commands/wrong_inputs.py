"""Wrong inputs as users make them: files and the command that meets them. The answers are in wrong_inputs.txt."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

SIMULATED = """series: s.h5
run: run
simulation:
  specimen: {kind: nanoparticle, element: Au, diameter: 6.0}
  microscope: {energy: 300e3, semiangle_cutoff: 21.0, detector_shape: [16, 14], largest_angle: 30.0}
  scan: {shape: [4, 3], step: 0.7}
  tilts: {angles: [-20, 5, 60]}
  fluence: 1.0e4
volume: {thickness: 8.0}
"""
IMPORTED = """series: s.h5
run: run
import:
  data: [{path: a.npy}, {path: b.npy}]
  axes: [scan_y, scan_x, ky, kx]
  tilt_angles: [-20, 5]
  energy: 300e3
  semiangle_cutoff: 21.0
  scan: {step: 0.7}
  detector: {angular_sampling: 3.0}
"""


@dataclass(frozen=True)
class Wrong:
    """A command in a folder with `files`; settings are changed in the configuration `c.yaml`."""

    arguments: str
    text: str = SIMULATED
    files: Callable[[], None] = field(default=lambda: None)


def text(old: str, new: str, base: str = SIMULATED) -> str:
    assert old in base
    return base.replace(old, new, 1)


def arrays(*shapes: tuple[int, ...], value: float | str = 1.0) -> Callable[[], None]:
    """Return what writes a.npy, b.npy, ... of these shapes."""

    def write() -> None:
        for name, shape in zip("abcdef", shapes, strict=False):
            np.save(f"{name}.npy", np.full(shape, value))

    return write


GOOD = (3, 4, 16, 14)


def write(name: str, content: bytes = b"") -> Callable[[], None]:
    return lambda: (Path(name).write_bytes(content), None)[1]


def both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    return lambda: (first(), second())[1]


def folder(name: str) -> Callable[[], None]:
    return lambda: Path(name).mkdir()


def hdf5(name: str, **datasets: tuple[int, ...]) -> Callable[[], None]:
    def create() -> None:
        with h5py.File(name, "w") as file:
            for dataset, shape in datasets.items():
                file[dataset] = np.zeros(shape, np.uint8)

    return create


WRONG = {
    # the configuration is not what it should be
    "no configuration": Wrong("run absent.yaml"),
    "a folder": Wrong("run .", ""),
    "an empty file": Wrong("run c.yaml", ""),
    "a list": Wrong("run c.yaml", "- series: a\n"),
    "a colon without a space": Wrong("run c.yaml", "series:s.h5\nrun: run\n"),
    "a tab": Wrong("run c.yaml", text("  specimen", "\tspecimen")),
    "wrong indentation": Wrong("run c.yaml", text("  fluence", "   fluence")),
    "a key twice": Wrong("run c.yaml", SIMULATED + "run: other\n"),
    "latin-1 text": Wrong("run c.yaml", files=write("c.yaml", b"series: \xe5.h5\n")),
    "a misspelt section": Wrong("run c.yaml", text("volume:", "volumes:")),
    "a misspelt setting": Wrong("run c.yaml reconstruction.epoch=3"),
    "a setting without its section": Wrong("run c.yaml epochs=3"),
    "a word for a number": Wrong("run c.yaml reconstruction.epochs=many"),
    "a decimal comma": Wrong("run c.yaml", text("step: 0.7", "step: 0,7")),
    "a unit behind a number": Wrong("run c.yaml", text("300e3", "300 kV")),
    "a negative energy": Wrong("run c.yaml simulation.microscope.energy=-3e5"),
    "two problems at once": Wrong("run c.yaml reconstruction.loss=gauss volume.margin=-1"),
    "two settings for one thing": Wrong("run c.yaml volume.num_slices=3 volume.slice_thickness=2"),
    "a shape of two": Wrong("run c.yaml volume.shape=[30,30]"),
    "an unset variable": Wrong("run c.yaml", text("s.h5", "${NO_SUCH_VARIABLE}/s.h5")),
    "no such kind of specimen": Wrong("simulate c.yaml simulation.specimen.kind=film"),
    "no such crystal": Wrong(
        "simulate c.yaml", text("kind: nanoparticle, element: Au, diameter: 6.0", "kind: file, path: crystal:Au")
    ),
    "no such element": Wrong("simulate c.yaml simulation.specimen.element=Pl"),
    "no such aberration": Wrong("simulate c.yaml simulation.microscope.aberrations={C31: 3}"),
    "an override without a value": Wrong("run c.yaml reconstruction.epochs"),
    "an override of a value": Wrong("run c.yaml series.x=3"),
    # the command line
    "an option for a setting": Wrong("run c.yaml --epochs 20"),
    "an unknown option": Wrong("run c.yaml --gpu"),
    "a misspelt command": Wrong("recontruct c.yaml"),
    "a configuration for a command": Wrong("c.yaml"),
    "no command": Wrong(""),
    "an unknown export": Wrong("export . obj"),
    "an export of nothing": Wrong("export absent mrc"),
    "a report of nothing": Wrong("report absent"),
    "an unknown example": Wrong("example filme"),
    "init without data": Wrong("init"),
    "init of a missing file": Wrong("init absent.h5"),
    "init of a picture": Wrong("init p.png", files=write("p.png", b"\x89PNG")),
    "an answer to no question": Wrong("init d.h5 colour=red", files=hdf5("d.h5", data=(2, 2, 4, 4))),
    # the series
    "no series": Wrong("validate c.yaml", IMPORTED),
    "a folder for a series": Wrong("validate c.yaml", files=folder("s.h5")),
    "an empty series": Wrong("validate c.yaml", files=write("s.h5")),
    "a text for a series": Wrong("validate c.yaml", files=write("s.h5", b"tilt 1\n" * 100)),
    "another HDF5 file": Wrong("validate c.yaml", files=hdf5("s.h5", data=(2, 3, 4, 4))),
    "an existing series": Wrong("simulate c.yaml", files=write("s.h5", b"precious")),
    "no section to simulate": Wrong("simulate c.yaml", IMPORTED),
    "no section to import": Wrong("import c.yaml"),
    "no volume to analyze": Wrong("analyze c.yaml"),
    # what is imported
    "no arrays": Wrong("import c.yaml", IMPORTED),
    "too few angles": Wrong("import c.yaml import.tilt_angles=[0]", IMPORTED, arrays(GOOD, GOOD)),
    "axes for another array": Wrong("import c.yaml", IMPORTED, arrays(GOOD[1:], GOOD[1:])),
    "an axis twice": Wrong("import c.yaml import.axes=[scan_y,scan_y,ky,kx]", IMPORTED, arrays(GOOD, GOOD)),
    "no such dataset": Wrong(
        "import c.yaml",
        text("path: a.npy", "path: a.h5, dataset: frame", text("path: b.npy", "path: a.h5, dataset: data", IMPORTED)),
        hdf5("a.h5", data=GOOD),
    ),
    "negative counts": Wrong("import c.yaml", IMPORTED, arrays(GOOD, GOOD, value=-1.0)),
    "crop beyond the detector": Wrong("import c.yaml import.detector.crop=[32,32]", IMPORTED, arrays(GOOD, GOOD)),
    "binning that does not divide": Wrong("import c.yaml import.detector.binning=5", IMPORTED, arrays(GOOD, GOOD)),
    "a table with words": Wrong(
        "import c.yaml import.tilt_angles={path: t.tlt}",
        IMPORTED,
        both(arrays(GOOD, GOOD), write("t.tlt", b"-20\nfive\n")),
    ),
    "a list and a raster": Wrong("import c.yaml import.scan.positions=[{path: p.npy}]", IMPORTED),
    "an aberration twice": Wrong(
        "import c.yaml import.aberrations={defocus: 3, C10: 3}", IMPORTED, arrays(GOOD, GOOD)
    ),
    "arrays of words": Wrong("import c.yaml", IMPORTED, arrays(GOOD, GOOD, value="x")),
    "four arrays of a wrong shape": Wrong(
        "import c.yaml import.tilt_angles=[-20,0,5,10]",
        text("{path: b.npy}", "{path: b.npy}, {path: c.npy}, {path: d.npy}", IMPORTED),
        arrays(GOOD, *[(3, 4, 16)] * 3),
    ),
    "arrays of several sizes": Wrong("import c.yaml", IMPORTED, arrays(GOOD, (3, 4, 8, 8))),
    "thirteen datasets that are numbers": Wrong(
        "import c.yaml",
        text("[{path: a.npy}, {path: b.npy}]", "[" + ", ".join(["{path: a.h5, dataset: [1]}"] * 13) + "]", IMPORTED),
    ),
    # what is planned and run
    "no such machine": Wrong("plan c.yaml --machine cray"),
    "ranks that are no number": Wrong("plan c.yaml --ranks many"),
    "a share of nothing": Wrong("ptycho c.yaml --share 3/3"),
}

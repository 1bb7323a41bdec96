"""What the steps before the volume return. Pass one to a later step, which then starts from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.config import Config
from dptt.interface.pictures import Picture, Pictures
from dptt.interface.settings import Tree
from dptt.interface.tables import Table
from dptt.interface.workplace import Folder
from dptt.io.alignment import Alignment, read_alignment
from dptt.io.brightfield import SeriesCalibration, read_calibration
from dptt.io.ptychography import TiltImage, linked_tilts, read_tilt_image
from dptt.report.drawing import compact, signed
from dptt.report.figures.alignment import slice_figure
from dptt.report.figures.brightfield import contrast_figure, image_figure
from dptt.report.figures.ptychography import projections_figure


@dataclass(frozen=True)
class Origin:
    """How a result was made."""

    config: Config
    tree: Tree
    """The sections of the configuration as they were given, with which a later step goes on."""
    folder: Folder
    """Where the files are."""
    start: Any = None
    """The series or result from which it was made; kept, because its files may be temporary."""


class Result:
    """The result of a step, in a folder that is removed with the last object that uses it if it is temporary."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    @property
    def run(self) -> Path:
        """Folder of the results."""
        return self.origin.folder.path

    @property
    def config(self) -> Config:
        """Every setting of the step, defaults included."""
        return self.origin.config

    def _table(self) -> Table:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._table().title

    def _repr_html_(self) -> str:
        return self._table().html()


class BrightField(Result):
    """Optics and scan orientation from the bright disk; made by `dptt.brightfield`.

    Attributes
    ----------
    calibration
        Aberrations of every tilt [Å, degrees], rotation of the scan [degrees], uncertainties, evidence.
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self.calibration: SeriesCalibration = read_calibration(self.run / "brightfield.h5")

    @property
    def defocus(self) -> dict[str, float]:
        """Name of the tilt -> defocus [Å], underfocus positive."""
        return {name: -tilt.aberrations["C10"] for name, tilt in self.calibration.tilts.items()}

    @property
    def findings(self) -> tuple[str, ...]:
        """What was found, and on what evidence, as sentences."""
        return self.calibration.findings

    def show(self) -> Pictures:
        """Show the phase image of every tilt, and how its defocus was found."""
        tilts = self.calibration.tilts
        images = {name: (t.arrays["image"], t.arrays["image_sampling_A"], t.method) for name, t in tilts.items()}
        curves = {name: (t.arrays["defocus_curve"], -t.aberrations["C10"]) for name, t in tilts.items()}
        return Pictures(
            (
                Picture("images", "Phase images from the bright disk", lambda: image_figure(images)),
                Picture("contrast", "Explained energy by trial defocus", lambda: contrast_figure(curves)),
            )
        )

    def _table(self) -> Table:
        result, defocus = self.calibration, self.defocus.values()
        title = (
            f"BrightField: {len(result.tilts)} tilts, scan rotated by {signed(result.rotation)}° ± "
            f"{result.rotation_uncertainty:.2g}°{', transposed' if result.transposed else ''}, defocus "
            f"{compact(min(defocus))} to {compact(max(defocus))} Å"
            f"{'' if result.trusted else ', orientation uncertain'}"
        )
        rows = [
            (name, f"{defocus:.1f} ± {result.tilts[name].numbers['defocus_uncertainty_A']:.1f}", tilt.method)
            for (name, defocus), tilt in zip(self.defocus.items(), result.tilts.values(), strict=True)
        ]
        return Table(title, ("tilt", "defocus [Å]", "method"), rows)


class TiltImages(Result):
    """Ptychography of every tilt alone; made by `dptt.ptychography`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._path = self.run / "ptychography.h5"
        self.names = linked_tilts(self._path)

    def __getitem__(self, name: str) -> TiltImage:
        """Return slices [V Å], probe, scan positions [Å] and losses of a tilt, read from its file."""
        if name not in self.names:
            raise KeyError(f"no tilt {name} in {self._path}; expected {self.names[0]} to {self.names[-1]}")
        return read_tilt_image(self._path, name)

    def __len__(self) -> int:
        return len(self.names)

    def show(self) -> Pictures:
        """Show the projected potential of every tilt."""
        images = [self[name] for name in self.names]
        drawn = {signed(image.euler_angles[1]) + "°": (image.projection, image.illumination) for image in images}
        pixel_size = images[0].pixel_size
        draw = lambda: projections_figure(drawn, pixel_size)  # noqa: E731
        return Pictures((Picture("projections", "Projected potential of every tilt", draw),))

    def _table(self) -> Table:
        images = {name: self[name] for name in self.names}
        height, width = images[self.names[0]].projection.shape
        pixel = images[self.names[0]].pixel_size[1]
        rows = [
            (name, signed(i.euler_angles[1]), f"{i.attributes['loss']:.4g}", _held_out(i))
            for name, i in images.items()
        ]
        title = f"TiltImages: {len(images)} tilts of {height} x {width} pixels of {pixel:.4g} Å"
        return Table(title, ("tilt", "theta [°]", "loss", "held-out loss"), rows)


class AlignedTilts(Result):
    """Poses of all tilts from their projections, and a linear volume; made by `dptt.align`.

    Attributes
    ----------
    alignment
        The volume (z, y, x) [V] of linear tomography, poses, misfits and weights.
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self.alignment: Alignment = read_alignment(self.run / "alignment.h5")

    @property
    def euler_angles(self) -> NDArray[np.float64]:
        """Aligned (phi, theta, psi) of every tilt (tilt, 3) [degrees]."""
        return np.array([tilt.euler_angles for tilt in self.alignment.tilts.values()])

    @property
    def translations(self) -> NDArray[np.float64]:
        """Aligned translation (y, x) of every tilt (tilt, 2) [Å]."""
        return np.array([tilt.translation for tilt in self.alignment.tilts.values()])

    def show(self) -> Pictures:
        """Show slices through the volume of linear tomography."""
        draw = lambda: slice_figure(self.alignment.volume, self.alignment.voxel_size[0])  # noqa: E731
        return Pictures((Picture("slices", "Linear tomography", draw),))

    def _table(self) -> Table:
        tilts = self.alignment.tilts
        misfit = float(np.median([tilt.misfit for tilt in tilts.values()]))
        rows = [
            (
                name,
                ", ".join(f"{angle:.2f}" for angle in tilt.euler_angles),
                ", ".join(f"{shift:.2f}" for shift in tilt.translation),
                f"{tilt.misfit:.4f}",
                f"{tilt.weight:.2f}",
            )
            for name, tilt in tilts.items()
        ]
        columns = ("tilt", "phi, theta, psi [°]", "translation (y, x) [Å]", "misfit", "weight")
        return Table(f"AlignedTilts: {len(tilts)} tilts, median misfit {misfit:.4f}", columns, rows)


def _held_out(image: TiltImage) -> str:
    value = image.attributes.get("held_out_loss")
    return "" if value is None else f"{value:.4g}"

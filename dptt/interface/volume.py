"""The reconstructed volume: how good it is, what it looks like, and where to take it."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.commands.analyze import analyze
from dptt.commands.report import report as write_report
from dptt.commands.run import make_half_sets
from dptt.config import config_from_yaml
from dptt.interface.judgement import Atoms, ShellCorrelation
from dptt.interface.pictures import Picture, Pictures
from dptt.interface.results import Origin, Result
from dptt.interface.tables import Table
from dptt.interface.workplace import Folder, working
from dptt.io.atomic_write import write_beside
from dptt.io.errors import ProblemsError
from dptt.io.mrc import write_mrc
from dptt.io.volumes import ReconstructedTilt, volume_attributes
from dptt.logs import read_metrics
from dptt.report.figures.convergence import loss_figure
from dptt.report.figures.volume import projection_figure
from dptt.report.planes import POTENTIAL, Row, central_indices, draw_rows, slices
from dptt.runtime.half_sets import half_set_files, wants_half_sets
from dptt.runtime.results import analysis_identity, load_analysis, read_result


class Reconstruction(Result):
    """The volume and all that belongs to it; made by `dptt.reconstruct`, `dptt.run` and `dptt.load`.

    Attributes
    ----------
    volume
        Potential (z, y, x) [V], complex64 or float32; a positive imaginary part is absorption.
    voxel_size
        (z, y, x) [Å].
    tilts
        Name of the tilt -> pose, scan positions, probe, loss, weight.
    epochs
        One mapping an epoch: ``loss``, ``held_out_loss``, ``seconds``, ... as in metrics.jsonl.
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._result = read_result(self.run)
        self.volume: NDArray[Any] = self._result.volume
        self.voxel_size: tuple[float, float, float] = self._result.voxel_size
        self.tilts: dict[str, ReconstructedTilt] = self._result.tilts
        self.epochs: list[dict[str, Any]] = read_metrics(self.run / "metrics.jsonl")

    @property
    def potential(self) -> NDArray[np.float32]:
        """Real part of the volume (z, y, x) [V]."""
        return np.ascontiguousarray(self.volume.real, dtype=np.float32)

    @property
    def losses(self) -> NDArray[np.float64]:
        """Loss of every epoch, per electron."""
        return np.array([epoch["loss"] for epoch in self.epochs])

    @property
    def figure_of_fit(self) -> float:
        """Loss of held-out patterns over that of shot noise: 1 if the volume explains all but the noise."""
        return float(self._result.attributes["figure_of_fit"])

    def show(self) -> Pictures:
        """Show central slices, projections and the loss by epoch.

        >>> result = dptt.load("run")
        >>> result.show()
        Pictures: slices, projections, loss; .save(folder) writes them as PNG
        """
        potential, size = self.potential, self.voxel_size
        centre = central_indices(potential.shape)
        row = Row("Potential through the rotation centre", slices(potential, centre), POTENTIAL)
        pictures = [
            Picture("slices", row.title, lambda: draw_rows([row], size, lines_at=centre)[0]),
            Picture("projections", "Projections", lambda: projection_figure(potential, size)),
        ]
        if self.epochs:
            pictures.append(Picture("loss", "Loss by epoch", lambda: loss_figure(self.epochs)))
        return Pictures(tuple(pictures))

    def fsc(self) -> ShellCorrelation:
        """Return the Fourier shell correlation, with the true potential if the series has one, else of half-sets.

        Half-sets that do not exist yet are reconstructed first, as `dptt run` does, which takes as long as the
        reconstruction itself; ``analysis={"half_sets": False}`` forbids that.

        Raises
        ------
        ProblemsError
            There is nothing to compare with, or the folder holds another volume by now.

        Examples
        --------
        >>> curve = dptt.load("run").fsc()
        >>> curve.reference
        'truth'
        >>> bool(curve.correlation[0] > 0.5)
        True
        """
        self._check_unchanged()
        if wants_half_sets(self.config) and half_set_files(self.config) is None:
            with working(self.config, "run") as (communicator, stop):
                make_half_sets(self.config, communicator, stop)
        analysis = self.analysis()
        if "fsc" not in analysis:
            why = (
                "; ".join(analysis["warnings"]) or "the series has no true potential, and half-sets are switched off"
            )
            raise ProblemsError(self.run, [f"there is no Fourier shell correlation: {why}."])
        return ShellCorrelation.of(analysis)

    def atoms(self) -> Atoms:
        """Return the peaks of the volume, their positions, heights and significance, as `dptt analyze` finds them.

        >>> atoms = dptt.load("run").atoms()
        >>> atoms.positions.shape[1]  # (z, y, x) [Å] from the rotation centre
        3
        """
        return Atoms.of(self.analysis(), self.potential, self.voxel_size)

    def analysis(self) -> dict[str, Any]:
        """Return the content of analysis.json, after analyzing the volume if that is not up to date."""
        self._check_unchanged()
        known = load_analysis(self.run) or {}
        if known.get("identity") != analysis_identity(self.config, self._result):
            with working(self.config, "analyze"):
                analyze(self.config)
            known = load_analysis(self.run) or {}
        return known

    def report(self) -> Path:
        """Write the HTML page of the run, and volume.mrc beside it, as `dptt report` does; return the page."""
        self.analysis()
        with working(self.config, "report"):
            return write_report(self.run)

    def save(self, target: str | Path, *, overwrite: bool = False) -> Path:
        """Save the volume or the whole run, and return the path.

        Parameters
        ----------
        target
            ``.mrc``: the real part of the volume [V], for viewers. ``.h5``: the volume with everything needed to
            repeat it. Without a suffix: a folder with all files of the run, to be read with `dptt.load`.
        overwrite
            Whether a file may be replaced; an existing folder never is.

        Raises
        ------
        FileExistsError
            The target exists.
        ValueError
            It has another suffix.

        Examples
        --------
        >>> dptt.load("run").save("particle.mrc", overwrite=True)
        PosixPath('particle.mrc')
        """
        target = Path(target)
        if target.suffix not in (".mrc", ".h5", ""):
            raise ValueError(f"cannot save as {target.name}; expected a name that ends in .mrc or .h5, or a folder")
        self._check_unchanged()
        if target.exists() and not (overwrite and target.is_file()):
            raise FileExistsError(f"{target} exists; remove it, or give another name")
        match target.suffix:
            case ".mrc":
                write_mrc(target, self.potential, self.voxel_size, overwrite=overwrite)
            case ".h5":
                with write_beside(target, overwrite) as partial:
                    shutil.copyfile(self.run / "volume.h5", partial)
            case _:
                shutil.copytree(self.run, target, ignore=shutil.ignore_patterns(".*"))
        return target

    def _check_unchanged(self) -> None:
        """Raise unless the folder still holds this volume."""
        if volume_attributes(self.run / "volume.h5") != self._result.attributes:
            problem = "holds another volume by now, of a later reconstruction. Read it with dptt.load."
            raise ProblemsError(self.run / "volume.h5", [problem])

    def _table(self) -> Table:
        shape = " x ".join(map(str, self.volume.shape))
        loss = f", loss {self.losses[-1]:.4g} after {len(self.losses)} epochs" if self.epochs else ""
        title = (
            f"Reconstruction: {shape} voxels (z, y, x) of {self.voxel_size[2]:.4g} Å, {len(self.tilts)} tilts{loss}"
        )
        left = float(self._result.attributes["unexplained"])
        values = {
            "largest potential": f"{self.potential.max():.4g} V",
            "figure of fit": f"{self.figure_of_fit:.3f} ± {float(self._result.attributes['figure_uncertainty']):.2g}",
            "unexplained scattering": "cannot be told" if math.isnan(left) else f"{100 * left:.1f} %",
            "series": str(self.config.series),
            "folder": f"{self.run}{' (temporary)' if self.origin.folder.temporary else ''}",
        }
        return Table(title, ("", ""), list(values.items()))


def load(run: str | Path) -> Reconstruction:
    """Return the reconstruction in the folder of an earlier run, of the command line or of Python.

    Raises
    ------
    ProblemsError
        The folder has no volume, or it is damaged.

    Examples
    --------
    >>> dptt.load("run")  # doctest: +ELLIPSIS
    Reconstruction: 27 x 36 x 34 voxels (z, y, x) of 0.3281 Å, 3 tilts, loss ... after 2 epochs
    """
    folder = Folder(Path(run))
    stored = config_from_yaml(str(volume_attributes(folder.path / "volume.h5").get("config", "")))
    config = stored.model_copy(update={"run": folder.path})  # it may have been moved
    tree = config.model_dump(mode="json")
    return Reconstruction(Origin(config, {name: value for name, value in tree.items() if name != "run"}, folder))

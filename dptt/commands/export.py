"""`dptt export`: volume, atoms, poses and curves of a run for other programs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gemmi

from dptt.config import ConfigError
from dptt.io.aretomo import largest_phi, write_aretomo
from dptt.io.atomic_write import refuse_existing
from dptt.io.errors import ProblemsError
from dptt.io.exporters import EXPORTS
from dptt.io.exporters.atoms import write_cif, write_pdb, write_xyz
from dptt.io.exporters.curves import write_csv
from dptt.io.exporters.volumes import channels, write_ome_zarr, write_tiff
from dptt.io.imod import write_imod
from dptt.io.mrc import write_mrc
from dptt.io.relion import write_relion
from dptt.logs import log
from dptt.runtime.exported import atoms_of, poses_of, tables_of
from dptt.runtime.folders import prepare_folder
from dptt.runtime.results import read_result

FOLDER = "export"
LARGEST_PHI = 0.05
"""[deg] A tilt about x below this is no loss."""


@dataclass(frozen=True)
class Request:
    """What to export, and where to."""

    run: Path
    output: Path | None
    overwrite: bool
    element: str | None

    def path(self, name: str) -> Path:
        """Return the file to write, `name` in the run's folder unless another was named; its folder exists."""
        path = self.output or self.run / FOLDER / name
        refuse_existing_file(path, self.overwrite)
        prepare_folder(path.parent, path)
        return path


def export(
    run: Path, kind: str, *, output: Path | None = None, overwrite: bool = False, element: str | None = None
) -> list[Path]:
    """Write the results of `run` that `kind` names, and return the files.

    Parameters
    ----------
    kind
        One of `EXPORTS`.
    output
        File to write; by default in the folder `export` of the run.
    element
        Chemical symbol of all atoms, if the analysis does not know their elements.

    Raises
    ------
    ConfigError
        There is no such kind or element.
    ProblemsError
        The run has no such result, or a library is missing.
    FileExistsError
        A file exists and `overwrite` is false.
    """
    if kind not in EXPORTS:
        kinds = "\n".join(f"  {name:8} {content}" for name, content in EXPORTS.items())
        raise ConfigError(f"there is no export {kind!r}; expected one of\n{kinds}")
    if element is not None and (gemmi.Element(element).atomic_number == 0 or gemmi.Element(element).name != element):
        raise ConfigError(f"--element {element}: expected the symbol of an element, such as Au")
    if not run.is_dir():
        raise ProblemsError(run, ["there is no such folder. Name the folder of a run (`run:` in its configuration)."])
    written = WRITERS[kind](Request(run, output, overwrite, element))
    log.info(f"wrote {', '.join(map(str, written))}")
    return written


def refuse_existing_file(path: Path, overwrite: bool) -> None:
    """Raise FileExistsError, in the words of the command line, if `path` exists and may not be replaced."""
    try:
        refuse_existing(path, overwrite)
    except FileExistsError:
        raise FileExistsError(f"{path} exists; name another with -o, or give --overwrite to replace it") from None


def _mrc(request: Request) -> list[Path]:
    result = read_result(request.run)
    first = request.path("volume.mrc")
    parts = list(channels(result.volume).values())
    paths = [first, first.with_name(f"{first.stem}_imaginary{first.suffix}")][: len(parts)]
    for path in paths:
        refuse_existing_file(path, request.overwrite)
    z, y, x = (
        shift - size * (n // 2)
        for n, size, shift in zip(result.volume.shape, result.voxel_size, result.origin, strict=True)
    )
    for path, part in zip(paths, parts, strict=True):
        write_mrc(path, part, result.voxel_size, origin=(z, y, x), overwrite=request.overwrite)
    return paths


def _tiff(request: Request) -> list[Path]:
    result, path = read_result(request.run), request.path("volume.ome.tif")
    write_tiff(path, result, overwrite=request.overwrite)
    return [path]


def _zarr(request: Request) -> list[Path]:
    result, path = read_result(request.run), request.path("volume.ome.zarr")
    write_ome_zarr(path, result, overwrite=request.overwrite)
    return [path]


def _xyz(request: Request) -> list[Path]:
    atoms, path = atoms_of(request.run, request.element), request.path("atoms.xyz")
    write_xyz(path, atoms, comment=f"dptt {request.run}", overwrite=request.overwrite)
    return [path]


def _cif(request: Request) -> list[Path]:
    path, atoms, result = request.path("atoms.cif"), atoms_of(request.run, request.element), read_result(request.run)
    z, y, x = (n * size for n, size in zip(result.volume.shape, result.voxel_size, strict=True))
    write_cif(path, atoms, (z, y, x), overwrite=request.overwrite)
    return [path]


def _pdb(request: Request) -> list[Path]:
    atoms, path = atoms_of(request.run, request.element), request.path("atoms.pdb")
    write_pdb(path, atoms, overwrite=request.overwrite)
    return [path]


def _imod(request: Request) -> list[Path]:
    poses, path = poses_of(request.run), request.path("poses.xf")
    stem = path.with_suffix("")
    for suffix in (".tlt", ".xf", ".xtilt"):
        refuse_existing_file(stem.with_suffix(suffix), request.overwrite)
    pixel = poses.square_pixel(path, "IMOD")
    return write_imod(stem, poses.table, pixel, poses.image_shape, overwrite=request.overwrite)


def _relion(request: Request) -> list[Path]:
    poses, path = poses_of(request.run), request.path("poses.star")
    return [write_relion(path, poses.table, poses.names, overwrite=request.overwrite)]


def _aretomo(request: Request) -> list[Path]:
    poses, path = poses_of(request.run), request.path("poses.aln")
    if (phi := largest_phi(poses.table)) > LARGEST_PHI:
        log.warning(f"warning: AreTomo has no tilt about x; phi of up to {phi:.2f}° is left out")
    pixel = poses.square_pixel(path, "AreTomo")
    return [write_aretomo(path, poses.table, pixel, poses.image_shape, overwrite=request.overwrite)]


def _csv(request: Request) -> list[Path]:
    """Write every curve that the run has, into one folder."""
    tables = tables_of(request.run)
    if not tables:
        raise ProblemsError(request.run, ["there are no curves. Run `dptt reconstruct` or `dptt analyze` first."])
    folder = request.output or request.run / FOLDER
    paths = {folder / f"{name}.csv": columns for name, columns in tables.items()}
    for path in paths:
        refuse_existing_file(path, request.overwrite)
    prepare_folder(folder)
    return [write_csv(path, columns, overwrite=request.overwrite) for path, columns in paths.items()]


WRITERS: dict[str, Callable[[Request], list[Path]]] = {
    "mrc": _mrc,
    "tiff": _tiff,
    "zarr": _zarr,
    "xyz": _xyz,
    "cif": _cif,
    "pdb": _pdb,
    "imod": _imod,
    "relion": _relion,
    "aretomo": _aretomo,
    "csv": _csv,
}

"""One function a step. Each takes a series or the result of an earlier step, and does what its command does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dptt.commands.align import align as align_command
from dptt.commands.brightfield import brightfield as brightfield_command
from dptt.commands.ptycho import ptycho as ptycho_command
from dptt.commands.reconstruct import reconstruct as reconstruct_command
from dptt.commands.run import run as run_command
from dptt.interface.results import AlignedTilts, BrightField, Origin, Result, TiltImages
from dptt.interface.series import Series
from dptt.interface.settings import Tree, configuration, with_sections
from dptt.interface.volume import Reconstruction
from dptt.interface.workplace import Folder, working
from dptt.runtime.same_input import agreed_identity

Start = Series | Result
Values = Mapping[str, Any]
NO_SERIES = "series.h5"
"""Named by the configuration of an alignment whose projections another program made; there is no such file."""


def brightfield(start: Series, *, run: str | Path | None = None, **settings: Any) -> BrightField:
    """Estimate optics and scan orientation of every tilt from its bright disk, as `dptt brightfield` does.

    Parameters
    ----------
    start
        The series.
    run
        Folder of the results. If left out: the one of the configuration file that the series was read with, else a
        temporary one.
    settings
        Keys of the section `brightfield`.

    Raises
    ------
    ConfigError, BrightFieldError
        Settings are wrong, or no tilt could be evaluated.

    Examples
    --------
    >>> optics = dptt.brightfield(dptt.read("series.h5"))
    >>> sorted(optics.defocus)
    ['0000', '0001', '0002']
    """
    origin = _prepared("brightfield", start, run, {"brightfield": settings})
    with working(origin.config, "brightfield") as (communicator, _):
        brightfield_command(origin.config, agreed_identity("brightfield", origin.config, communicator), communicator)
    return BrightField(origin)


def ptychography(
    start: Series | BrightField,
    *,
    run: str | Path | None = None,
    volume: Values | None = None,
    distribution: Values | None = None,
    **settings: Any,
) -> TiltImages:
    """Reconstruct every tilt alone, for its probe, scan positions and projection, as `dptt ptycho` does.

    Parameters
    ----------
    start
        The series, or the result of `brightfield`, whose optics are then used.
    run
        Folder of the results; see `brightfield`.
    volume, distribution
        Keys of these sections.
    settings
        Keys of the section `ptychography`, such as ``epochs=20``.

    Raises
    ------
    ConfigError, ProblemsError
        Settings are wrong, or no tilt could be reconstructed.

    Examples
    --------
    >>> images = dptt.ptychography(dptt.read("series.h5"), epochs=1, volume={"thickness": 8})
    >>> images["0000"].projection.shape  # (y, x) [V Å]
    (44, 42)
    """
    sections = {"ptychography": settings, "volume": volume, "distribution": distribution}
    origin = _prepared("ptychography", start, run, sections)
    with working(origin.config, "ptycho") as (communicator, stop):
        ptycho_command(origin.config, communicator, stop=stop)
    return TiltImages(origin)


def align(start: TiltImages | None = None, *, run: str | Path | None = None, **settings: Any) -> AlignedTilts:
    """Align the projections of all tilts, for their poses and a linear volume, as `dptt align` does.

    Parameters
    ----------
    start
        The result of `ptychography`; None to align foreign projections.
    run
        Folder of the results; see `brightfield`.
    settings
        Keys of the section `alignment`; for foreign projections ``projections={"path": ..., "pixel_size": ...,
        "tilt_angles": ...}`` [Å, degrees].

    Raises
    ------
    ConfigError, AlignmentError
        Settings are wrong, or projections are missing or do not fit together.

    Examples
    --------
    >>> images = dptt.ptychography(dptt.read("series.h5"), epochs=1, volume={"thickness": 8})
    >>> dptt.align(images, translation_iterations=1, angles=False).euler_angles.shape  # (tilt, 3) [degrees]
    (3, 3)
    """
    origin = _prepared("align", start, run, {"alignment": settings})
    with working(origin.config, "align") as (communicator, _):
        align_command(origin.config, agreed_identity("alignment", origin.config, communicator), communicator)
    return AlignedTilts(origin)


def reconstruct(
    start: Start,
    *,
    run: str | Path | None = None,
    restart: bool = False,
    volume: Values | None = None,
    distribution: Values | None = None,
    analysis: Values | None = None,
    **settings: Any,
) -> Reconstruction:
    """Reconstruct the volume from the patterns of all tilts ([P] Algorithm 3), as `dptt reconstruct` does.

    Parameters
    ----------
    start
        The series, or the result of an earlier step: what it and those before it have found is used.
    run
        Folder of the results; see `brightfield`. An interrupted reconstruction in it is resumed.
    restart
        Discard an earlier reconstruction in that folder.
    volume, distribution, analysis
        Keys of these sections.
    settings
        Keys of the section `reconstruction`, such as ``epochs=20``.

    Raises
    ------
    ConfigError, ProblemsError
        Settings are wrong, the series cannot be reconstructed, or `run` holds a reconstruction with other settings.
    DivergedError, NonFiniteLossError
        The reconstruction failed.

    Examples
    --------
    >>> result = dptt.reconstruct(dptt.read("series.h5"), epochs=1, volume={"thickness": 8})
    >>> result.volume.shape, result.volume.dtype  # (z, y, x) [V]
    ((28, 44, 42), dtype('complex64'))
    """
    sections = {"reconstruction": settings, "volume": volume, "distribution": distribution, "analysis": analysis}
    origin = _prepared("reconstruct", start, run, sections)
    with working(origin.config, "reconstruct") as (communicator, stop):
        reconstruct_command(origin.config, communicator, restart=restart, stop=stop)
    return Reconstruction(origin)


def run(
    start: Series, *, run: str | Path | None = None, validated: bool = True, **sections: Values
) -> Reconstruction:
    """Do all steps, half-sets, analysis and report, as `dptt run` does; what is up to date is skipped.

    Parameters
    ----------
    start
        The series.
    run
        Folder of the results; see `brightfield`.
    validated
        Check the series first; what makes a reconstruction meaningless is then an error.
    sections
        Sections of the configuration: ``brightfield={}, ptychography={}, alignment={}`` for these steps,
        ``volume``, ``reconstruction``, ``analysis``, ``distribution`` for their settings.

    Raises
    ------
    ConfigError, ProblemsError
        From any step; the results of the steps before it are kept in `run`.

    Examples
    --------
    >>> series = dptt.read("series.h5")
    >>> result = dptt.run(series, volume={"thickness": 8}, reconstruction={"epochs": 1})
    >>> sorted(path.name for path in result.run.glob("*.html"))
    ['report.html']
    """
    origin = _prepared("run", start, run, sections)
    with working(origin.config, "run") as (communicator, stop):
        run_command(origin.config, communicator, stop, validated=validated)
    return Reconstruction(origin)


def _prepared(
    caller: str, start: Start | None, run: str | Path | None, sections: Mapping[str, Values | None]
) -> Origin:
    """Return the configuration of a step, and its folder with the results of the steps before it."""
    if not isinstance(start, Series | Result) and (start is not None or caller != "align"):
        raise TypeError(
            f"dptt.{caller} got {type(start).__name__}; expected a series, from dptt.read, or the result of a step"
        )
    before, named = _before(start)
    tree = with_sections(before, sections)
    configuration(tree, Path("run"), caller)  # if settings are wrong, no folder is made
    folder = Folder(named if run is None else Path(run))
    if isinstance(start, Result):
        folder.take_over(start.run)
    return Origin(configuration(tree, folder.path, caller), tree, folder, start)


def _before(start: Start | None) -> tuple[Tree, Path | None]:
    """Return the sections with which a step goes on, and the folder in which it does; None for a temporary one."""
    if isinstance(start, Result):
        return start.origin.tree, None if start.origin.folder.temporary else start.run
    return ({"series": NO_SERIES}, None) if start is None else (start.tree, start.run)

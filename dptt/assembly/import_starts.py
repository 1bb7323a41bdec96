"""Results of other programs as the starts of the tilts: their pixels as Å, by the calibration of the patterns."""

import math

from dptt.assembly.import_sources import Sources, files_of
from dptt.assembly.import_sources.sources import SAME
from dptt.config.importing import ImportConfig
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource, TiltStart
from dptt.io.importers.foreign_array import refuse_useless
from dptt.io.importers.reconstructions import Reconstruction, read_reconstruction
from dptt.io.series_data import EarlierPhase
from dptt.physics.electron import wavelength


def read_starts(options: ImportConfig, sources: Sources) -> tuple[TiltStart, ...]:
    """Return the start of every tilt, none if the configuration names no result files.

    Raises
    ------
    ImportDescriptionError
        A file cannot be read, or has pixels of another size than the patterns give: all are listed.
    """
    files, problems = files_of(options.start or [])
    starts = []
    for entry in files:
        try:
            result = read_reconstruction(entry.path)
            refuse_useless(
                ArraySource(entry.path, entry.dataset, entry.selection),
                f"a result of {result.kind}",
                "dataset",
                "index",
            )
            starts.append(_start(result, options, sources))
        except ImportDescriptionError as failure:
            problems += [f"{failure.subject}: {problem}" for problem in failure.problems]
        except ValueError as failure:
            problems.append(f"{entry.path}: {failure}")
    if problems:
        raise ImportDescriptionError("import.start", problems)
    return tuple(starts)


def _start(result: Reconstruction, options: ImportConfig, sources: Sources) -> TiltStart:
    """Return the start, with positions in Å: a pixel is the wavelength over the angle that the patterns cover."""
    length = wavelength(sources.values["energy"])
    angles = sources.values["detector.angular_sampling"]
    pixels = [
        1e3 * length / (count * angle * bins)
        for count, angle, bins in zip(result.probe.shape[1:], angles, options.detector.binning, strict=True)
    ]
    told = result.pixel_size
    if told is not None and not all(math.isclose(told, pixel, rel_tol=SAME) for pixel in pixels):
        raise ValueError(
            f"{result.kind} has pixels of {told:.5g} Å, and the calibration of the patterns gives ({pixels[0]:.5g}, "
            f"{pixels[1]:.5g}) Å. Correct import.detector.angular_sampling, or crop and bin the patterns alike."
        )
    phase = None
    if result.phase is not None:
        phase = EarlierPhase(result.kind, result.phase, (pixels[0], pixels[1]), result.axis)
    return TiltStart(result.probe, result.positions * pixels, phase)

"""The published data of [P] as the description of a series, with probes, positions and poses as starts."""

from dataclasses import replace

from dptt.assembly.import_sources import Sources
from dptt.config import expand_path
from dptt.config.importing import ImportConfig
from dptt.io.importers import recognise
from dptt.io.importers.description import ListedPositions, SeriesDescription
from dptt.io.importers.formats.foreign_data import shown
from dptt.io.importers.zenodo13060513 import ENERGY, SEMIANGLE_CUTOFF, PublishedSeries, find_published
from dptt.physics.electron import wavelength


def read_published(options: ImportConfig) -> tuple[Sources, PublishedSeries]:
    """Return what the published files say, in the form of any other import, and the series itself.

    Raises
    ------
    ImportDescriptionError
        Files are missing, or do not belong together.
    """
    series = find_published(expand_path(str(options.folder)), options.tilts, options.iterations)
    first = recognise(series.patterns[0].path, series.patterns[0].dataset)
    energy = options.energy or ENERGY
    steps = tuple(2e3 * series.k_max * wavelength(energy) / pixels for pixels in first.shape[-2:])
    values = {
        "axes": ("scan_y", "scan_x", "ky", "kx"),
        "energy": energy,
        "semiangle_cutoff": options.semiangle_cutoff or SEMIANGLE_CUTOFF,
        "scan.step": None,
        "detector.angular_sampling": options.detector.angular_sampling or steps,
        "tilt_angles": tuple(float(theta) for theta in series.euler_angles[:, 1]),
    }
    said = [f"{len(series.numbers)} tilts: {', '.join(map(str, series.numbers))}"]
    said += [f"from the paper: {name} {shown(values[name])}" for name in ("energy", "semiangle_cutoff")]
    said.append(f"from the file: detector.angular_sampling {shown(steps)} mrad (k_max {series.k_max:g} 1/Å)")
    said.append("from the files: probes, scan positions, Euler angles and translations, as starts")
    warnings = []
    if series.left_out > 1.0:
        warnings.append(
            f"translations of up to {series.left_out:.1f} Å along the beam are left out: they act as a "
            "defocus. Refine the probe."
        )
    return Sources(list(series.patterns), [first], values, said, warnings), series


def with_starts(description: SeriesDescription, series: PublishedSeries) -> SeriesDescription:
    """Return a description of the patterns with the probes, positions and poses of their reconstructions."""
    return replace(
        description,
        scan=published_positions(series),
        probes=series.probes,
        phi=tuple(float(angle) for angle in series.euler_angles[:, 0]),
        psi=tuple(float(angle) for angle in series.euler_angles[:, 2]),
        translations=tuple((float(y), float(x)) for y, x in series.translations),
    )


def published_positions(series: PublishedSeries) -> ListedPositions:
    """Return the positions, which are stored as (x, y).

    Their volume is turned about its middle, index (n - 1) / 2, and pixel n // 2 of a window lies at index n / 2 plus
    its position: half a pixel further from the axis of rotation than the position says.
    """
    half_pixel = 1 / (4 * series.k_max)
    swap = ((0.0, 1.0), (1.0, 0.0))
    return ListedPositions(series.positions, centre=(-half_pixel, -half_pixel), matrix=swap)

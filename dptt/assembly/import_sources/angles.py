"""The stage angles: from the configuration, a table, the files, or their names."""

from collections.abc import Iterator

from dptt.assembly.import_sources.sources import Sources, contradiction
from dptt.config import expand_path
from dptt.config.foreign_arrays import AnglesInNames, ArrayConfig
from dptt.config.importing import ImportConfig
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource
from dptt.io.importers.tilt_tables import angles_in_names, angles_in_table


def settle_angles(options: ImportConfig, sources: Sources) -> Iterator[str]:
    """Settle the stage angles; yield that they are missing."""
    paths = [entry.path for entry in sources.recognised]
    told = options.tilt_angles
    one_each = "tilt" not in sources.values.get("axes", ())
    measured = [entry.metadata.tilt_angle for entry in sources.recognised]
    angles: list[float] | None = None
    origin = "the files"
    try:
        if isinstance(told, AnglesInNames):
            angles, origin = angles_in_names(paths, told.file_name), "the names of the files"
        elif isinstance(told, ArrayConfig):
            source = ArraySource(str(expand_path(told.path)), told.dataset, told.selection)
            angles, origin = angles_in_table(source, paths), told.path
        elif told is not None:
            angles, origin = list(told), ""
        elif one_each and None not in measured:
            angles = [float(angle) for angle in measured if angle is not None]
        elif one_each:
            angles, origin = angles_in_names(paths), "the names of the files"
    except ImportDescriptionError as failure:
        yield from (f"tilt_angles: {failure.subject}: {problem}" for problem in failure.problems)
        return
    if angles is None:
        yield (
            "tilt_angles [degrees] is missing: neither the configuration, nor the files and their names say it. Set "
            "import.tilt_angles to a list, to a file of angles, or to {file_name: NAME_WITH_{angle}}."
        )
        return
    sources.values["tilt_angles"] = tuple(angles)
    if origin and one_each and len(angles) == len(paths):
        pairs = ", ".join(f"{path.name} {angle:g}" for path, angle in zip(paths, angles, strict=True))
        sources.said.append(f"tilt_angles from {origin}: {pairs}")
    if told is not None and one_each and len(angles) == len(measured):
        if isinstance(told, list) and not any(angle is not None for angle in measured):
            measured = [*(angles_in_names(paths) or measured)]
        pairs_of_angles = [(a, m) for a, m in zip(angles, measured, strict=True) if m is not None]
        apart = [(angle, other) for angle, other in pairs_of_angles if abs(angle - other) > 0.5]
        if apart:
            sources.warnings.append(contradiction("tilt_angles", apart[0][0], apart[0][1], "degrees"))

"""Energy, aperture, scan step and angle between pixels: from the configuration, else from the files."""

from collections.abc import Iterator
from typing import Any

from dptt.assembly.import_sources.sources import Sources, contradiction, first, same
from dptt.config.importing import ImportConfig
from dptt.io.importers.formats.foreign_data import shown
from dptt.physics.electron import wavelength


def settle_calibration(options: ImportConfig, sources: Sources) -> Iterator[str]:
    """Settle energy, aperture, step and angle between pixels; yield what is missing."""
    metadata = [entry.metadata for entry in sources.recognised]
    told = {
        "energy": options.energy,
        "semiangle_cutoff": options.semiangle_cutoff,
        "scan.step": options.scan.step,
        "detector.angular_sampling": options.detector.angular_sampling,
    }
    energy = options.energy or first([entry.energy for entry in metadata])
    length = None if energy is None else wavelength(energy)
    from_files: dict[str, list[Any]] = {
        "energy": [entry.energy for entry in metadata],
        "semiangle_cutoff": [entry.semiangle_cutoff for entry in metadata],
        "scan.step": [entry.scan_step for entry in metadata],
        "detector.angular_sampling": [entry.angles_at(length) for entry in metadata],
    }
    units = {"energy": "eV", "scan.step": "Å", "semiangle_cutoff": "mrad", "detector.angular_sampling": "mrad"}
    if options.scan.positions or options.start:  # a step would say nothing more
        del units["scan.step"]
        sources.values["scan.step"] = options.scan.step
    for name, unit in units.items():
        value = first(from_files[name])
        different = [other for other in from_files[name] if other is not None and not same(value, other)]
        if told[name] is not None:
            if value is not None and not same(told[name], value):
                sources.warnings.append(contradiction(name, told[name], value, unit))
            value = told[name]
        elif different:
            yield (
                f"{name} is {shown(value)} {unit} in one file and {shown(different[0])} {unit} in another; expected "
                f"one value. Set import.{name}, or import the files separately."
            )
        elif value is not None:
            sources.said.append(f"from the file: {name} {shown(value)} {unit}")
        else:
            yield f"{name} [{unit}] is missing: neither the configuration nor the file says it. Set import.{name}."
        sources.values[name] = value
    sources.said += [
        f"from the file: {sentence}"
        for sentence in metadata[0].sentences()
        if sentence.partition(" ")[0]
        not in ("energy", "semiangle_cutoff", "scan_step", "angular_sampling", "tilt_angle")
    ]

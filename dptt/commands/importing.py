"""`dptt import`: arrays of any detector -> one calibrated tilt series."""

import json
import secrets
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dptt.assembly.import_published import read_published, with_starts
from dptt.assembly.import_sources import Sources, read_sources
from dptt.assembly.importing import build_description, build_truth
from dptt.config import Config, ConfigError, config_yaml
from dptt.config.importing import ImportConfig
from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.partition import block_range
from dptt.io.dataset_writer import tilt_name, write_tilt_series, write_tilts
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.arrays import (
    check_description,
    header_of,
    import_arrays,
    number_of_tilts,
    read_tilts,
    remarks_on,
)
from dptt.io.importers.description import SeriesDescription
from dptt.io.importers.negative_counts import NegativeCounts
from dptt.io.series_data import StoredTilt
from dptt.io.truth import Truth
from dptt.logs import log, progress_bar
from dptt.runtime.agreement import failing_together, on_first_rank
from dptt.runtime.run_folder import writing_series
from dptt.runtime.shared_folder import refuse_missing


def import_series(config: Config, overwrite: bool = False, communicator: Communicator | None = None) -> None:
    """Write the series that `config.import_` describes to `config.series`; the ranks share the tilts.

    Raises
    ------
    ConfigError
        There is no `import` section.
    ImportDescriptionError
        The description does not fit the arrays (all problems are listed, before any pattern is read), or there are
        negative counts.
    FileExistsError
        The series exists and `overwrite` is false.
    ProblemsError
        Another command is writing the series, or its folder is not writable.
    """
    settings, ranks = config.import_, communicator or SerialCommunicator()
    if settings is None:
        raise ConfigError("the configuration has no `import` section. Add one to import a series")
    with writing_series(config.series, "import", overwrite, ranks):
        _import(config, settings, overwrite, ranks)


def _import(config: Config, settings: ImportConfig, overwrite: bool, ranks: Communicator) -> None:
    description, sources = _described(config, settings)
    if ranks.rank == 0:
        for line in sources.said:
            log.info(line)
        _warn(sources.warnings)
    if ranks.size == 1:
        with progress_bar("import", "pattern") as progress:
            remarks = import_arrays(
                description,
                config.series,
                progress=progress.update,
                overwrite=overwrite,
                truth=_truth(settings),
            )
    else:
        remarks = _import_together(config, settings, description, ranks, overwrite)
    if ranks.rank == 0:
        _warn(remarks)
    log.info(f"wrote {config.series} ({config.series.stat().st_size / 2**20:.1f} MiB)")


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        log.warning(f"warning: {warning}")


def _described(config: Config, settings: ImportConfig) -> tuple[SeriesDescription, Sources]:
    if settings.kind == "arrays":
        sources = read_sources(settings)
        return build_description(settings, config_yaml(config), sources), sources
    sources, published = read_published(settings)
    return with_starts(build_description(settings, config_yaml(config), sources), published), sources


def _truth(settings: ImportConfig) -> Truth | None:
    return None if settings.truth is None else build_truth(settings.truth, settings.tilt_sign)


def _import_together(
    config: Config, settings: ImportConfig, description: SeriesDescription, ranks: Communicator, overwrite: bool
) -> list[str]:
    """Let every rank write a block of the tilts to a file beside the series, which rank 0 then joins."""
    check_description(description, config.series)
    count = number_of_tilts(description)
    mark = on_first_rank(ranks, lambda: secrets.token_hex(4))

    def part(rank: int) -> Path:
        series = config.series
        return series.with_name(f".{series.name}.{mark}-rank{rank}.partial{series.suffix}")

    negative = NegativeCounts(settings.negative)
    try:
        with failing_together(ranks, config.series, ImportDescriptionError), ranks.working("importing its tilts"):
            with progress_bar(f"import, rank 0 of {ranks.size}", "pattern", ranks.rank) as progress:
                own = block_range(count, ranks.size, ranks.rank)
                tilts = read_tilts(description, config.series, negative, progress.update, own=own)
                write_tilts(part(ranks.rank), tilts)
        tallies = [json.loads(tally) for tally in ranks.gather_messages(json.dumps(asdict(negative)))]

        def join() -> None:
            owners = [rank for rank in range(ranks.size) for _ in block_range(count, ranks.size, rank)]
            stored = [StoredTilt(part(rank), tilt_name(number)) for number, rank in enumerate(owners)]
            missing = [number for number, tilt in enumerate(stored) if not Path(tilt.path).exists()]
            refuse_missing(config.series, missing, count, "imported")
            write_tilt_series(config.series, header_of(description), stored, _truth(settings), overwrite=overwrite)

        on_first_rank(ranks, join)
    finally:
        with suppress(OSError):
            part(ranks.rank).unlink()
    together = NegativeCounts(settings.negative)
    for tally in tallies:
        together.add(NegativeCounts(**tally))
    return remarks_on(description, together)

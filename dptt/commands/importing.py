"""`dptt import`: arrays of any detector -> one calibrated tilt series."""

from dptt.assembly.import_published import read_published, with_starts
from dptt.assembly.import_sources import read_sources
from dptt.assembly.importing import build_description, build_truth
from dptt.config import Config, ConfigError, config_yaml
from dptt.config.importing import ImportConfig
from dptt.io.importers.arrays import import_arrays
from dptt.logs import log, progress_bar
from dptt.runtime.run_folder import writing_series


def import_series(config: Config, overwrite: bool = False) -> None:
    """Write the series that `config.import_` describes to `config.series`.

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
    settings = config.import_
    if settings is None:
        raise ConfigError("the configuration has no `import` section. Add one to import a series")
    with writing_series(config.series, "import", overwrite):
        _import(config, settings, overwrite)


def _import(config: Config, settings: ImportConfig, overwrite: bool) -> None:
    if settings.kind == "arrays":
        sources, published = read_sources(settings), None
    else:
        sources, published = read_published(settings)
    for line in sources.said:
        log.info(line)
    for warning in sources.warnings:
        log.warning(f"warning: {warning}")
    truth = None if settings.truth is None else build_truth(settings.truth, settings.tilt_sign)
    description = build_description(settings, config_yaml(config), sources)
    with progress_bar("import", "pattern") as progress:
        remarks = import_arrays(
            description if published is None else with_starts(description, published),
            config.series,
            progress=progress.update,
            overwrite=overwrite,
            truth=truth,
        )
    for remark in remarks:
        log.warning(f"warning: {remark}")
    log.info(f"wrote {config.series} ({config.series.stat().st_size / 2**20:.1f} MiB)")

"""`dptt example`: example series to try dptt on, and the configurations, jobs and structures that come with it."""

import re
import shutil
import tempfile
from pathlib import Path

from dptt.assembly.simulation import unit_cells
from dptt.commands.simulate import simulate
from dptt.config import ConfigError, load_config
from dptt.config.schema import NAME, schema_text
from dptt.config.settings import nearest_setting
from dptt.io.atomic_write import replace_bytes, replace_text
from dptt.io.dataset import TiltSeries
from dptt.io.exporters.foreign_series import write_empad, write_numpy
from dptt.logs import log
from dptt.runtime.folders import prepare_folder
from dptt.runtime.shipped import shipped_configurations, shipped_examples, shipped_folder, summary_of

FOREIGN = {
    "empad": "the particle as 13 raw files of an EMPAD and a list of angles, for `dptt init`",
    "numpy": "the particle as 13 .npy files with angles in their names, for `dptt init`",
}
FILES = {
    "structures": "unit cells of the configurations as CIF files",
    "jobs": "job scripts for SLURM, with all configurations",
}


def example(name: str | None, output: Path | None = None, *, overwrite: bool = False) -> None:
    """Make the example `name` in the folder `output`, or list all examples.

    Raises
    ------
    ConfigError
        There is no such example.
    FileExistsError
        The folder, or the file, exists and `overwrite` is false.
    """
    examples, configurations = shipped_examples(), shipped_configurations()
    if name is None:
        print(_listing(examples, configurations))
    elif name in examples:
        _make_series(examples[name], _new(output or Path(name), overwrite))
    elif name in FOREIGN:
        _make_foreign(name, examples["particle"], _new(output or Path(name), overwrite))
    elif name in configurations:
        target = _new((output or Path()) / configurations[name].name, overwrite)
        prepare_folder(target.parent, target)
        replace_bytes(target, configurations[name].read_bytes())
        replace_text(target.with_name(NAME), schema_text())
        log.info(f"wrote {target}; next: `dptt run {target}`")
    elif name == "structures":
        folder = _new(output or Path(name), overwrite)
        prepare_folder(folder)
        for file in unit_cells().values():
            replace_bytes(folder / file.name, file.read_bytes())
        log.info(f"wrote {folder}: {', '.join(unit_cells())}")
    elif name == "jobs":
        folder = _new(output or Path(name), overwrite)
        for file in sorted(path for path in shipped_folder().rglob("*") if path.is_file()):
            target = folder / file.relative_to(shipped_folder())
            prepare_folder(target.parent, target)
            replace_bytes(target, file.read_bytes())
            shutil.copymode(file, target)
        log.info(f"wrote {folder}; see {folder / 'README.md'}")
    else:
        known = [*examples, *FOREIGN, *FILES, *configurations]
        similar = nearest_setting(name, known)
        hint = f"did you mean {similar}?" if similar else "`dptt example` lists them"
        raise ConfigError(f"there is no example {name!r}; {hint}")


def _listing(examples: dict[str, Path], configurations: dict[str, Path]) -> str:
    groups: dict[str, dict[str, str]] = {
        "Series to try (dptt example NAME makes one in the folder NAME):": {
            **{name: summary_of(file) for name, file in examples.items()},
            **FOREIGN,
        },
        "Configurations (dptt example NAME writes NAME.yaml):": {
            name: summary_of(file) for name, file in configurations.items()
        },
        "Files:": FILES,
    }
    width = max(len(name) for entries in groups.values() for name in entries)
    return "\n".join(
        line
        for title, entries in groups.items()
        for line in (title, *(f"  {name:{width}}  {text}" for name, text in entries.items()), "")
    ).rstrip()


def _new(path: Path, overwrite: bool) -> Path:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another folder with -o, or give --overwrite to write into it")
    return path


def _make_series(source: Path, folder: Path) -> Path:
    """Write the configuration into `folder`, simulate its series there, and return the configuration."""
    prepare_folder(folder)
    target = folder / source.name
    text = re.sub(
        rf"^(series|run): {source.stem}/", rf"\1: {folder.as_posix()}/", source.read_text("utf-8"), flags=re.M
    )
    replace_text(target, text)
    replace_text(folder / NAME, schema_text())
    simulate(load_config(target), overwrite=True)
    log.info(f"wrote {target}; next: `dptt run {target}`")
    return target


def _make_foreign(name: str, source: Path, folder: Path) -> None:
    """Write a simulated series into `folder` as another program would, and how to go on."""
    prepare_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".simulation-") as scratch:
        config = load_config(source, [f"series={Path(scratch) / 'series.h5'}", f"run={scratch}"])
        simulate(config)
        with TiltSeries.open(config.series) as series:
            binning = (1, 1)
            if name == "empad":
                binning = write_empad(folder, series)
            else:
                write_numpy(folder, series)
            y, x = (angle / factor for angle, factor in zip(series.angular_sampling, binning, strict=True))
            answers = {
                "import.energy": f"{series.energy:g}",
                "import.semiangle_cutoff": f"{series.semiangle_cutoff:g}",
                "import.aberrations.defocus": "100",
                "import.scan.step": "0.9",
                "import.detector.angular_sampling": f"{y:.6g}" if abs(y - x) < 1e-9 else f"[{y:.6g}, {x:.6g}]",
                **({"import.detector.binning": str(binning[0])} if binning != (1, 1) else {}),
                "volume.thickness": "16",
            }
    words = " ".join(f"{setting}={value}" for setting, value in answers.items())
    log.info(f"wrote {folder}. What the microscopist knows of it:\n  dptt init {folder} {words}")

"""Where a series comes from: its file, the configuration of a run, arrays of another program, or a simulation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from dptt.commands.importing import import_series
from dptt.commands.run import make_series
from dptt.commands.simulate import simulate as write_simulation
from dptt.config import Config, ConfigError, literal_path, load_config
from dptt.interface.series import Series
from dptt.interface.settings import Tree, configuration, plain
from dptt.interface.workplace import Folder, working
from dptt.io.dataset_structure import FORMAT

Source = str | Path | Mapping[str, Any]
Values = Mapping[str, Any]


def read(source: Source | list[Source], *, series: str | Path | None = None, **settings: Any) -> Series:
    """Return the tilt series in a file, whatever wrote it.

    Parameters
    ----------
    source
        - A series file of dptt.
        - A configuration, ``*.yaml``: its series, made first if it has a section `simulation` or `import` and the
          series is not up to date. All other sections become the settings of the steps.
        - Arrays of another program: one file, a list of files, or mappings with the keys of `import.data`.
    series
        Where to write the series that is imported from arrays; a temporary file if left out.
    settings
        Keys of the section `import`, for arrays: `axes`, `tilt_angles` [degrees], `energy` [eV], `semiangle_cutoff`
        [mrad], `scan`, `detector`, ...

    Raises
    ------
    ConfigError
        Settings are wrong or missing, or settings come with a source that takes none.
    DatasetError, ImportDescriptionError
        The file cannot be read, or the settings do not fit the arrays; with all problems.
    FileExistsError
        `series` exists.

    Examples
    --------
    >>> dptt.read("series.h5")
    Series series.h5: 3 tilts from -20° to 35°, 126 patterns of 16 x 14 pixels, 300 keV, 21 mrad

    Arrays, here one file a tilt:

    >>> import numpy as np
    >>> for name in ("a", "b", "c"):
    ...     np.save(f"{name}.npy", np.full((5, 6, 16, 16), 3, np.uint8))
    >>> dptt.read(
    ...     ["a.npy", "b.npy", "c.npy"],
    ...     axes=["scan_y", "scan_x", "ky", "kx"],
    ...     tilt_angles=[-30, 0, 30],  # degrees
    ...     energy=300e3,  # eV
    ...     semiangle_cutoff=21,  # mrad
    ...     scan={"step": 0.9},  # Å
    ...     detector={"angular_sampling": 1.5},  # mrad a pixel
    ...     series="abc.h5",
    ... )
    Series abc.h5: 3 tilts from -30° to 30°, 90 patterns of 16 x 16 pixels, 300 keV, 21 mrad
    """
    path = Path(source) if isinstance(source, str | Path) else None
    if path is not None and path.suffix in (".yaml", ".yml"):
        _refuse_settings(settings, series, f"the configuration {path}")
        return _configured(path)
    if path is not None and not settings and _is_series(path):
        _refuse_settings(settings, series, f"the series {path}")
        return Series({"series": literal_path(path)})
    sources = source if isinstance(source, list) else [source]
    data = [entry if isinstance(entry, Mapping) else {"path": plain(entry)} for entry in sources]
    return _written("read", {"import": {"data": data, **settings}}, series, import_series)


def simulate(*, series: str | Path | None = None, volume: Values | None = None, **settings: Any) -> Series:
    """Simulate a tilt series with known truth, as `dptt simulate` does.

    Parameters
    ----------
    series
        Where to write it; a temporary file if left out.
    volume
        Keys of the section `volume`: the grid of the true potential, and of later reconstructions.
    settings
        Keys of the section `simulation`: `specimen`, `microscope`, `scan`, `tilts`, `fluence` [e/Å²], ...

    Raises
    ------
    ConfigError
        Settings are wrong or missing; all are listed.
    FileExistsError
        `series` exists.

    Examples
    --------
    >>> dptt.simulate(
    ...     specimen={"kind": "nanoparticle", "element": "Au", "diameter": 5},  # Å
    ...     microscope={
    ...         "energy": 300e3,  # eV
    ...         "semiangle_cutoff": 21,  # mrad
    ...         "detector_shape": [12, 12],
    ...         "largest_angle": 24,  # mrad
    ...     },
    ...     scan={"shape": [5, 5], "step": 1.5},  # Å
    ...     tilts={"angles": [-30, 0, 30]},  # degrees
    ...     fluence=1e5,  # electrons per Å²
    ...     volume={"thickness": 9},  # Å
    ...     series="gold.h5",
    ... )
    Series gold.h5: 3 tilts from -30° to 30°, 75 patterns of 12 x 12 pixels, 300 keV, 21 mrad
    """
    sections: Tree = {"simulation": settings}
    return _written("simulate", sections | ({} if volume is None else {"volume": volume}), series, write_simulation)


def _is_series(path: Path) -> bool:
    """Return whether a file is, or was before it was damaged, a series of dptt; a file that is missing counts too."""
    try:
        with h5py.File(path) as file:
            kind = file.attrs.get("format", b"")
            return (kind.decode() if isinstance(kind, bytes) else kind) == FORMAT
    except FileNotFoundError:
        return True
    except Exception:  # whatever damage makes HDF5 and h5py raise; reading it as a series says what is wrong
        return bool(path.is_file() and h5py.is_hdf5(path))


def _refuse_settings(settings: Values, series: str | Path | None, source: str) -> None:
    names = [*settings, *(["series"] if series is not None else [])]
    if names:
        raise ConfigError(
            f"dptt.read: {source} takes no settings, got {', '.join(names)}. Leave them out: they describe arrays of "
            "another program"
        )


def _configured(path: Path) -> Series:
    config = load_config(path)
    if config.import_ is not None or config.simulation is not None or not config.series.exists():
        with working(config, "read"):
            make_series(config)
    tree = config.model_dump(mode="json")
    return Series({name: value for name, value in tree.items() if name != "run"}, config.run)


def _written(caller: str, sections: Tree, series: str | Path | None, write: Any) -> Series:
    """Return the series that `write` makes of the `sections`, which then belong to its settings."""
    folder = Folder() if series is None else None
    path = Path(series) if folder is None else folder.path / "series.h5"  # type: ignore[arg-type]
    tree = plain({"series": path, **sections})
    config: Config = configuration(tree, path.parent, caller)
    write(config)
    return Series(tree, folder=folder)

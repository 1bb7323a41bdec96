"""Where a result comes from: versions, input, command, configuration."""

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from dptt import __version__
from dptt.config import Config, config_yaml

PACKAGES = ("torch", "numpy", "scipy", "h5py", "ase", "gemmi")


def versions() -> dict[str, str]:
    """Return the versions of dptt, Python and the numerical packages."""
    numbers = {"dptt": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    return numbers


def provenance(config: Config, series_checksum: str = "") -> dict[str, str]:
    """Return the attributes that every output file carries."""
    attributes = {f"version_{package}": number for package, number in versions().items()}
    attributes["config"] = config_yaml(config)
    attributes["command"] = " ".join(["dptt", *sys.argv[1:]])
    attributes["created"] = now()
    if series_checksum:
        attributes["series_checksum"] = series_checksum
    return attributes


def now() -> str:
    """Return the time as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Check, before ranks work together, that they all have the same version, configuration and series.

An outdated copy of the configuration or of the series on one host would not stop a run. It would make its result
wrong.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

from dptt import __version__
from dptt.config import Config
from dptt.distributed.comm import Communicator
from dptt.distributed.launch import LaunchError
from dptt.io.dataset import TiltSeries
from dptt.io.errors import DatasetError
from dptt.runtime.steps import current_identity

MAY_DIFFER = "series"
"""Each host may keep its copy of the series at a path of its own."""
MAX_SHOWN = 5


def check_same_settings(config: Config, communicator: Communicator) -> None:
    """Raise unless all ranks run the same version with the same configuration; the path of `series` may differ.

    Raises
    ------
    LaunchError
        On every rank: which ranks differ in what.
    """
    settings = config.model_dump(mode="json") | {MAY_DIFFER: "", "run": str(config.run.absolute())}
    own = {"version of dptt": __version__, **dict(_flat(settings))}
    _check_same(own, communicator, "Start every rank with the same configuration, overrides and installation")


def check_same_series(config: Config, checksum: str, communicator: Communicator) -> None:
    """Raise unless `checksum`, of the series or of something that depends on it, is the same on all ranks.

    Raises
    ------
    LaunchError
        On every rank: which ranks differ.
    """
    cure = f"Copy the same {config.series.name} to every host, or keep one where all hosts can read it"
    _check_same({"a series with the checksum": checksum[:16]}, communicator, cure)


def check_series_everywhere(config: Config, communicator: Communicator) -> None:
    """Raise if some ranks can read the series and others cannot, which decides it before anything is created.

    Raises
    ------
    LaunchError
        On every rank: which ranks differ.
    """
    if communicator.size > 1:
        cure = f"Copy {config.series.name} to every host, or keep it where all hosts can read it"
        _check_same({"the file `series`": _state(config)}, communicator, cure)


def _state(config: Config) -> str:
    try:
        with TiltSeries.open(config.series, leave_out_bad_tilts=True):
            return "readable"
    except DatasetError as error:
        return error.problems[0]


def agreed_identity(step: str, config: Config, communicator: Communicator) -> str:
    """Return the identity of `step` with the series as it is now, after checking that all ranks have the same."""
    identity = current_identity(step, config)
    check_same_series(config, identity, communicator)
    return identity


def _check_same(own: dict[str, Any], communicator: Communicator, cure: str) -> None:
    if communicator.size == 1:
        return
    by_rank = [json.loads(m) for m in communicator.gather_messages(json.dumps([socket.gethostname(), own]))]
    first_host, expected = by_rank[0]
    differences = [
        f"rank {rank} (host {host}) has {name} = {_shown(settings, name)}, "
        f"rank 0 (host {first_host}) has {_shown(expected, name)}"
        for rank, (host, settings) in enumerate(by_rank)
        for name in {**expected, **settings}
        if settings.get(name) != expected.get(name)
    ]
    if differences:
        more = f"; and {len(differences) - MAX_SHOWN} more" if len(differences) > MAX_SHOWN else ""
        raise LaunchError(f"the ranks do not have the same input: {'; '.join(differences[:MAX_SHOWN])}{more}. {cure}")


def _shown(settings: dict[str, Any], name: str) -> str:
    return json.dumps(settings[name]) if name in settings else "none"


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of nested sections by their dotted names."""
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

"""Before ranks work together: whether all were given the same.

A stale copy of the configuration or of the series on one host would not stop a run, only make its result wrong.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

from dptt import __version__
from dptt.config import Config
from dptt.distributed.comm import Communicator
from dptt.distributed.launch import LaunchError

MAY_DIFFER = "series"
"""A host may have a copy of the series in a place of its own."""
MOST_SHOWN = 5


def check_same_choices(config: Config, communicator: Communicator) -> None:
    """Raise unless all ranks run the same version with the same configuration, whose `series` may be elsewhere.

    Raises
    ------
    LaunchError
        On every rank: which ranks differ in what.
    """
    choices = config.model_dump(mode="json") | {MAY_DIFFER: "", "run": str(config.run.absolute())}
    found = {"version of dptt": __version__, **dict(_flat(choices))}
    _check_same(found, communicator, "Give every rank the same configuration, overrides and installation")


def check_same_series(config: Config, checksum: str, communicator: Communicator) -> None:
    """Raise unless `checksum`, that of the series or of what was made of it, is the same on all ranks.

    Raises
    ------
    LaunchError
        On every rank: which ranks differ.
    """
    cure = f"Copy the same {config.series.name} to every host, or keep one where all hosts can read it"
    _check_same({"a series with the checksum": checksum[:16]}, communicator, cure)


def _check_same(found: dict[str, Any], communicator: Communicator, cure: str) -> None:
    if communicator.size == 1:
        return
    given = [json.loads(m) for m in communicator.gather_messages(json.dumps([socket.gethostname(), found]))]
    host, expected = given[0]
    differences = [
        f"rank {rank} (host {other_host}) has {name} = {_shown(other, name)}, "
        f"rank 0 (host {host}) has {_shown(expected, name)}"
        for rank, (other_host, other) in enumerate(given)
        for name in {**expected, **other}
        if other.get(name) != expected.get(name)
    ]
    if differences:
        more = f"; and {len(differences) - MOST_SHOWN} more" if len(differences) > MOST_SHOWN else ""
        raise LaunchError(f"the ranks were not given the same: {'; '.join(differences[:MOST_SHOWN])}{more}. {cure}")


def _shown(choices: dict[str, Any], name: str) -> str:
    return json.dumps(choices[name]) if name in choices else "none"


def _flat(section: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the choices of nested sections by their dotted names."""
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value

"""The steps of a run and the settings on which each depends: whether a result is up to date.

The identity of a step is a hash of the settings that shape its result and of the identities of the steps before it
([P] figure 1). Every result stores its identity, so that a changed setting repeats exactly the steps that depend on
it.
"""

import hashlib
import json
from typing import Any

from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.hdf5_file import reading, text

SECTIONS: dict[str, tuple[str, ...]] = {
    "brightfield": ("brightfield",),
    "ptychography": ("ptychography", "volume"),
    "alignment": ("alignment",),
    "reconstruction": ("reconstruction", "volume"),
    "atoms": ("atoms",),
}
"""Step -> sections of the configuration that shape its result, besides those of the steps before it."""
OPTIONAL = ("brightfield", "ptychography", "alignment")
"""Steps that run only if the configuration has their section."""
MAY_CHANGE = ("epochs", "chunk_memory", "data_memory")
"""Settings of `reconstruction` that do not affect completed epochs: a run continues if they change."""
NEVER_MATTERS = ("chunk_memory", "data_memory")
"""Settings that do not affect any result."""
TRACING = ("min_separation", "atom_threshold")
"""Settings of `analysis` that shape the atoms with which `dptt atoms` starts."""


def steps_of(config: Config) -> list[str]:
    """Return the steps of `config`, in order."""
    before = [step for step in OPTIONAL if getattr(config, step) is not None]
    return [*before, "reconstruction", *(["atoms"] if config.atoms is not None and config.half is None else [])]


def step_settings(step: str, config: Config, checksum: str) -> dict[str, Any]:
    """Return what shapes the result of `step`: its sections, the series, and the identities of earlier steps."""
    document = config.model_dump(mode="json")
    before = [other for other in steps_of(config) if list(SECTIONS).index(other) < list(SECTIONS).index(step)]
    settings: dict[str, Any] = {section: _without(document[section], NEVER_MATTERS) for section in SECTIONS[step]}
    if config.half is not None and step != "brightfield":
        settings["half"] = config.half
    if step == "ptychography":
        settings["exclude"] = config.reconstruction.exclude
    if step == "alignment":
        settings["thickness"] = config.volume.thickness
    if step == "reconstruction":
        settings["reconstruction"] = _without(settings["reconstruction"], MAY_CHANGE)
    if step == "atoms":
        settings["epochs"] = config.reconstruction.epochs
        settings["tracing"] = {name: document["analysis"][name] for name in TRACING}
    return {
        "series": checksum,
        **settings,
        "after": {other: step_identity(other, config, checksum) for other in before},
    }


def step_identity(step: str, config: Config, checksum: str) -> str:
    """Return the SHA-256 of `step_settings`."""
    return hashlib.sha256(json.dumps(step_settings(step, config, checksum), sort_keys=True).encode()).hexdigest()


def current_identity(step: str, config: Config) -> str:
    """Return the identity of `step` with the series as it is now."""
    return step_identity(step, config, series_checksum(config))


def is_up_to_date(step: str, config: Config, identity: str) -> bool:
    """Return whether the result of `step` is complete and has this identity."""
    path = config.run / {"reconstruction": "volume.h5"}.get(step, f"{step}.h5")
    try:
        with reading(path, ProblemsError) as file:
            same = text(file.attrs.get("identity", "")) == identity
            complete = step != "reconstruction" or file.attrs.get("epochs") == config.reconstruction.epochs
            return bool(same and complete)
    except ProblemsError:
        return False


def series_checksum(config: Config) -> str:
    """Return the checksum of the readable part of the series; empty if foreign projections replace it."""
    if config.alignment is not None and config.alignment.projections is not None and not config.series.exists():
        return ""
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        return series.checksum()


def _without(section: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return section and {key: value for key, value in section.items() if key not in names}

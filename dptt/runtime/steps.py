"""The steps of a run and what each depends on: how a result is known to belong to the present configuration.

The identity of a step is a hash of the choices that shape its result and of the identities of the steps before it
([P] figure 1). It is stored in every result, so that a changed choice makes exactly the steps behind it new.
"""

import hashlib
import json
from typing import Any

from dptt.config import Config
from dptt.io.dataset import TiltSeries

SECTIONS: dict[str, tuple[str, ...]] = {
    "brightfield": ("brightfield",),
    "ptychography": ("ptychography", "volume"),
    "alignment": ("alignment",),
    "reconstruction": ("reconstruction", "volume"),
}
"""Step -> sections of the configuration that shape its result, beside those of the steps before it."""
OPTIONAL = ("brightfield", "ptychography", "alignment")
"""Steps that a configuration asks for by having their section."""
MAY_CHANGE = ("epochs", "chunk_memory", "data_memory")
"""Choices of `reconstruction` that leave the epochs already done as they are: a run is continued with new ones."""
NEVER_MATTERS = ("chunk_memory", "data_memory")


def steps_of(config: Config) -> list[str]:
    """Return the steps that `config` asks for, in order."""
    return [step for step in OPTIONAL if getattr(config, step) is not None] + ["reconstruction"]


def step_choices(step: str, config: Config, checksum: str) -> dict[str, Any]:
    """Return what shapes the result of `step`: its sections, the series, the identities of the steps before it."""
    document = config.model_dump(mode="json")
    before = [other for other in steps_of(config) if list(SECTIONS).index(other) < list(SECTIONS).index(step)]
    choices: dict[str, Any] = {section: _without(document[section], NEVER_MATTERS) for section in SECTIONS[step]}
    if step == "ptychography":
        choices["exclude"] = config.reconstruction.exclude
    if step == "reconstruction":
        choices["reconstruction"] = _without(choices["reconstruction"], MAY_CHANGE)
    return {
        "series": checksum,
        **choices,
        "after": {other: step_identity(other, config, checksum) for other in before},
    }


def step_identity(step: str, config: Config, checksum: str) -> str:
    """Return the SHA-256 of `step_choices`."""
    return hashlib.sha256(json.dumps(step_choices(step, config, checksum), sort_keys=True).encode()).hexdigest()


def current_identity(step: str, config: Config) -> str:
    """Return the identity of `step` with the series as it is now."""
    return step_identity(step, config, series_checksum(config))


def series_checksum(config: Config) -> str:
    """Return the checksum of the readable part of the series; nothing if foreign projections make it needless."""
    if config.alignment is not None and config.alignment.projections is not None and not config.series.exists():
        return ""
    with TiltSeries.open(config.series, leave_out_bad_tilts=True) as series:
        return series.checksum()


def _without(section: dict[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return section and {key: value for key, value in section.items() if key not in names}

"""The results that a run leaves for judging and showing it: its volume and the analysis of that volume."""

import json
from pathlib import Path
from typing import Any

from dptt.config import Config
from dptt.io.atoms import read_atoms
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ProblemsError
from dptt.io.volumes import ReconstructedVolume, read_volume, volume_attributes
from dptt.runtime.half_sets import half_set_files


def read_result(run: Path, *, real_part: bool = False) -> ReconstructedVolume:
    """Return the reconstructed volume of a run, or its real part.

    Raises
    ------
    ProblemsError
        The run has no volume yet.
    """
    path = run / "volume.h5"
    if not path.exists():
        raise ProblemsError(path, ["there is no reconstructed volume. Run `dptt reconstruct` first."])
    return read_volume(path, real_part=real_part)


def check_made_from(series: TiltSeries, result: ReconstructedVolume, run: Path) -> None:
    """Raise ProblemsError unless the volume of `run` was reconstructed from `series` as it is now."""
    if result.attributes.get("series_checksum", "") not in ("", series.checksum()):
        problem = f"the volume was reconstructed from another series than {series.path}. Check `series` and `run`."
        raise ProblemsError(run / "volume.h5", [problem])


def load_analysis(run: Path) -> dict[str, Any] | None:
    """Return the analysis of a run, None if it was not analyzed.

    Raises
    ------
    ProblemsError
        The file is damaged.
    """
    path = run / "analysis.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__} instead of an object")
    except (ValueError, RecursionError, OSError) as failure:
        raise ProblemsError(path, [f"is damaged ({failure}). Run `dptt analyze` again."]) from failure
    return content


def analysis_identity(config: Config, result: ReconstructedVolume) -> str:
    """Return what an analysis depends on: the volume, the half-sets, the atoms and the settings of the analysis."""
    halves = [str(volume_attributes(file)["created"]) for file in half_set_files(config) or ()]
    path = config.run / "atoms.h5"
    fitted = (
        [str(read_atoms(path).attributes.get("created", ""))] if config.atoms is not None and path.exists() else []
    )
    return " ".join([str(result.attributes.get("created", "")), *halves, *fitted, config.analysis.model_dump_json()])

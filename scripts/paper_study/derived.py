"""Series made of another: some of its tilts, with poses that an earlier step found. The patterns are linked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from dptt.analysis.poses import PoseErrors, TiltPoses, pose_errors
from dptt.commands.reconstruct import reconstruct
from dptt.config import Config
from dptt.distributed.comm import SerialCommunicator
from dptt.io.attributes import read_pose
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import ExternalPatterns, TiltData
from dptt.io.truth import Truth


@dataclass(frozen=True)
class Pose:
    """Of one tilt: (phi, theta, psi) [degrees] and (y, x) [Å]."""

    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]


def found_poses(path: Path) -> dict[str, Pose]:
    """Return the poses by tilt that a result file (alignment.h5, volume.h5) holds."""
    with h5py.File(path, "r") as file:
        return {name: Pose(*read_pose(group.attrs)) for name, group in file["tilts"].items()}


def errors_of(poses: Mapping[str, Pose], series: Path) -> PoseErrors:
    """Return the errors of poses against the truth of `series`, free of what no data determine."""
    with TiltSeries.open(series) as opened:
        true = {tilt.name: tilt for tilt in truth_of(opened).tilts}
    return pose_errors(_stack(poses), _stack({name: true[name] for name in poses}))


def nominal_poses(series: Path) -> dict[str, Pose]:
    """Return what the file says."""
    with TiltSeries.open(series) as opened:
        return {tilt.name: Pose(tilt.euler_angles, tilt.translation) for tilt in opened.tilts}


def derive_series(source: Path, target: Path, poses: Mapping[str, Pose], kept: Callable[[float], bool]) -> None:
    """Write a series of the tilts whose angle theta [degrees] is `kept`, with `poses`, linked to `source`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with TiltSeries.open(source) as series:
        truth, header = truth_of(series), series.header
        chosen = [i for i, tilt in enumerate(series.tilts) if kept(tilt.euler_angles[1])]
        tilts = [
            TiltData(
                patterns=ExternalPatterns(str(source.resolve()), f"tilts/{tilt.name}/data"),
                scan_positions=tilt.scan_positions(),
                euler_angles=poses[tilt.name].euler_angles,
                translation=poses[tilt.name].translation,
                aberrations=tilt.aberrations,
            )
            for tilt in (series.tilts[i] for i in chosen)
        ]
    renamed = tuple(replace(truth.tilts[i], name=f"{number:04d}") for number, i in enumerate(chosen))
    # after the source is closed: HDF5 follows no link into a file that is open in another mode
    write_tilt_series(target, header, tilts, replace(truth, tilts=renamed), overwrite=True)


def reconstruct_variant(config: Config, name: str, series: Path | None = None, **choices: object) -> Config:
    """Reconstruct with other choices of `reconstruction` into `config.run`/name, once; return the config.

    `num_slices` goes to `volume`; nested sections of `reconstruction` are given as mappings of what changes.
    """
    document = config.model_dump(mode="json", exclude={"simulation", "ptychography", "alignment"})
    if "num_slices" in choices:
        document["volume"]["num_slices"] = choices.pop("num_slices")
    for key, value in choices.items():
        section = document["reconstruction"]
        section[key] = {**section[key], **value} if isinstance(value, Mapping) else value
    document |= {"series": str(series or config.series), "run": str(config.run / name)}
    variant = Config.model_validate(document)
    reconstruct(variant, SerialCommunicator(), restart_if_changed=True)
    return variant


def truth_of(series: TiltSeries) -> Truth:
    """Return the ground truth of a simulated series."""
    truth = series.truth()
    if truth is None or truth.volume is None or truth.atom_positions is None or truth.atomic_numbers is None:
        raise ValueError(f"{series.path} holds no ground truth; expected a simulated series")
    return truth


def _stack(poses: Mapping[str, Pose]) -> TiltPoses:
    return TiltPoses(
        np.array([pose.euler_angles for pose in poses.values()]),
        np.array([pose.translation for pose in poses.values()]),
    )

"""The ptychography of one tilt, [P] Algorithm 1, as Algorithm 3 with a single tilt.

Nothing is rotated: the volume is the stack of slices along the beam of this tilt, and the pose is the identity.
Multislice model, mixed states, positions, batches and regularisation are therefore the same code.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from dptt.assembly.device_use import ON_HOST, DeviceUse
from dptt.assembly.geometry import SLICES_PER_DEPTH_OF_FIELD_OF_ONE_TILT, check_slices, depth_of_field
from dptt.assembly.problem import fits_in_memory, pattern_delivery, pattern_reader
from dptt.assembly.settings import ptychography_settings
from dptt.assembly.start import TiltStart, electrons_per_pixel, front_probe, sample_patterns
from dptt.config import ConfigError
from dptt.config.reconstruction import PtychographyConfig
from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.forward import Geometry
from dptt.model.patterns import Loaded, PatternReader
from dptt.model.read_ahead import ReadAhead
from dptt.model.state import TomographyState
from dptt.physics.grid import spatial_frequencies
from dptt.physics.patches import split_positions
from dptt.solvers.tomography.settings import TomographySettings


@dataclass(frozen=True)
class TiltProblem:
    """What the solver needs for one tilt, and the indices of the patterns used."""

    geometry: Geometry
    settings: TomographySettings
    state: TomographyState
    patterns: PatternReader
    selection: np.ndarray


def slice_geometry(choice: PtychographyConfig, volume: Geometry, semiangle: float) -> Geometry:
    """Return the grid of one tilt's slices: lateral as the `volume`, in depth as few as the depth of field allows.

    The middle of an even number of slices lies half a slice before voxel n//2; `centre_depth` corrects for that.

    Raises
    ------
    ConfigError
        The slices are too many for any computer, or thinner than anything.
    """
    thickness = choice.thickness or volume.volume_shape[0] * volume.voxel_size[0]
    depth = depth_of_field(volume.energy, semiangle) / SLICES_PER_DEPTH_OF_FIELD_OF_ONE_TILT
    num_slices = choice.num_slices or max(1, math.ceil(thickness / depth))
    spacing = thickness / num_slices
    check_slices("ptychography", num_slices, spacing)
    return Geometry(
        volume.energy,
        (num_slices, *volume.volume_shape[1:]),
        (spacing, *volume.voxel_size[1:]),
        volume.window_shape,
        num_slices,
        periodic=volume.periodic,
        centre_depth=0.0 if num_slices % 2 else spacing / 2,
        pixels=volume.pixels,
    )


def build_tilt_problem(
    choice: PtychographyConfig,
    series: TiltSeries,
    tilt: Tilt,
    *,
    kind: str,
    start: TiltStart,
    geometry: Geometry,
    selection: np.ndarray,
    use: DeviceUse = ON_HOST,
    ahead: ReadAhead[Loaded] | None = None,
) -> TiltProblem:
    """Return the ptychography problem of the patterns `selection` of one tilt on the grid `geometry`.

    `kind` is that of the volume, ``complex`` or ``real``. The patterns are read `ahead`; leave its block before the
    series is closed.
    """
    sample = sample_patterns(tilt, series, selection, start)
    electrons = electrons_per_pixel([tilt], {tilt.name: sample})
    settings = use.settings(ptychography_settings(choice, patterns=tilt.num_positions, electrons=electrons))
    wave = torch.complex128 if choice.precision == "double" else torch.complex64
    keep = fits_in_memory([tilt], {tilt.name: selection}, choice.data_memory)
    state = TomographyState.initial(
        geometry.volume_shape,
        wave if kind == "complex" else torch.empty(0, dtype=wave).real.dtype,
        [front_probe(start, series, geometry, choice.probe, sample.mean).to(wave)],
        [torch.from_numpy(start.scan_positions[selection])],
        torch.zeros((1, 3), dtype=torch.float64),
        torch.zeros((1, 2), dtype=torch.float64),
        start.calibration[None],
    )
    delivery = pattern_delivery(geometry, keep, use, ahead)
    reader = pattern_reader(tilt, selection, sample=sample, delivery=delivery)
    return TiltProblem(geometry, settings, state, reader, selection)


def cropped_positions(positions: np.ndarray, edge_crop: float, name: str, *, among: np.ndarray) -> np.ndarray:
    """Return which indices `among` positions (n, 2) lie farther than `edge_crop` [Å] from the edge of the scan.

    Raises
    ------
    ConfigError
        None of the tilt `name` is left.
    """
    low, high = positions.min(0) + edge_crop, positions.max(0) - edge_crop
    kept = among[((positions[among] >= low) & (positions[among] <= high)).all(1)]
    if len(kept) == 0:
        raise ConfigError(
            f"ptychography.edge_crop = {edge_crop} Å leaves no scan position of tilt {name}. Reduce it."
        )
    return kept


def relative_illumination(state: TomographyState, geometry: Geometry) -> np.ndarray:
    """Return the illumination of each voxel (y, x) by all positions of the probe, relative to its maximum.

    It is blurred by half the distance between neighbouring positions: a pattern tells what lies about its position,
    also where a focused probe leaves gaps in the scan.
    """
    probe, geometry = geometry.probe_on_voxels(state.probes[0]), geometry.on_voxels
    shape, positions = geometry.volume_shape[1:], state.positions[0]
    corners, _ = split_positions(positions, geometry.sampling, shape, geometry.window_shape)
    corners = corners % torch.tensor(shape)
    visits = torch.zeros(shape, dtype=torch.float64)
    visits.index_put_((corners[:, 0], corners[:, 1]), torch.ones(len(corners), dtype=torch.float64), accumulate=True)
    intensity = probe.abs().square().sum(0).double()
    area = (positions.amax(0) - positions.amin(0)).prod().item()
    ky, kx = spatial_frequencies(shape, geometry.sampling)
    blur = torch.exp(-(math.pi**2) * area / (2 * len(positions)) * (ky**2 + kx**2))[:, : shape[1] // 2 + 1]
    spectrum = torch.fft.rfft2(visits) * torch.fft.rfft2(intensity, s=shape) * blur
    electrons = torch.fft.irfft2(spectrum, s=shape).clamp_min(0)
    return (electrons / electrons.max()).numpy().astype(np.float32)


def all_positions(start: TiltStart, problem: TiltProblem) -> np.ndarray:
    """Return the scan positions of all patterns of a tilt [Å]; those of the patterns used are refined."""
    positions = start.scan_positions.copy()
    positions[problem.selection] = problem.state.positions[0].numpy()
    return positions

"""Where a solver starts with every tilt: the values of the series, or better ones from an earlier step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dptt.assembly.usable_pixels import evenly_spaced, in_place, usable_pixels
from dptt.config.reconstruction import ProbeConfig
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.errors import ProblemsError
from dptt.model.calibration import DESCAN, NUM_PARAMETERS, pattern_shifts
from dptt.model.faulty_patterns import PatternLimits, pattern_limits, pattern_totals
from dptt.model.forward import Geometry
from dptt.model.patterns import centre_window
from dptt.physics.multislice import propagate
from dptt.physics.probe import hermite_modes, make_probe, probe_from_pattern, resample_probe

PATTERNS_FOR_MEAN = 256
"""Number of evenly spaced patterns of a tilt whose mean sets electrons and amplitude of the initial probe."""
FOREIGN_UNITS = 1.25
"""A stored probe whose electrons differ from those of the patterns by more than this factor is assumed to have other
units, and is scaled."""


@dataclass(frozen=True)
class TiltStart:
    """Where a solver starts with a tilt.

    Parameters
    ----------
    euler_angles
        (phi, theta, psi) [degrees].
    translation
        (y, x) [Å].
    scan_positions
        Positions of all patterns in the file, (positions, 2) as (y, x) [Å].
    aberrations
        By name [Å, degrees], in the plane of the rotation axis.
    probe
        (mode, y, x) in that plane, centred at n//2; None to compute it from aberrations and mean pattern.
    calibration
        What is known of the experiment, see `model.calibration`; positions and probe are those with it.
    """

    euler_angles: tuple[float, float, float]
    translation: tuple[float, float]
    scan_positions: np.ndarray
    aberrations: dict[str, float]
    probe: np.ndarray | None
    calibration: Float[Tensor, " parameter"] = field(
        default_factory=lambda: torch.zeros(NUM_PARAMETERS, dtype=torch.float64)
    )


def series_start(series: TiltSeries) -> dict[str, TiltStart]:
    """Return the values in the file for every tilt."""
    return {
        tilt.name: TiltStart(
            tilt.euler_angles, tilt.translation, tilt.scan_positions(), tilt.aberrations, tilt.probe()
        )
        for tilt in series.tilts
    }


@dataclass(frozen=True)
class PatternSample:
    """What evenly spaced patterns of a tilt say about all of them."""

    mean: np.ndarray
    """Mean of the good ones [electrons], with invalid pixels zero."""
    limits: PatternLimits
    """Electrons of a good pattern."""
    refusal: str
    """Why the tilt is refused; empty if it is not."""
    mask: np.ndarray | None
    """Usable pixels; None if all are."""
    faulty_pixels: int
    """Number of pixels that the data show to be hot or dead, beside those that the file masks."""


def electrons_per_pixel(tilts: Sequence[Tilt], samples: Mapping[str, PatternSample]) -> float | None:
    """Return the electrons in a pixel of an average pattern, the median over tilts; None if they are no counts."""
    if not all(tilt.dtype.kind in "iu" for tilt in tilts):
        return None
    chosen = [samples[tilt.name] for tilt in tilts]
    pixels = [one.mean.size if one.mask is None else max(int(one.mask.sum()), 1) for one in chosen]
    return float(np.median([one.mean.sum() / number for one, number in zip(chosen, pixels, strict=True)]))


def usable_tilts(
    series: TiltSeries,
    selections: Mapping[str, np.ndarray],
    exclude: list[str],
    *,
    leave_out_faulty: bool = False,
    starts: Mapping[str, TiltStart] | None = None,
) -> tuple[list[Tilt], dict[str, PatternSample], list[str]]:
    """Return the tilts that can be reconstructed, samples of their patterns, and a sentence for each left out.

    `selections` are the indices of the patterns of each tilt to use. A tilt whose patterns are mostly faulty is an
    error, or is left out with `leave_out_faulty`. The descan of `starts` is undone in the mean patterns.

    Raises
    ------
    ProblemsError
        The same on every rank: `exclude` names a tilt that is not in the series, patterns are not numbers or mostly
        faulty, or no tilt is left.
    """
    names = sorted([tilt.name for tilt in series.tilts] + list(series.unreadable))
    problems = [
        f"reconstruction.exclude names tilt {name}; expected one of {names[0]} to {names[-1]}"
        for name in exclude
        if name not in names
    ]
    kept: list[Tilt] = []
    samples: dict[str, PatternSample] = {}
    left_out = [f"tilt {name} is left out: {' '.join(why)}" for name, why in series.unreadable.items()]
    for tilt in series.tilts:
        if tilt.name in exclude:
            left_out.append(f"tilt {tilt.name} is left out: reconstruction.exclude names it.")
            continue
        sample = sample_patterns(tilt, series, selections[tilt.name], None if starts is None else starts[tilt.name])
        mean = sample.mean
        if mean.sum() == 0:
            left_out.append(f"tilt {tilt.name} is left out: its patterns hold no electrons.")
        elif not mean.sum() > 0:
            problems.append(
                f"tilt {tilt.name}: its patterns hold {mean.sum()} electrons on average; expected more than zero. "
                "Correct its counts, or leave the tilt out with reconstruction.exclude"
            )
        elif sample.refusal and leave_out_faulty:
            left_out.append(f"tilt {tilt.name} is left out: {sample.refusal}.")
        elif sample.refusal:
            problems.append(f"tilt {tilt.name}: {sample.refusal}, or leave the tilt out with reconstruction.exclude.")
        else:
            kept.append(tilt)
            samples[tilt.name] = sample
    if not kept and not problems:
        problems += [*left_out, "no tilt is left to reconstruct. Check the beam and the detector."]
    if problems:
        raise ProblemsError(series.path, problems)
    faulty = {tilt.name: number for tilt in kept if (number := samples[tilt.name].faulty_pixels)}
    if faulty:
        left_out.append(
            f"up to {max(faulty.values())} hot or dead detector pixels are left out, found in {len(faulty)} of "
            f"{len(kept)} tilts."
        )
    return kept, samples, left_out


def sample_patterns(
    tilt: Tilt, series: TiltSeries, selection: np.ndarray, start: TiltStart | None = None
) -> PatternSample:
    """Return what evenly spaced patterns of the `selection` of a tilt say; the same on every rank.

    Their mean is that without the descan of the `start`.
    """
    quick = selection[np.isin(selection, tilt.quick_to_read())]
    chosen = evenly_spaced(
        quick if len(quick) >= min(PATTERNS_FOR_MEAN, len(selection)) else selection, PATTERNS_FOR_MEAN
    )
    patterns = tilt.read(chosen)
    mask = usable_pixels(tilt, series)
    electrons = pattern_totals(patterns, mask) / tilt.counts_per_electron
    limits = pattern_limits(electrons, series.num_patterns)
    good = ~limits.judge(electrons).any_kind
    if start is not None and start.calibration[DESCAN].any():
        shifts = pattern_shifts(start.calibration, torch.from_numpy(start.scan_positions[chosen]))
        assert shifts is not None
        patterns = in_place(patterns, mask, shifts)
    mean = patterns[good].mean(0, dtype=np.float64) / tilt.counts_per_electron
    mean = mean if mask is None else np.where(mask, mean, 0.0)
    in_file = tilt.mask()
    faulty = 0 if mask is None else int((~mask if in_file is None else in_file & ~mask).sum())
    return PatternSample(mean, limits, limits.refusal(electrons), mask, faulty)


def front_probe(
    start: TiltStart, series: TiltSeries, geometry: Geometry, choice: ProbeConfig, mean: np.ndarray
) -> Tensor:
    """Return the probe (mode, y, x) before the first slice: a stored one, or one from optics and `mean` pattern.

    Raises
    ------
    ProblemsError
        The stored probe is zero or not finite, or no electrons of the mean pattern are in the bright disk.
    """
    electrons = float(mean.sum())
    if start.probe is not None:
        probe = resample_probe(torch.from_numpy(start.probe).to(torch.complex128), geometry.window_shape)
        stored = probe.abs().square().sum().item()
        if not 0 < stored < math.inf:
            problem = f"a stored probe has the intensity {stored}; expected a finite number of electrons."
            raise ProblemsError(series.path, [f"{problem} Correct it, or remove it to start from the optics."])
        factor = electrons / stored
        if not 1 / FOREIGN_UNITS <= factor <= FOREIGN_UNITS:
            probe = probe * factor**0.5
    else:
        optics = {
            "wavelength": geometry.wavelength,
            "semiangle": series.semiangle_cutoff,
            "aberrations": start.aberrations,
        }
        if choice.amplitude == "pattern":
            pattern = centre_window(mean[None], geometry.window_shape)[0]
            try:
                single = probe_from_pattern(pattern, geometry.sampling, **optics)  # type: ignore[arg-type]
            except ValueError as failure:
                cure = "Check the mask (True = valid pixel), or set reconstruction.probe.amplitude: aperture."
                raise ProblemsError(series.path, [f"{failure}. {cure}"]) from None
        else:
            single = make_probe(
                geometry.window_shape,
                geometry.sampling,
                electrons=electrons,
                **optics,  # type: ignore[arg-type]
            )
        probe = hermite_modes(single, choice.modes) if choice.modes > 1 else single[None]
    return propagate(probe, geometry.propagator(geometry.first_slice_depth, torch.complex128))


def centre_plane_probe(probe: Tensor, geometry: Geometry) -> Tensor:
    """Return a probe before the first slice, as in the solver, propagated to the plane of the rotation centre."""
    return propagate(probe, geometry.propagator(-geometry.first_slice_depth, probe.dtype))

"""From configuration to the settings of the solvers.

A default value and its meaning stand once, in `dptt.config`: solvers have no defaults for what a user can set.
Settings and options of the same name are copied by `shared_fields`; what differs in name or unit is written out here.
"""

from dataclasses import fields
from typing import Any

from dptt.config.base import Section
from dptt.config.calibration import CalibrationConfig
from dptt.config.distribution import DistributionConfig
from dptt.config.reconstruction import (
    PtychographyConfig,
    ReconstructionConfig,
    RefinementConfig,
    RegularisationConfig,
    SolverConfig,
)
from dptt.config.stage import AngleUncertainty
from dptt.solvers.tomography.settings import (
    CalibrationSettings,
    Refinement,
    Regularisation,
    TiltGroupSettings,
    TomographySettings,
)


def shared_fields(section: Section, settings: type) -> dict[str, Any]:
    """Return the plain values of `section` whose names are fields of the dataclass `settings`."""
    names = {field.name for field in fields(settings)} & set(type(section).model_fields)
    return {name: getattr(section, name) for name in names if not isinstance(getattr(section, name), Section)}


def reconstruction_settings(
    options: ReconstructionConfig,
    distribution: DistributionConfig | None = None,
    *,
    patterns: int = 0,
    electrons: float | None = None,
) -> TomographySettings:
    """Return the settings of the end-to-end reconstruction.

    `patterns` has the tilt that has fewest, and a pattern `electrons` per pixel; None if patterns are no counts.
    """
    return _settings(
        options,
        patterns,
        electrons,
        angles=refinement(options.angles),
        angle_uncertainty=angle_widths(options.angle_uncertainty),
        translations=refinement(options.translations),
        tilt_groups=_tilt_groups(distribution or DistributionConfig()),
    )


def ptychography_settings(
    options: PtychographyConfig, *, patterns: int = 0, electrons: float | None = None
) -> TomographySettings:
    """Return the settings of the ptychography of one tilt: its pose is fixed; nothing depends on other tilts."""
    fixed = refinement(RefinementConfig())
    return _settings(
        options,
        patterns,
        electrons,
        angles=fixed,
        angle_uncertainty=(0.0, 0.0, 0.0),
        translations=fixed,
        tilt_order="sequential",
        weigh_tilts=False,
        tilt_groups=_tilt_groups(DistributionConfig()),
    )


def refinement(options: RefinementConfig) -> Refinement:
    """Return when a parameter is refined, in epochs counted from 0."""
    return Refinement(start=None if options.from_epoch is None else options.from_epoch - 1, step=options.step)


def angle_widths(options: AngleUncertainty) -> tuple[float, float, float]:
    """Return the standard deviations of (phi, theta, psi) [degrees]."""
    return options.phi, options.theta, options.psi


def calibration(options: CalibrationConfig, *, epochs: int, patterns: int) -> CalibrationSettings:
    """Return which errors of the experiment are looked for, in epochs counted from 0.

    `epochs` has the run, and `patterns` the tilt that has fewest.
    """
    first = options.first_epoch(of=epochs, patterns=patterns)
    number = 0 if first is None else options.number_of_epochs(of=epochs, first=first)
    when = {"start": None if first is None else first - 1, "epochs": number}
    return CalibrationSettings(**shared_fields(options, CalibrationSettings) | when)


def regularisation(options: RegularisationConfig) -> Regularisation:
    """Return the constraints on the volume, their first epoch counted from 0."""
    return Regularisation(**shared_fields(options, Regularisation), l1_start=options.l1_from_epoch - 1)


def _tilt_groups(options: DistributionConfig) -> TiltGroupSettings:
    return TiltGroupSettings(**shared_fields(options.tilt_groups, TiltGroupSettings))


def _settings(options: SolverConfig, patterns: int, electrons: float | None, **special: Any) -> TomographySettings:
    """Return the settings that ptychography and reconstruction share, and what is `special` to one of them."""
    return TomographySettings(
        **shared_fields(options, TomographySettings) | {"loss": options.loss_for(electrons)},
        probe=refinement(options.probe),
        positions=refinement(options.positions),
        calibration=calibration(options.calibration, epochs=options.epochs, patterns=patterns),
        regularisation=regularisation(options.regularisation),
        chunk_bytes=round(options.chunk_memory * 2**20),
        fast=options.precision == "fast",
        **special,
    )

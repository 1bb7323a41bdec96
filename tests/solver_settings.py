"""Settings of the solvers for tests: the defaults of the configuration, nothing refined unless a test asks for it."""

from dataclasses import replace

from dptt.assembly import settings
from dptt.assembly.alignment import alignment_settings as build_alignment_settings
from dptt.config.alignment import AlignmentConfig
from dptt.config.reconstruction import ProbeConfig, ReconstructionConfig, RegularisationConfig
from dptt.solvers.alignment import AlignmentSettings
from dptt.solvers.tomography.settings import (
    CalibrationSettings,
    Refinement,
    Regularisation,
    TiltGroupSettings,
    TomographySettings,
)

DEFAULTS = settings.reconstruction_settings(ReconstructionConfig(probe=ProbeConfig(from_epoch=None)))

NO_PRIOR = (1e6, 1e6, 1e6)
"""[degrees] Nominal angles that say nothing: refined ones are those of the data alone."""


def tomography_settings(**values) -> TomographySettings:
    return replace(DEFAULTS, **{"chunk_bytes": None, "angle_uncertainty": NO_PRIOR} | values)


def refinement(start: int | None = None, step: float = 1.0) -> Refinement:
    return Refinement(start=start, step=step)


def calibration(**values) -> CalibrationSettings:
    return replace(DEFAULTS.calibration, **values)


def regularisation(**values) -> Regularisation:
    return replace(settings.regularisation(RegularisationConfig()), **values)


def tilt_groups(**values) -> TiltGroupSettings:
    return replace(DEFAULTS.tilt_groups, **values)


def alignment_settings(**values) -> AlignmentSettings:
    defaults = build_alignment_settings(AlignmentConfig(), (128, 128))
    return replace(defaults, **{"binnings": (4, 2), "angles_from": 2, "angle_uncertainty": NO_PRIOR} | values)

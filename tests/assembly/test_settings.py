"""Every option of a solver reaches its settings; what a user can set has no default in the solver."""

import dataclasses

import pytest

from dptt.assembly.alignment import alignment_settings
from dptt.assembly.settings import ptychography_settings, reconstruction_settings
from dptt.config.alignment import AlignmentConfig
from dptt.config.base import Section
from dptt.config.distribution import DistributionConfig
from dptt.config.reconstruction import PtychographyConfig, ReconstructionConfig
from dptt.solvers.alignment import AlignmentSettings
from dptt.solvers.tomography.settings import Refinement, Regularisation, TiltGroupSettings, TomographySettings

CHANGED = {
    "epochs": 3, "step": 0.7, "momentum": 0.1, "batches": 5, "loss": "poisson", "epsilon": 1e-3,
    "validation_fraction": 0.3, "seed": 7,
}  # fmt: skip
CONSTRAINTS = {
    "nonnegativity": 0.5, "nonnegative_absorption": False, "l1": 0.1, "l1_half_life": 3.0, "shrinkage": 0.2,
    "butterworth_cutoff": 0.9, "butterworth_order": 4, "layer_weight": 0.6, "layer_strength": 0.4,
    "vacuum": True,
}  # fmt: skip
GROUPS = {"synchronise": "averages", "interval": 3, "gain": 2.0, "outer_momentum": 0.4}


@pytest.mark.parametrize(
    ("section", "settings"),
    [(PtychographyConfig, ptychography_settings), (ReconstructionConfig, reconstruction_settings)],
)
def test_options_reach_the_solver(section, settings):
    options = section(
        **CHANGED,
        probe={"from_epoch": 3, "step": 0.2},
        positions={"from_epoch": 1},
        regularisation=CONSTRAINTS | {"l1_from_epoch": 4},
        precision="fast",
        chunk_memory=2.0,
    )
    result = settings(options)
    assert {name: getattr(result, name) for name in CHANGED} == CHANGED
    assert result.probe == Refinement(start=2, step=0.2)
    assert result.positions == Refinement(start=0, step=1.0)
    assert result.regularisation == Regularisation(**CONSTRAINTS, l1_start=3)
    assert (result.fast, result.chunk_bytes) == (True, 2 << 20)


def test_options_of_all_tilts_reach_the_solver():
    options = ReconstructionConfig(
        tilt_order="sequential",
        weigh_tilts=False,
        angles={"from_epoch": 2},
        angle_uncertainty={"phi": 0.1, "theta": 0.7, "psi": 0.0},
        translations={"from_epoch": 5, "step": 2.0},
    )
    result = reconstruction_settings(options, DistributionConfig(tilt_groups=GROUPS))
    assert (result.tilt_order, result.weigh_tilts) == ("sequential", False)
    assert (result.angles, result.translations) == (Refinement(start=1, step=1.0), Refinement(start=4, step=2.0))
    assert result.tilt_groups == TiltGroupSettings(**GROUPS)
    assert result.angle_uncertainty == (0.1, 0.7, 0.0)


def test_ptychography_of_one_tilt_keeps_its_pose():
    result = ptychography_settings(PtychographyConfig())
    assert not result.angles.active(1000)
    assert not result.translations.active(1000)


def test_options_of_the_alignment_reach_the_solver():
    changed = {
        "translation_iterations": 3, "angle_iterations": 4, "folds": 5, "nonnegative": False, "search": False,
        "tilt_axis": False,
    }  # fmt: skip
    changed_angles = {"angle_uncertainty": {"phi": 0.0, "theta": 0.5, "psi": 0.2}}
    options = AlignmentConfig(
        **changed, **changed_angles, volume_binning=2, volume_iterations=6, finest_binning=3, angles=False
    )
    result = alignment_settings(options, (200, 300), 40.0)
    assert result.depth == 40.0 and alignment_settings(options, (200, 300)).depth is None
    assert {name: getattr(result, name) for name in changed} == changed
    assert (result.final_binning, result.final_iterations, result.angles_from) == (2, 6, 0)
    assert result.binnings == (6, 3)
    assert result.angle_uncertainty == (0.0, 0.5, 0.2)


@pytest.mark.parametrize("kind", [Refinement, Regularisation, TiltGroupSettings, TomographySettings])
def test_solvers_repeat_no_default(kind):
    assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(kind))


def test_no_section_of_the_configuration_reaches_a_solver():
    for settings in (
        reconstruction_settings(ReconstructionConfig()),
        alignment_settings(AlignmentConfig(), (64, 64)),
    ):
        values = [getattr(settings, field.name) for field in dataclasses.fields(settings)]
        assert not any(isinstance(value, Section) for value in values)
    options = {field.name for field in dataclasses.fields(AlignmentSettings)} & set(AlignmentConfig.model_fields)
    repeated = [f.name for f in dataclasses.fields(AlignmentSettings) if f.default is not dataclasses.MISSING]
    assert not options & set(repeated)

"""Values outside their range, of the wrong type, or that contradict each other; all said at once."""

import pytest
from config_files import COMPLETE, problems_of, write_config

from dptt.config import load_config
from dptt.config.base import Energy
from dptt.io.attributes import LIMITS


def test_all_problems_of_a_file_are_listed_in_one_error(tmp_path):
    problems = problems_of(
        tmp_path,
        "reconstruction.epochs=0",
        "volume.voxelsize=0.4",
        "simulation.fluence=null",
        "analysis.mask_radius=wide",
        "reconstruction.regularisation.nonnegativity=1.5",
    )
    assert {problem.partition(":")[0] for problem in problems} == {
        "reconstruction.epochs",
        "volume.voxelsize",
        "simulation.fluence",
        "analysis.mask_radius",
        "reconstruction.regularisation.nonnegativity",
    }


def test_every_missing_key_is_named(tmp_path):
    path = write_config(tmp_path, "simulation: {specimen: {kind: alloy}, fluence: 10.0}\n")
    with pytest.raises(ValueError) as failure:
        load_config(path)
    for key in ("series", "run", "simulation.microscope", "simulation.scan", "simulation.tilts"):
        assert f"  - {key}: missing; this key is required" in str(failure.value)
    assert "diameter: missing" in str(failure.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("reconstruction.epochs=0", "greater than or equal to 1"),
        ("reconstruction.epochs=2.5", "a whole number"),
        ("reconstruction.momentum=1.0", "less than 1"),
        ("reconstruction.validation_fraction=0.51", "less than or equal to 0.5"),
        ("reconstruction.step=0", "greater than 0"),
        ("reconstruction.step=.nan", "finite"),
        ("reconstruction.step=.inf", "finite"),
        ("reconstruction.loss=poissn", "'amplitude' or 'poisson'"),
        ("reconstruction.positions.from_epoch=0", "greater than or equal to 1"),
        ("volume.margin=-1", "greater than or equal to 0"),
        ("volume.voxel_size=-0.4", "greater than 0"),
        ("simulation.microscope.energy=-3e5", "greater than or equal to 10"),
        ("simulation.scan.step=1e300", "no number here is beyond 1e+12"),
        ("simulation.scan.shape=[0, 3]", "greater than or equal to 1"),
        ("reconstruction.epochs=100001", "less than or equal to 100000"),
        ("simulation.multislice.frozen_phonons=2147483647", "less than or equal to 100000"),
        ("alignment={volume_binning: 2147483647}", "less than or equal to 1024"),
        ("alignment={finest_binning: 2147483647}", "less than or equal to 1024"),
        ("distribution.tilt_groups.gain=1e12", "less than or equal to 100"),
        ("simulation.tilts.angle_errors=[1e12, 0, 0]", "less than or equal to 360"),
        ("simulation.scan.rotation=-1e12", "greater than or equal to -360"),
        ("simulation.specimen.rms_displacement=1e12", "less than or equal to 10"),
        ("simulation.experiment={aperture: -100}", "greater than -100"),
        ("simulation.experiment={descan: 1e12}", "less than or equal to 100000"),
        ("simulation.experiment={dose_spread: 1e12}", "less than or equal to 100"),
        ("analysis.min_separation=1e12", "less than or equal to 100"),
        ("atoms={elements: [Pt], slice_thickness: 1e12}", "less than or equal to 100"),
        ("atoms={elements: [Pt], false_rate: 1e12}", "less than or equal to 1000"),
        ("simulation.seed=-1", "greater than or equal to 0"),
        ("distribution.memory=0", "greater than 0"),
        ("import.tilt_sign=2", "-1 or 1"),
        ("import.truth.volume_axes=[x, x, y]", "z"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_expected(tmp_path, override, expected):
    key, _, value = override.partition("=")
    problems = problems_of(tmp_path, override)
    assert any(problem.startswith(key) and expected in problem for problem in problems)


@pytest.mark.parametrize(
    ("overrides", "numbers"),
    [
        (["reconstruction.every=3", "reconstruction.offset=3"], ["offset (3)", "every (3)"]),
        (
            ["volume.thickness=null", "volume.shape=[25, 30, 34]", "volume.num_slices=4"],
            ["25 planes", "num_slices = 4"],
        ),
        (["volume.num_slices=5", "volume.slice_thickness=2.0"], ["num_slices", "slice_thickness"]),
        (["volume.shape=[25, 30, 34]"], ["shape", "thickness"]),
        (["volume.periodic=true"], ["periodic", "shape"]),
        (["simulation.tilts.stop=null"], ["start", "stop", "step"]),
        (["simulation.tilts.angles=[1, 2]"], ["angles", "start"]),
        (["simulation.tilts={angles: [1, 2], start: -60}"], ["angles", "start"]),
        (["import.scan.positions=[{path: a.npy}]"], ["step", "positions"]),
        (["import.truth.volume.path=v.npy"], ["volume", "voxel_size"]),
        (["import.truth.atomic_number=null"], ["atomic_numbers", "atomic_number"]),
        (["import.truth={atomic_number: 79, origin: [0, 0, 1]}"], ["origin has no effect", "no `volume`"]),
        (["import.truth={tilt_angles: [0], atoms_axes: [x, y, z]}"], ["atoms_axes has no effect", "no `atoms`"]),
        (["import.scan={step: 1, unit: 2, matrix: [[0, 1], [1, 0]]}"], ["unit, matrix has no effect", "rotation"]),
        (["import.scan={positions: a.npy, rotation: 2}"], ["rotation has no effect", "`matrix`"]),
        (
            ["import.start=a.h5", "import.scan={step: 1, centre: [1, 2]}", "import.probe=null"],
            ["centre has no effect"],
        ),
    ],
)
def test_values_that_contradict_each_other_are_named_together(tmp_path, overrides, numbers):
    (problem,) = problems_of(tmp_path, *overrides)
    for number in numbers:
        assert number in problem


@pytest.mark.parametrize("offset", [0, 2])
def test_an_offset_below_every_is_accepted(tmp_path, offset):
    config = load_config(write_config(tmp_path), ["reconstruction.every=3", f"reconstruction.offset={offset}"])
    assert config.reconstruction.offset == offset


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("reconstruction.step", lambda config: config.reconstruction.step),
        ("simulation.fluence", lambda config: config.simulation.fluence),
        ("volume.thickness", lambda config: config.volume.thickness),
        ("simulation.scan.step", lambda config: config.simulation.scan.step[1]),
        ("import.detector.angular_sampling", lambda config: config.import_.detector.angular_sampling[1]),
    ],
)
def test_a_number_with_an_exponent_and_no_dot_is_a_number(tmp_path, key, read):
    assert read(load_config(write_config(tmp_path), [f"{key}=25e-2"])) == 0.25


def test_one_number_stands_for_an_equal_pair(tmp_path):
    config = load_config(write_config(tmp_path), ["simulation.scan.step=0.3", "import.detector.binning=2"])
    assert (config.simulation.scan.step, config.import_.detector.binning) == ((0.3, 0.3), (2, 2))


@pytest.mark.parametrize("name", ["probe", "positions", "angles", "translations"])
@pytest.mark.parametrize("value", ["false", "null"])
def test_false_or_null_switches_a_refinement_off(tmp_path, name, value):
    config = load_config(write_config(tmp_path), [f"reconstruction.{name}={value}"])
    assert getattr(config.reconstruction, name).from_epoch is None


def test_a_number_says_when_a_refinement_starts(tmp_path):
    config = load_config(write_config(tmp_path), ["reconstruction.angles=4"])
    assert config.reconstruction.angles.from_epoch == 4


def test_a_loaded_value_cannot_be_changed(tmp_path):
    config = load_config(write_config(tmp_path, COMPLETE))
    with pytest.raises(ValueError, match="frozen"):
        config.reconstruction.epochs = 3


@pytest.mark.parametrize(
    ("value", "epochs", "seconds"),
    [("3", 3, None), ("10 min", None, 600.0), ("1.5min", None, 90.0), ("auto", None, None)],
)
def test_checkpoints_are_so_many_epochs_or_minutes_apart(tmp_path, value, epochs, seconds):
    config = load_config(write_config(tmp_path, COMPLETE), [f"distribution.checkpoint_every={value}"])
    interval = config.distribution.checkpoint_interval
    assert (interval.epochs, interval.seconds) == (epochs, seconds)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "10 h", "0 min", "-1 min", "min", "true"])
def test_any_other_interval_of_checkpoints_is_refused(tmp_path, value):
    (problem,) = problems_of(tmp_path, f"distribution.checkpoint_every={value}")
    assert problem.startswith("distribution.checkpoint_every: expected a number of epochs, such as 5, a time")


@pytest.mark.parametrize("value", ["[a.h5]", "[a.h5, b.h5, c.h5]", "[a.h5, 3.5]", "maybe", "2", "{a: b.h5}"])
def test_what_is_no_choice_of_half_sets_is_refused_in_one_sentence(tmp_path, value):
    (problem,) = problems_of(tmp_path, f"analysis.half_sets={value}")
    assert problem.startswith("analysis.half_sets: expected `auto`, true, false, or the names of two volume files")


@pytest.mark.parametrize(
    ("value", "kept"), [("null", "auto"), ("true", True), ("false", False), ("[a.h5, b.h5]", ("a.h5", "b.h5"))]
)
def test_every_choice_of_half_sets_is_read(tmp_path, value, kept):
    assert load_config(write_config(tmp_path, COMPLETE), [f"analysis.half_sets={value}"]).analysis.half_sets == kept


def test_energies_that_a_configuration_accepts_are_those_that_a_series_can_hold():
    bounds = Energy.__metadata__[0].metadata
    assert (bounds[0].ge, bounds[1].le) == LIMITS["energy_eV"]


def test_every_number_of_repetitions_has_an_end(tmp_path):
    """A count that multiplies the work, of 2147483647, is a slip: it would be years until somebody notices it."""
    repeated = {
        *(f"{step}.{key}" for step in ("ptychography", "reconstruction") for key in ("epochs", "calibration.epochs")),
        *(f"alignment.{key}_iterations" for key in ("translation", "angle", "volume")),
        *("alignment.folds", "atoms.iterations", "atoms.rounds", "atoms.draws"),
        "simulation.multislice.frozen_phonons",
    }
    overrides = [f"{key}=2147483647" for key in sorted(repeated)]
    problems = problems_of(tmp_path, "atoms={elements: [Pt]}", "ptychography={}", "alignment={}", *overrides)
    refused = {problem.partition(":")[0] for problem in problems if "less than or equal to 100000" in problem}
    assert refused == repeated, problems

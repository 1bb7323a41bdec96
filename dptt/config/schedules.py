"""Schedules that never take effect: what is to begin after the last epoch, or to be calibrated when all is over."""

from collections.abc import Iterator

from dptt.config.base import Section
from dptt.config.calibration import CalibrationConfig
from dptt.config.reconstruction import PtychographyConfig, RefinementConfig, SolverConfig


def without_effect(section: SolverConfig, name: str) -> list[str]:
    """Return a sentence for every schedule of the section `name` that its number of epochs leaves without effect.

    Defaults are nobody's intention: they are passed over.
    """
    problems = [*_late(section), *_late_calibration(section), *_late_l1(section)]
    if isinstance(section, PtychographyConfig) and section.regularisation.vacuum:
        problems.append("regularisation.vacuum: has no effect here. Set it in reconstruction.regularisation")
    return [f"{name}.{problem}" for problem in problems]


def _late(section: SolverConfig) -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if not isinstance(value, RefinementConfig) or value.from_epoch is None or value.from_epoch <= section.epochs:
            continue
        default: Section = field.default
        if getattr(default, "from_epoch", None) != value.from_epoch:
            yield _never(f"{key}.from_epoch", value.from_epoch, section.epochs)


def _late_calibration(section: SolverConfig) -> Iterator[str]:
    calibration: CalibrationConfig = section.calibration
    first, epochs = calibration.from_epoch, section.epochs
    if first is None or first == "auto":
        return
    if first > epochs:
        yield _never("calibration.from_epoch", first, epochs)
    elif first == epochs:
        yield (
            f"calibration.from_epoch: the last of {epochs} epochs ends with the only calibration, so that the volume "
            "never follows it. Begin earlier, or raise epochs"
        )
    elif (last := first + calibration.number_of_epochs(of=epochs, first=first) - 1) >= epochs:
        yield (
            f"calibration.epochs: calibration from epoch {first} to {last} lasts to the end of {epochs} epochs, so "
            f"that {100 * calibration.fraction:g} % of the patterns are never fitted. Set it to at most "
            f"{epochs - first}, or raise epochs to more than {last}"
        )


def _late_l1(section: SolverConfig) -> Iterator[str]:
    constraints = section.regularisation
    if constraints.l1 > 0 and constraints.l1_from_epoch > section.epochs:
        yield _never("regularisation.l1_from_epoch", constraints.l1_from_epoch, section.epochs)
    if constraints.l1 == 0 and constraints.l1_half_life is not None:
        yield "regularisation.l1_half_life: has no effect, because l1 is 0. Set l1, or leave l1_half_life out"


def _never(key: str, first: int, epochs: int) -> str:
    return (
        f"{key}: epoch {first} is beyond the last, {epochs}, so that it never begins. Choose an earlier epoch, or "
        "raise epochs"
    )

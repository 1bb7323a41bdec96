"""Checks of numbers that describe an experiment: each says what it got and what it expected."""

import math


def require_positive(name: str, value: float | int, unit: str) -> None:
    """Raise ValueError unless `value` is positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; expected positive, in {unit}")


def require_not_negative(name: str, value: float, unit: str) -> None:
    """Raise ValueError unless `value` is zero or more, and finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; expected zero or more, in {unit}")


def require_at_most(what: str, number: float | int, most: float | int, cure: str) -> None:
    """Raise ValueError unless there are at most as many, before memory is asked for that no computer has."""
    if not number <= most:
        raise ValueError(f"there would be {number:.3g} {what}; expected at most {most:.0e}. {cure}")

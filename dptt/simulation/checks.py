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

"""Types that all sections of the configuration share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One section: unknown keys are errors, and values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
    )


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Pair = tuple[float, float]
PositivePair = tuple[Positive, Positive]
CountPair = tuple[Count, Count]
Triple = tuple[float, float, float]


def as_pair(value: object) -> object:
    """Return a pair of equal numbers for a single number."""
    return (value, value) if isinstance(value, int | float | str) else value  # YAML reads 9e-1 as a string

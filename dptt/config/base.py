"""Types that all sections of the configuration share."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from dptt.config.paths import expand_path, literal_path
from dptt.config.yaml_text import EMPTY


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

    @model_validator(mode="before")
    @classmethod
    def _nothing_written(cls, values: Any) -> Any:
        """Replace what is empty: a section by {}, since it is not left out, and an optional value by null."""
        if not isinstance(values, dict):
            return values
        fields = {name: field for key, field in cls.model_fields.items() for name in (key, field.alias)}
        return {
            key: _empty_value(fields[key].annotation) if value is EMPTY and key in fields else value
            for key, value in values.items()
        }


def _empty_value(annotation: Any) -> Any:
    allowed = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if any(isinstance(kind, type) and issubclass(kind, Section) for kind in allowed):
        return {}
    return None if type(None) in allowed else EMPTY


LARGEST, SMALLEST = 1e12, 1e-12
"""Of any number in a configuration, and of any that is above zero: there are Å, degrees, eV, electrons and counts."""

MOST_REPEATS = 100_000
"""Of work that is done again and again, such as epochs and iterations: a slip of the hand would take years."""


def not_a_switch(value: object) -> object:
    """Refuse true and false for a number; pydantic takes them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def as_text(value: object) -> object:
    """Return the text of a whole number, such as the name of a tilt."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _within_reason(number: float) -> float:
    """Refuse what no unit of this program makes sense of, before it overflows the size of an array."""
    if abs(number) > LARGEST:
        raise ValueError(f"no number here is beyond {LARGEST:g}. Check its unit")
    return number


def _not_next_to_zero(number: float) -> float:
    """Refuse what is divided by, and so small that the quotient overflows."""
    if number < SMALLEST:
        raise ValueError(f"no number here is below {SMALLEST:g}. Check its unit")
    return _within_reason(number)


def _file_name(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("expected the path of a file" + (", without control characters" if text else ""))
    return text


def _expanded(value: object) -> object:
    text = as_text(value)
    return expand_path(text) if isinstance(text, str) else text


def _writable_name(path: Path) -> Path:
    """Refuse a name that is too long for the temporary file beside it (`dptt.io.atomic_write`)."""
    if len(path.name.encode(errors="surrogateescape")) > 200:
        raise ValueError("the name of the file is longer than 200 bytes. Choose a shorter one")
    return path


Number = Annotated[float, BeforeValidator(not_a_switch), AfterValidator(_within_reason)]
Integer = Annotated[int, BeforeValidator(not_a_switch)]
# the range before the validator, or the JSON schema does not have it
Positive = Annotated[float, Field(gt=0), BeforeValidator(not_a_switch), AfterValidator(_not_next_to_zero)]
Energy = Annotated[float, Field(ge=10, le=1e8), BeforeValidator(not_a_switch)]
"""Of the beam [eV], as far as a series can hold it; a few hundred are keV, which `validate` says."""
StepFraction = Annotated[float, Field(gt=0, le=100), BeforeValidator(not_a_switch), AfterValidator(_not_next_to_zero)]
"""Of the step that the curvature allows: 1, or a little more or less."""
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(not_a_switch), AfterValidator(_within_reason)]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(not_a_switch)]
Count = Annotated[int, Field(ge=1, lt=2**31), BeforeValidator(not_a_switch)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31), BeforeValidator(not_a_switch)]
Repeats = Annotated[int, Field(ge=1, le=MOST_REPEATS), BeforeValidator(not_a_switch)]
RepeatsOrZero = Annotated[int, Field(ge=0, le=MOST_REPEATS), BeforeValidator(not_a_switch)]
Binning = Annotated[int, Field(ge=1, le=1024), BeforeValidator(not_a_switch)]
Degrees = Annotated[float, Field(ge=-360, le=360), BeforeValidator(not_a_switch)]
"""A turn at most, as a series can hold it."""
Turn = Annotated[float, Field(ge=0, le=360), BeforeValidator(not_a_switch)]
"""By how much angles differ [degrees]."""
Spread = Annotated[float, Field(ge=0, le=100), BeforeValidator(not_a_switch)]
"""Of something, as a fraction of it: more than 1 is odd already."""
Seed = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(not_a_switch)]
Sign = Annotated[Literal[-1, 1], BeforeValidator(not_a_switch)]
Pair = tuple[Number, Number]
PositivePair = tuple[Positive, Positive]
CountPair = tuple[Count, Count]
Triple = tuple[Number, Number, Number]
Text = Annotated[str, BeforeValidator(as_text, json_schema_input_type=str | int)]
FileName = Annotated[Text, AfterValidator(_file_name)]
"""A path that is expanded when its file is opened, with `expand_path`."""
ExpandedPath = Annotated[
    Path,
    BeforeValidator(_expanded),
    PlainSerializer(literal_path, when_used="json"),
]
"""A path that is expanded when the configuration is loaded."""
OutputFile = Annotated[ExpandedPath, AfterValidator(_writable_name)]


def _as_pair(value: object) -> object:
    """Return a pair of equal numbers for a single number."""
    return (value, value) if isinstance(value, int | float | str) else value  # 9e-1 is text for YAML


NumberOrPair = Annotated[PositivePair, BeforeValidator(_as_pair, json_schema_input_type=PositivePair | Positive)]
"""A pair (y, x) that may be written as one number for both."""
CountOrPair = Annotated[CountPair, BeforeValidator(_as_pair, json_schema_input_type=CountPair | Count)]

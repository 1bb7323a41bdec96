"""The section `alignment`: projections -> poses and a linear volume."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from dptt.config.base import Count, Pair, PositivePair, Section, as_pair
from dptt.config.importing import ArrayConfig


class ProjectionsConfig(ArrayConfig):
    """Foreign projections, such as an aligned or raw HAADF tilt series."""

    axes: tuple[Literal["tilt", "y", "x"], Literal["tilt", "y", "x"], Literal["tilt", "y", "x"]] = ("tilt", "y", "x")
    """Meaning of each axis of the array."""
    pixel_size: Annotated[PositivePair, BeforeValidator(as_pair)]
    """(y, x) [Å]"""
    tilt_angles: list[float] | ArrayConfig
    """Stage angles theta [degrees]."""
    tilt_sign: Literal[-1, 1] = 1
    """-1 if positive angles of the foreign file turn the specimen the other way."""
    tilt_axis: float = 0.0
    """psi of all tilts [degrees]: 0 for a tilt axis along y, 90 for one along x."""
    translations: list[Pair] | None = None
    """First guess (y, x) [Å]."""

    @model_validator(mode="after")
    def _each_axis_once(self) -> "ProjectionsConfig":
        if len(set(self.axes)) < 3:
            raise ValueError("expected tilt, y and x, each once")
        return self


class AlignmentConfig(Section):
    """[P] Algorithm 2. Every default works."""

    projections: ProjectionsConfig | None = None
    """Instead of those of `dptt ptycho`."""
    start: str | None = None
    """Poses of another program to begin with: a RELION .star file, or an IMOD .xf file with the .tlt (and .xtilt)
    of the same name beside it. Give `search: false` too where its translations are near."""
    background: Literal["auto", "none"] | float = "auto"
    """Subtracted from every projection [V Å], negative values set to zero; each tilt's own if `auto`."""
    search: bool = True
    """Whether translations are searched for before they are refined; otherwise the nominal ones are near."""
    finest_binning: Count | None = None
    """Pixels averaged at the finest stage of the alignment; no more than 128 pixels a side if left out."""
    volume_binning: Count = 1
    """Pixels averaged for the final volume."""
    tilt_axis: bool = True
    """Whether the direction of the tilt axis, one psi for all tilts, is refined."""
    angles: bool = True
    """Whether Euler angles are refined, after translations and the tilt axis; kept if other tilts confirm them."""
    translation_iterations: Count = 10
    """Largest number of steps a binning."""
    angle_iterations: Count = 10
    volume_iterations: Count = 30
    """Of the final volume."""
    folds: Annotated[int, Field(ge=2)] = 4
    """Groups of tilts, each aligned to the volume of the others."""
    nonnegative: bool = True

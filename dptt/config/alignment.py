"""The section `alignment`: projections -> poses and a linear volume."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dptt.config.base import (
    Binning,
    Degrees,
    FileName,
    Number,
    NumberOrPair,
    Pair,
    Repeats,
    RepeatsOrZero,
    Section,
    Sign,
)
from dptt.config.foreign_arrays import ArrayConfig
from dptt.config.stage import AngleUncertainty


class ProjectionsConfig(ArrayConfig):
    """Projections from another program, such as an aligned or raw HAADF tilt series."""

    axes: tuple[Literal["tilt", "y", "x"], Literal["tilt", "y", "x"], Literal["tilt", "y", "x"]] = ("tilt", "y", "x")
    """Meaning of each axis of the array."""
    pixel_size: NumberOrPair
    """Size of a pixel (y, x) [Å]; one number for both."""
    tilt_angles: list[Degrees] | ArrayConfig
    """Stage angles theta [degrees]."""
    tilt_sign: Sign = 1
    """-1 if positive angles in the file rotate the specimen in the opposite direction."""
    tilt_axis: Degrees = 0.0
    """Direction psi of the tilt axis [degrees]: 0 for an axis along y, 90 for one along x."""
    translations: list[Pair] | None = None
    """Initial translation of every tilt (y, x) [Å]; zero if left out."""

    @model_validator(mode="after")
    def _each_axis_once(self) -> "ProjectionsConfig":
        if len(set(self.axes)) < 3:
            raise ValueError("expected tilt, y and x, each once")
        return self


class AlignmentConfig(Section):
    """Joint alignment of the projections of all tilts ([P] Algorithm 2). The defaults suit most series."""

    projections: ProjectionsConfig | None = None
    """Projections to align; those of `dptt ptycho` if left out."""
    start: FileName | None = None
    """File of initial poses from another program: a RELION .star file, or an IMOD .xf file with the .tlt (and
    .xtilt) of the same name beside it. Set `search: false` as well if its translations are nearly right."""
    background: Literal["auto", "none"] | Number = "auto"
    """Background to subtract from every projection [V Å]; negative values become zero. `auto` estimates it for each
    tilt, `none` subtracts nothing."""
    search: bool = True
    """Whether to search for translations before refining them. Switch it off if the initial ones are nearly right."""
    finest_binning: Binning | None = None
    """Binning at the finest stage of the alignment; if left out, the smallest that leaves at most 128 pixels per
    side. Reduce it to align more precisely, at more cost."""
    volume_binning: Binning = 1
    """Binning of the final volume."""
    tilt_axis: bool = True
    """Whether to refine the direction of the tilt axis, one psi for all tilts."""
    angles: bool = True
    """Whether to refine Euler angles, after translations and the tilt axis. They are kept only if they also explain
    tilts that were not used to find them, and differ from the nominal ones by more than their errors."""
    angle_uncertainty: AngleUncertainty = AngleUncertainty()
    """Standard deviations of the nominal angles, against which refined ones are weighed."""
    translation_iterations: RepeatsOrZero = 10
    """Maximum number of steps at each binning that move translations. 0, with `search: false` and
    `angles: false`, keeps the poses as they are and only reconstructs the volume."""
    angle_iterations: Repeats = 10
    """Maximum number of further steps at each binning that also move the tilt axis, and then all Euler angles."""
    volume_iterations: Repeats = 30
    """Iterations of the final volume."""
    folds: Annotated[Repeats, Field(ge=2)] = 4
    """Groups of tilts; each group is aligned to the volume of the others, never to its own."""
    nonnegative: bool = True
    """Whether volumes are kept free of negative values."""

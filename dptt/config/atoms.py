"""The section `atoms`: coordinates, elements and error bars fitted to the patterns themselves."""

from typing import Annotated, Literal

from pydantic import Field

from dptt.config.base import Positive, Repeats, RepeatsOrZero, Section, Seed, Text


class AtomsConfig(Section):
    """How `dptt atoms` fits atoms. The defaults suit most series."""

    elements: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Chemical symbols that an atom may have, as in [Ni, Pd, Pt]."""
    voxel_size: Positive | None = None
    """Pixel of the slices [Å]; if left out, that of the volume, or about 0.2 Å where that is coarser: what scatters
    beyond the detector may scatter back."""
    slice_thickness: Annotated[Positive, Field(le=100)] = 2.0
    """Thickness of the slices [Å]."""
    iterations: Repeats = 40
    """Most steps of one fit, each a pass over all patterns. A fit ends earlier when it no longer gains."""
    rounds: RepeatsOrZero = 2
    """How often atoms are added and removed, each time with another fit; 0 keeps the traced atoms."""
    probes: bool = True
    """Whether the probe of every tilt is fitted too."""
    poses: bool | Literal["auto"] = "auto"
    """Whether angles and translations of the tilts are fitted too; `auto`: if an earlier step refined them."""
    scans: bool | Literal["auto"] = "auto"
    """Whether scale, rotation and shear of the scan of every tilt are fitted too, the mean scale included, which a
    reconstruction cannot find; `auto`: and kept if they differ from what it has by more than a fit may be wrong."""
    thermal: Literal["auto", "diffuse", "smeared"] = "auto"
    """What thermal motion does: `diffuse` for measured patterns, in which atoms absorb and scatter diffusely,
    `smeared` for simulated ones with a Debye-Waller factor instead; `auto`: what explains the patterns better."""
    false_rate: Annotated[Positive, Field(le=1000)] = 0.05
    """Number of atoms that noise alone would add in one round."""
    draws: Repeats = 200
    """Of simulated noise, by which error bars are measured: to 0.7 / sqrt(draws) of themselves."""
    seed: Seed = 0
    """Of the simulated noise that measures the error bars."""

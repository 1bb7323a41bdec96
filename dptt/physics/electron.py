"""Relativistic electrons: wavelength and interaction constant [Kirkland 2020, eq. 2.5 and 5.6]."""

import math

ELECTRON_REST_ENERGY = 510998.95069
"""m0 c² [eV], CODATA 2022."""
PLANCK_TIMES_LIGHT_SPEED = 12398.419843320026
"""h c [eV Å], exact in the SI of 2019."""
POTENTIAL_PER_SCATTERING_FACTOR = 47.87801
"""h² / (2 pi m0 e) [V Å²]: potential [V Å³] of an atom per unit of its electron scattering factor [Å]."""


def wavelength(energy: float) -> float:
    """Return the relativistic wavelength [Å] of electrons of kinetic `energy` [eV] [Kirkland 2020, eq. 2.5]."""
    if not energy > 0:
        raise ValueError(f"energy must be a positive number of eV, got {energy}")
    return PLANCK_TIMES_LIGHT_SPEED / math.sqrt(energy * (2 * ELECTRON_REST_ENERGY + energy))


def interaction_constant(energy: float) -> float:
    """Return sigma [rad/(V Å)], the phase per volt and ångström [Kirkland 2020, eq. 5.6; [P] eq. 1]."""
    energy_ratio = (ELECTRON_REST_ENERGY + energy) / (2 * ELECTRON_REST_ENERGY + energy)
    return 2 * math.pi / (wavelength(energy) * energy) * energy_ratio

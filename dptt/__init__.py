"""Distributed ptychographic tomography toolkit: 4D-STEM tilt series to a 3D electrostatic potential.

Implements You, Romanov & Pelz, Phys. Scr. 100 (2025) 015404, cited as [P] throughout.
"""

__version__ = "0.1.0"

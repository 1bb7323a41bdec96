"""Simulation of a tilt series with ground truth: specimen -> electrostatic potential -> 4D-STEM patterns.

================== ==============================================================================================
file               what it holds
================== ==============================================================================================
specimen.py        atoms about the rotation centre: orientation, pose, thermal displacement
structures.py      specimens from structure files, and particles: one element, core-shell, alloy, amorphous
structure_files.py reading files of structures, and what is wrong with them
nanotubes.py       tellurium particle on a carbon nanotube, the specimen of [P] fig. 3
crystals.py        cutting spheres, cubes and octahedra out of a crystal; partly occupied sites
scattering.py      electron scattering factors as sums of Gaussians
potential.py       potential of a specimen: projected slices for the multislice, voxels for the ground truth
acquisition.py     optics, scan, tilts and exposure, as the microscope reports them and as they truly are
coherence.py       partially coherent probe as a few modes
diffraction.py     patterns of one tilt, by multislice
series.py          patterns of all tilts: `SeriesSimulator`, the entry point
================== ==============================================================================================

No file of a series is read or written: `SeriesSimulator.tilt` returns arrays, which `dptt simulate` stores.
"""

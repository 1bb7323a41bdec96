"""Files: tilt series, checkpoints, volumes, and the import of foreign arrays.

Imports numpy, h5py, mrcfile and the standard library only. Arrays are ``(..., z, y, x)``, pairs ``(y, x)``, lengths
Å, energies eV, probe angles mrad, stage angles degrees. ``docs/format.md`` gives the layouts as tables.
"""

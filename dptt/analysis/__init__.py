"""How good a volume is: Fourier shell correlation, power spectrum, registration, atoms, poses; NumPy and SciPy only.

Volumes are ``(z, y, x)``, voxel sizes ``(z, y, x)`` [Å], positions ``(n, 3)`` in ``(z, y, x)`` order [Å] relative to
the centre of voxel ``n // 2`` of each axis, which is the rotation centre.
"""

"""The physics of the paper, one equation per function, on tensors; imports torch and the standard library only.

Conventions (README, "Conventions"): arrays (..., z, y, x), pairs (y, x), lengths in Å, energies in eV, probe
angles in mrad, stage angles in degrees, potentials in V. The wave is exp(+2 pi i k r); transmission is
exp(+i sigma V) and the propagator exp(-i pi lambda dz k²). Real-space windows are centred at index n//2;
Fourier-space arrays are in FFT corner order (zero frequency at index 0) and exist only inside the model.
"""

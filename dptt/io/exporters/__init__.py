"""Results for other programs: one module a kind of content. MRC is in `io.volumes`, IMOD and RELION in `io`."""

EXPORTS = {
    "mrc": "volume, real and imaginary part [V]: Chimera, IMOD",
    "tiff": "volume [V]: Fiji",
    "zarr": "volume as OME-Zarr [V]: napari",
    "xyz": "atoms as extended XYZ, with element and errors: ASE, OVITO",
    "cif": "atoms in a cell of the size of the volume: VESTA",
    "pdb": "atoms with occupancy and B: ChimeraX, PyMOL",
    "imod": "poses as .tlt, .xf and .xtilt",
    "relion": "poses as a RELION 5 tilt-series .star file",
    "aretomo": "poses as an AreTomo .aln file",
    "csv": "curves: loss of every epoch, FSC, power spectrum, poses, atoms",
}
"""Kind of export -> what it holds."""

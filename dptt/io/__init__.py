"""Reading and writing of files. `docs/format.md` describes dptt's own formats as tables.

=============================== ======================== ===================================================
file                            read and written in      contents
=============================== ======================== ===================================================
tilt series, `series.h5`        `dataset` reads,         patterns, scan positions, poses, calibration
                                `dataset_writer` writes
the same, ground truth          `truth`                  true potential, atoms, poses and positions
foreign HDF5, .npy, .npz        `importers/`             any arrays that `dptt import` converts
`brightfield.h5`                `brightfield`            result of `dptt brightfield`
`ptychography.h5`               `ptychography`           result of `dptt ptycho`: projections, probes
`alignment.h5`                  `alignment`              result of `dptt align`: poses, linear volume
`.tlt`, `.xf`, `.xtilt`         `imod`                   poses for and from IMOD
`.star`                         `relion`                 poses for and from RELION 5
`.aln`                          `aretomo`                poses for AreTomo
.ome.tif, .ome.zarr, .xyz, ...  `exporters/`             results for other programs
`checkpoint.h5`                 `checkpoint`             state of an unfinished reconstruction
`volume.h5`, `.mrc`             `volumes`                result of `dptt reconstruct`; .mrc is only written
`brightfield/NAME.h5`           `records`                intermediate results, read by dptt alone
=============================== ======================== ===================================================

Parts of a tilt series: `series_data` (the data to write), `patterns` (reading patterns by position number),
`dataset_structure` and `pattern_checks` (checks of structure and counts).

Tools for all formats: `hdf5_file` (opening, format and version), `attributes` (calibrations and poses as HDF5
attributes), `errors`, `atomic_write` (a file appears only when it is complete), `disk_space` (reserved in advance),
`slab_files` (every rank writes its own rows), `checksums` and `checkpoint_problems` (for checkpoints).

Only numpy, h5py, mrcfile, gemmi and the standard library are imported; others where a file needs them. Arrays are
``(..., z, y, x)``, pairs ``(y, x)``; lengths are in Å, energies in eV, probe angles in mrad, stage angles in degrees.
"""

"""Import of foreign data into a tilt series, for `dptt import`. Start at `arrays.import_arrays`.

======================= ==========================================================================================
file                    what it holds
======================= ==========================================================================================
description.py          what the user says about the foreign arrays: files, axes, scan, detector, angles
description_problems.py everything in a description that contradicts the arrays or itself
formats/                one module a foreign format: how it is recognised, its array, its metadata
recognition.py          which format a file is of
foreign_array.py        one array of any format, with the index of its description applied
stacks_and_tables.py    stacks of images in MRC files, numbers in text files
tilt_tables.py          stage angles in names of files, .mdoc files and tables
detector_correction.py  dark and gain reference
detector_frame.py       transposing, centring, flipping, cropping and binning of patterns
negative_counts.py      refusing, clipping or keeping negative counts
unusable_counts.py      refusing NaN and infinite counts, with number and place
scan_frame.py           scan positions from the raster or the list in the description
reconstructions.py      probe and positions in results of PtyRAD, py4DSTEM, quantem and PtychoShelves
quantem.py              the results of quantem
zenodo13060513.py       the published data of [P]: patterns, probes, positions, poses
arrays.py               reading the arrays block by block and writing the tilt series
======================= ==========================================================================================

A new format is a module in formats/, listed in recognition.py, or in formats/hdf5_kinds.py if it is HDF5.
"""

from dptt.io.importers.recognition import Recognised, recognise

__all__ = ["Recognised", "recognise"]

"""Import of foreign data into a tilt series, for `dptt import`. Start at `arrays.import_arrays`.

======================= ==========================================================================================
file                    what it holds
======================= ==========================================================================================
description.py          what the user says about the foreign arrays: files, axes, scan, detector, angles
description_problems.py everything in a description that contradicts the arrays or itself
foreign_array.py        opening one array in an HDF5 file (also MATLAB 7.3, EMD, NeXus), .npy or .npz file
stacks_and_tables.py    stacks of images in MRC files, numbers in text files
detector_frame.py       transposing, centring, flipping, cropping and binning of patterns
negative_counts.py      refusing, clipping or keeping negative counts
scan_frame.py           scan positions from the raster or the list in the description
arrays.py               reading the arrays block by block and writing the tilt series
======================= ==========================================================================================

A new file format belongs in foreign_array.py if it holds plain arrays; otherwise it gets its own module here, which
calls ``dptt.io.dataset_writer.write_tilt_series``.
"""

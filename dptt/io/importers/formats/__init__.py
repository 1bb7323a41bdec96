"""Foreign formats: one module each, with a `FORMAT` (see `foreign_data.Format`).

======================= ==========================================================================================
file                    what it holds
======================= ==========================================================================================
foreign_data.py         what a reader returns: a lazy array, its axes, what its metadata say
units.py                the units of other programs
stacked.py              arrays that are put together from several datasets, pages or frames
optional.py             libraries that only some formats need
empad.py                EMPAD raw files, with or without XML
rosettasciio.py         Merlin .mib, blockfile .blo, Gatan .dm3 and .dm4
hyperspy_metadata.py    the tree of metadata that HyperSpy and RosettaSciIO share
hdf5_kinds.py           HDF5: which program wrote a file
emd.py                  HDF5 of NCEM, emdfile and py4DSTEM
velox.py                HDF5 of Velox
hyperspy.py             .hspy, and the groups of .zspy
nexus.py                HDF5 of NeXus
dectris.py              HDF5 master files of Dectris
stempy.py               HDF5 of stempy: lists of electrons
nion.py                 .ndata and HDF5 of Nion Swift
matlab.py               MATLAB v5 and v7.3
torch_archive.py        tensors in what torch saves, without running it
zarr_store.py           zarr folders and zip files, .zspy
tiff.py mrc.py          stacks of images
numpy_files.py          .npy and .npz
======================= ==========================================================================================

`dptt.io.importers.recognise` asks them in the order of `dptt/io/importers/recognition.py`.
"""

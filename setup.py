"""Packaging of dptt; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="dptt",
    version="0.1.0",
    description="Distributed ptychographic tomography toolkit: 4D-STEM tilt series to a 3D electrostatic potential",
    long_description=(Path(__file__).parent / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["dptt", "dptt.*"]),
    package_data={"dptt.planning": ["*.sh"], "dptt.kernels.cuda": ["*.cu", "*.cuh"]},
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "h5py>=3.10",
        "pyyaml>=6",
        "pydantic>=2.7",
        "scipy>=1.11",  # spatial rotations, peak fits
        "jaxtyping>=0.2.30",  # shapes in signatures; not checked at run time
        "tqdm>=4.60",
        "matplotlib>=3.8",
        "mrcfile>=1.4",
        "ase>=3.22",  # structures: XYZ, CIF, clusters
        "gemmi>=0.6.5",  # electron scattering factors, International Tables C 4.3.2.2
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-mpi>=0.6",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.7",  # two processes share the tests
            "beartype>=0.18",
            "abtem>=1.0.6",  # reference software, used by tests only (GPL)
            "ruff>=0.6",
            "mypy>=1.10",
            "types-PyYAML",
            "types-tqdm",
            "numba>=0.60",
            "rosettasciio[blockfile]>=0.9,<1",  # these five write the foreign files that are imported
            "zarr>=3,<4",
            "tifffile>=2023.8,<2028",
            "hdf5plugin>=4.1,<8",
            "emdfile>=0.0.14,<0.1",
            "triton>=3.2; sys_platform == 'linux'",  # its interpreter runs the GPU's kernels on a CPU
        ],
        "formats": [
            # files of other programs; RosettaSciIO is licensed under the GPL and imported when such a file is opened
            "rosettasciio[blockfile]>=0.9,<1",  # .mib, .blo, .dm3, .dm4
            "zarr>=3,<4",
            "tifffile>=2023.8,<2028",
            "hdf5plugin>=4.1,<8",  # filters of HDF5, as Dectris uses
        ],
        "fast": ["numba>=0.60"],  # kernels compiled for the cores of this CPU
        "mpi": ["mpi4py>=4"],
    },
    entry_points={"console_scripts": ["dptt=dptt.cli:main"]},
)

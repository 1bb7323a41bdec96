"""Packaging of dptt; tool settings live in pyproject.toml, and the version in dptt/__init__.py."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

setup(
    name="dptt",
    version=re.search(r'^__version__ = "(.+)"$', (ROOT / "dptt/__init__.py").read_text(encoding="utf-8"), re.M)[1],
    description="Distributed ptychographic tomography toolkit: 4D-STEM tilt series to a 3D electrostatic potential",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the dptt developers",
    license="MIT",
    license_files=["LICENSE"],
    project_urls={"Paper": "https://doi.org/10.1088/1402-4896/ad9a1a"},
    keywords=["4D-STEM", "ptychography", "tomography", "electron microscopy", "multislice"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Chemistry",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Topic :: Scientific/Engineering :: Physics",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=[*find_packages(include=["dptt", "dptt.*"]), "dptt.jobs"],
    package_dir={"dptt.jobs": "jobs"},  # configurations, examples and job scripts, see dptt/runtime/shipped.py
    package_data={
        "dptt": ["py.typed"],
        "dptt.planning": ["*.sh"],
        "dptt.kernels.cuda": ["*.cu", "*.cuh"],
        "dptt.report": ["web/*"],
        "dptt.simulation.unit_cells": ["*.cif"],
        "dptt.jobs": ["README.md", "*.sbatch", "*.sh", "configs/*", "examples/*"],
    },
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "numba>=0.60",  # kernels compiled for the cores of this CPU
        "h5py>=3.10",
        "pyyaml>=6",
        "pydantic>=2.10",
        "scipy>=1.11",  # spatial rotations, peak fits
        "jaxtyping>=0.2.30",  # shapes in signatures; not checked at run time
        "tqdm>=4.60",
        "matplotlib>=3.8",
        "mrcfile>=1.4",
        "ase>=3.22",  # structures: XYZ, CIF, clusters
        "gemmi>=0.6.5",  # electron scattering factors, International Tables C 4.3.2.2; CIF
        "argcomplete>=3.5,<4",  # completion in the shell
        "k3d>=3.2,<4",  # only its script for browsers is read: the rotatable view of the page
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
            "playwright>=1.45",  # drives a browser that the machine has; without one these tests are skipped
            "types-PyYAML",
            "types-tqdm",
            "build>=1.2",  # of sdist and wheel, scripts/check_package.sh
            "setuptools>=64",
            "jsonschema>=4.20,<5",
            "alnfile>=0.1.1",  # readers of other programs' files
            "ome-zarr-models>=1.1",
            "starfile>=0.5.8",
            "tifffile>=2023.8,<2028",
            "zarr>=3,<4",
            "rosettasciio[blockfile]>=0.9,<1",  # these three write the foreign files that are imported
            "hdf5plugin>=4.1,<8",
            "emdfile>=0.0.14,<0.1",
            "nbclient>=0.10,<1",  # runs the notebooks of the documentation
            "nbformat>=5.10,<6",
            "ipykernel>=6.29,<8",
            "triton>=3.2; sys_platform == 'linux'",  # its interpreter runs the GPU's kernels on a CPU
        ],
        "formats": [
            # files of other programs; RosettaSciIO is licensed under the GPL and imported when such a file is opened
            "rosettasciio[blockfile]>=0.9,<1",  # .mib, .blo, .dm3, .dm4
            "zarr>=3,<4",
            "tifffile>=2023.8,<2028",
            "hdf5plugin>=4.1,<8",  # filters of HDF5, as Dectris uses
        ],
        "mpi": ["mpi4py>=4"],
        "docs": ["mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27,<2"],  # the site, scripts/docs.sh
    },
    entry_points={"console_scripts": ["dptt=dptt.cli:main"]},
)

"""`dptt doctor` names what is there and what is not, and never fails on what is broken."""

import importlib
import sys
from types import ModuleType

import pytest
import torch

from dptt.commands.doctor import doctor
from dptt.kernels import cpu
from dptt.kernels.cpu import transforms
from dptt.runtime import installation
from dptt.runtime.installation import findings


def finding(part: str) -> installation.Finding:
    return next(one for one in findings() if one.part == part)


def test_every_part_says_what_it_gives():
    found = findings()
    parts = [one.part for one in found]
    assert parts[:3] == ["dptt", "Python", "PyTorch"]
    assert {"GPU", "HDF5", "MPI", "zarr", "tifffile", "rosettasciio", "hdf5plugin"} <= set(parts)
    assert all(one.found and one.gives for one in found)


def test_a_plugin_that_is_missing_comes_with_its_cure(monkeypatch):
    monkeypatch.setattr(installation, "PLUGINS", {"no_such_plugin": "reads nothing"})
    missing = finding("no_such_plugin")
    assert (missing.verdict, missing.gives) == ("missing", "reads nothing")
    assert "pip install" in missing.cure


def test_a_plugin_that_cannot_be_imported_is_broken_and_the_others_are_told(monkeypatch):
    real = importlib.import_module

    def failing(name: str) -> ModuleType:
        if name == "zarr":
            raise OSError("libfoo.so: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", failing)
    broken = finding("plugins")
    assert broken.verdict == "broken"
    assert "libfoo.so" in broken.found
    assert finding("sbatch").gives


def test_without_numba_the_kernels_are_plain_torch(monkeypatch):
    monkeypatch.setattr(installation, "_version", lambda name: None)
    missing = finding("numba")
    assert (missing.verdict, missing.cure) == ("missing", "pip install numba")
    assert "plain PyTorch" in missing.gives


def test_transforms_without_mkl_are_named(monkeypatch):
    monkeypatch.setattr(transforms, "has_mkl", lambda: False)
    cpu.transforms_in_use.cache_clear()
    assert "own, two to four times slower than MKL" in finding("transforms").found
    cpu.transforms_in_use.cache_clear()


def test_a_driver_beside_a_torch_for_cpus_is_a_finding(monkeypatch):
    monkeypatch.setattr(installation.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    gpu = finding("GPU")
    assert gpu.verdict == "broken"
    assert "build for CPUs" in gpu.found and "CUDA" in gpu.cure


def test_without_torch_dptt_cannot_run(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ModuleNotFoundError
    assert doctor() == 1
    said = capsys.readouterr().out
    assert "dptt cannot run: PyTorch" in said
    assert "HDF5" in said


@pytest.mark.filterwarnings("ignore")
def test_here_dptt_can_run(capsys):
    assert doctor() == 0
    assert "dptt runs" in capsys.readouterr().out

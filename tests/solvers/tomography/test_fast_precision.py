"""With products of half precision, every epoch says what error they make; without, nothing is computed twice."""

from dataclasses import replace

import pytest
import torch
from small_series import GEOMETRY, make_truth
from solver_settings import tomography_settings

from dptt.commands.reconstruct import epoch_line
from dptt.distributed.mesh import Mesh
from dptt.kernels import multislice_gradient
from dptt.solvers.tomography import minibatch_update, reconstruct


def epochs(monkeypatch, fast: bool):
    """Return the records of two epochs in which `fast` gradients are 3e-3 too large, and which batches were fast."""
    asked = []

    def coarse(batch, *arguments):
        asked.append(batch.fast)
        gradient = multislice_gradient(batch, *arguments)
        return replace(gradient, transmission=gradient.transmission * (1.003 if batch.fast else 1.0))

    monkeypatch.setattr(minibatch_update, "multislice_gradient", coarse)
    truth, records = make_truth(), []
    settings = tomography_settings(epochs=2, batches=3, fast=fast)
    state = truth.start(volume_dtype=torch.float64)
    reconstruct(state, truth.series(), GEOMETRY, settings, Mesh.serial(), records.append)
    return records, asked


def test_the_error_of_half_precision_is_measured_once_an_epoch_and_logged(monkeypatch):
    records, asked = epochs(monkeypatch, fast=True)
    assert [record.fast_error for record in records] == pytest.approx([3e-3] * 2, rel=1e-6)
    updates = sum(record.updates for record in records)
    assert (asked.count(True), asked.count(False)) == (updates, 2)
    assert "error of half precision 3.0e-03" in epoch_line(records[0], 2)


def test_single_precision_is_not_compared_with_itself(monkeypatch):
    records, asked = epochs(monkeypatch, fast=False)
    assert not any(asked)
    assert len(asked) == sum(record.updates for record in records)
    assert records[0].fast_error == 0
    assert "half precision" not in epoch_line(records[0], 2)

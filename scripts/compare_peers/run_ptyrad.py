"""PtyRAD: its model, its loss and its loop, `recon_step`, with its default optimiser and learning rates."""

import os
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import compare_peers.torchvision_for_cpus  # noqa: F401, I001  before what imports torchvision
from compare_peers.problem import WAVELENGTH, Problem
from compare_peers.protocol import serve

if sys.version_info < (3, 12):  # its plots, which nothing here needs, do not parse
    for plots, function in (("basic", "plot_pos_grouping"), ("model", "plot_summary")):
        stand_in = ModuleType(f"ptyrad.plotting.{plots}")
        setattr(stand_in, function, print)
        sys.modules[stand_in.__name__] = stand_in

from ptyrad.core.losses import CombinedLoss
from ptyrad.core.models.ptycho import PtychoModel
from ptyrad.solver import reconstruction

OFF = {"state": False, "weight": 0.0}
RATES = {"obja": 5e-4, "objp": 5e-4, "probe": 1e-4}
"""Its defaults. Positions, tilts and thickness stay as they are told."""


class PtyRAD:
    """A reconstruction in PtyRAD's scale: patterns of which the brightest sums to about 1, as it normalises them."""

    version = version("ptyrad")

    def __init__(self, problem: Problem, slices: NDArray[np.complex128], batch: int, still: bool) -> None:
        scale = problem.electrons
        corners = np.round(problem.positions).astype(np.int32)
        scan = round(len(corners) ** 0.5)
        given: dict[str, Any] = {
            "measurements": np.fft.fftshift(problem.patterns / np.float32(scale), axes=(-2, -1)),
            "obj": slices[None].astype(np.complex64),
            "obj_tilts": np.zeros((1, 2)),
            "slice_thickness": np.float32(problem.slice_thickness),
            "probe": (problem.probe / np.sqrt(scale)).astype(np.complex64),
            "probe_pos_shifts": (problem.positions - corners).astype(np.float32),
            "omode_occu": np.ones(1),
            "H": problem.propagator.astype(np.complex64),
            "N_scan_slow": scan,
            "N_scan_fast": scan,
            "crop_pos": corners,
            "dx": problem.pixel,
            "dk": 1 / (problem.pixel * problem.probe.shape[-1]),
            "lambd": WAVELENGTH,
            "random_seed": 0,
            "length_unit": "Ang",
            "scan_affine": None,
            "meas_Npix": problem.probe.shape[-1],
            "simu_Npix": problem.probe.shape[-1],
            "simu_match_mode": None,
            "recon_provenance": None,
        }
        fixed = ("obj_tilts", "slice_thickness", "probe_pos_shifts")
        updates = {
            name: {"start_iter": 1, "end_iter": None, "lr": rate * (1e-9 if still else 1)}
            for name, rate in RATES.items()
        }
        updates |= {name: {"start_iter": None, "end_iter": None, "lr": 0.0} for name in fixed}
        choices = {
            "detector_blur_std": None,
            "update_params": updates,
            "optimizer_params": {"name": "Adam", "configs": {}},
        }
        self._model = PtychoModel(given, choices, device="cpu")
        reconstruction.toggle_grad_requires(self._model, 1)
        self._optimizer = reconstruction.create_optimizer(choices["optimizer_params"], self._model.optimizable_params)
        single = {"state": True, "weight": 1.0, "dp_pow": 0.5}
        names = ("loss_poissn", "loss_pacbed", "loss_sparse", "loss_simlar")
        self._loss = CombinedLoss({"loss_single": single} | dict.fromkeys(names, OFF), device="cpu")
        indices = np.arange(len(corners))
        self._batches = reconstruction.make_batches(indices, problem.positions, batch, mode="random", seed=0)
        self._passes = 0
        self._compute_loss = reconstruction.compute_loss
        if os.environ.get("COMPARE_COMPILE"):
            self._compute_loss = torch.compile(reconstruction.compute_loss)
            self._optimizer.step = torch.compile(self._optimizer.step)

    def run_pass(self) -> float:
        """Run one of PtyRAD's iterations."""
        self._passes += 1
        losses = reconstruction.recon_step(
            self._batches,
            1,
            self._model,
            self._optimizer,
            None,
            self._loss,
            lambda model, iteration: None,
            self._passes,
            compute_loss_fn=self._compute_loss,
        )
        return float(np.mean(losses["loss_single"])) ** 2  # PtyRAD tells the root of the mean square

    def slices(self) -> NDArray[np.complexfloating]:
        """Return its object's only mode."""
        model = self._model
        return torch.polar(model.opt_obja.detach(), model.opt_objp.detach())[0].numpy()


if __name__ == "__main__":
    serve(PtyRAD)

import numpy as np
import pytest
import torch

from dptt.physics.multislice import diffraction_intensity
from dptt.simulation.acquisition import Optics
from dptt.simulation.coherence import probe_ensemble, probe_modes

SHAPE = (45, 52)


def optics(**changes) -> Optics:
    return Optics(200e3, 20.0, (30, 36), (2.5, 2.2), aberrations={"C10": -60.0, "C12": 20.0}, **changes)


def grating() -> torch.Tensor:
    """A strong phase object, so that coherence matters."""
    y, x = torch.arange(SHAPE[0])[:, None] / SHAPE[0], torch.arange(SHAPE[1]) / SHAPE[1]
    phase = torch.sin(2 * np.pi * (4 * y + 3 * x)) + torch.cos(2 * np.pi * (5 * x - 2 * y))
    return torch.polar(torch.ones_like(phase), phase).to(torch.complex128)


def test_a_point_source_in_focus_is_one_mode():
    assert len(probe_modes(optics(), SHAPE)) == 1


def test_modes_hold_all_electrons_are_orthogonal_and_fall_in_power():
    modes = probe_modes(optics(source_size=0.1, focal_spread=30.0), SHAPE, electrons=320.0).flatten(1)
    gram = modes.conj() @ modes.T
    powers = gram.diagonal().real
    assert powers.sum().item() == pytest.approx(320)
    assert (powers.diff() < 0).all()
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-10 * powers[0]
    assert 2 < len(modes) < 20


@pytest.mark.parametrize(
    "changes", [{"source_size": 0.35}, {"focal_spread": 100.0}, {"source_size": 0.15, "focal_spread": 40.0}]
)
def test_few_modes_give_the_average_intensity_of_the_ensemble(changes):
    partial = optics(**changes)
    modes, ensemble = probe_modes(partial, SHAPE), torch.cat(list(probe_ensemble(partial, SHAPE, extra_nodes=8)))
    assert len(modes) < len(ensemble) / 2
    ours, true = (diffraction_intensity(waves * grating()) for waves in (modes, ensemble))
    assert (ours - true).abs().sum() / true.sum() < 1e-3
    coherent = diffraction_intensity(probe_modes(optics(), SHAPE) * grating())
    assert (coherent - true).abs().sum() / true.sum() > 0.01  # there is something to get right


def test_a_source_blurs_the_probe_by_its_own_variance():
    sharp, blurred = (
        probe_modes(optics(source_size=size), SHAPE, power_kept=1 - 1e-9).abs().square().sum(0) for size in (0.0, 0.3)
    )
    ky = torch.fft.fftfreq(SHAPE[0], optics().window[0] / SHAPE[0])[:, None]
    kx = torch.fft.fftfreq(SHAPE[1], optics().window[1] / SHAPE[1])
    expected = torch.fft.ifft2(torch.fft.fft2(sharp) * torch.exp(-2 * (np.pi * 0.3) ** 2 * (ky**2 + kx**2))).real
    assert (blurred - expected).abs().sum() / expected.sum() < 1e-3

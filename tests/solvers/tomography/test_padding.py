"""Waves on finer pixels than the volume: gradients, the probe, and what the true potential misfits by."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import random_tensor, relative_error
from simulated import simulated_patterns
from small_series import GEOMETRY, Patterns, make_truth
from solver_settings import refinement, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.kernels import backproject_slices, multislice_gradient
from dptt.model.forward import Geometry, model_intensity
from dptt.model.losses import Misfit
from dptt.model.patterns import centre_window
from dptt.model.state import TomographyState
from dptt.physics.potential import transmission_gradient
from dptt.physics.probe import make_probe, resample_probe
from dptt.physics.rotation import sampling_map
from dptt.simulation.acquisition import Optics, Pose
from dptt.simulation.diffraction import MultisliceSettings
from dptt.simulation.potential import enclosing_slab, project_slices
from dptt.simulation.specimen import Specimen
from dptt.solvers.tomography import reconstruct
from dptt.solvers.tomography.minibatch_update import local_batch
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_plan import plan_tilt

PADDED = replace(GEOMETRY, window_shape=(21, 26), pixels=(39, 58))


def padded_series() -> tuple[TomographyState, list[Patterns]]:
    """Return the small series with patterns of `PADDED`, of which the detector sees the middle."""
    truth = make_truth()
    probe = resample_probe(truth.probe, PADDED.window_shape)
    seen = centre_window(np.ones((1, *GEOMETRY.window_shape), bool), PADDED.window_shape)[0]
    series = [
        Patterns(
            model_intensity(truth.volume, probe, positions, angles, translation, PADDED).masked_fill(~seen, 0),
            mask=seen,
            name=f"{tilt:04d}",
        )
        for tilt, (positions, angles, translation) in enumerate(
            zip(truth.positions, truth.euler_angles, truth.translations, strict=True)
        )
    ]
    return truth.start(probes=[probe] * len(series)), series


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_the_gradient_of_an_update_is_that_of_the_whole_model(kind):
    state, series = padded_series()
    volume = (40 * random_tensor(*GEOMETRY.volume_shape, dtype=kind)).requires_grad_()
    state.volume = volume.detach()
    settings = tomography_settings()
    run = Run(PADDED, settings, Mesh.serial(), TiltGroups(Mesh.serial().tilt, settings.tilt_groups, state, 5))
    tilt = plan_tilt(state, series[1], 1, run)
    chosen = torch.arange(3, 9)
    batch, _ = local_batch(state, tilt, run, batch=chosen, own=chosen, measured=series[1].read(chosen))
    found = multislice_gradient(batch)
    slices = transmission_gradient(found.transmission, batch.transmission, PADDED.sigma)
    map_ = sampling_map(state.euler_angles[1], state.translations[1], PADDED.voxel_size)
    slices = PADDED.coarsened(slices if kind.is_complex else slices.real)
    gradient = backproject_slices(slices, map_, PADDED.volume_shape, PADDED.voxel_size[0])

    positions = state.positions[1][chosen].requires_grad_()
    pose = state.euler_angles[1], state.translations[1]
    model = model_intensity(volume, state.probes[1], positions, *pose, PADDED)
    misfit = Misfit("amplitude", tilt.misfit.epsilon, series[1].mask)
    roots = torch.sqrt(model + misfit.epsilon) - torch.sqrt(series[1].data[chosen] + misfit.epsilon)
    loss = roots.square().masked_fill(~series[1].mask, 0).sum()
    by_volume, by_position = torch.autograd.grad(loss, (volume, positions))
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-10)
    assert relative_error(gradient, by_volume) < 1e-9
    in_voxels = found.shifts * PADDED.pixels_per_voxel
    assert relative_error(in_voxels, by_position * positions.new_tensor(PADDED.voxel_size[1:])) < 1e-9


def test_the_specimen_is_found_and_the_probe_stays_within_the_detector():
    state, series = padded_series()
    truth = make_truth()
    settings = tomography_settings(epochs=6, probe=refinement(start=1))
    records = []
    reconstruct(state, series, PADDED, settings, Mesh.serial(), records.append)
    assert records[-1].loss < 0.03 * records[0].loss
    assert relative_error(state.volume, truth.volume) < 0.4
    for probe in state.probes:
        within = resample_probe(PADDED.probe_on_voxels(probe), PADDED.window_shape)
        assert relative_error(within, probe) < 1e-12


def test_scattering_beyond_the_detector_does_not_return():
    """The true potential up to the detector's edge, as it is: c5 of the faults, small."""
    atoms = Specimen(
        positions=np.array([[-4.0, -2.1, 0.3], [0.0, 1.2, 1.8], [3.0, 0.4, -1.9]]),
        atomic_numbers=np.full(3, 78),
        rms_displacements=np.full(3, 0.08),
    )
    angle = 2 * 24.6 / 24
    optics = Optics(300e3, 21.0, (24, 24), (angle, angle), {"C10": -60.0})
    scan = np.array([[-0.9, 0.2], [0.4, 1.1], [1.3, -0.7]])
    exact = MultisliceSettings(slice_thickness=1.0, oversampling=4.0)
    shape = exact.wave_shape(optics)
    common = dict(wavelength=optics.wavelength, semiangle=21.0, aberrations=optics.aberrations, electrons=1e4)
    fine = make_probe(shape, tuple(w / n for w, n in zip(optics.window, shape, strict=True)), **common)
    measured = torch.from_numpy(
        simulated_patterns(atoms, Pose((0.0, 0.0, 0.0)), scan, modes=fine[None], optics=optics, settings=exact)
    ).double()
    planes, entrance = enclosing_slab(atoms, 1.0)
    pixel = optics.window[0] / 24

    def misfit(volts: float, pixels: int | None) -> float:
        geometry = Geometry(
            300e3,
            (planes, 32, 32),
            (1.0, pixel, pixel),
            (24, 24) if pixels is None else (24 * pixels // 32,) * 2,
            planes,
            centre_depth=entrance + 0.5 + planes // 2,
            pixels=None if pixels is None else (pixels, pixels),
        )
        volume = project_slices(
            atoms,
            shape=(32, 32),
            sampling=(pixel, pixel),
            num_slices=planes,
            slice_thickness=1.0,
            entrance=entrance,
            dtype=torch.float64,
        )
        window = geometry.window_shape
        probe = make_probe(window, geometry.sampling, **common)
        probe = torch.fft.ifft2(
            torch.fft.fft2(probe) * geometry.propagator(geometry.first_slice_depth, torch.complex128)
        )
        still = torch.zeros(3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        model = model_intensity(volts * volume, probe[None], torch.from_numpy(scan), *still, geometry)
        seen = centre_window(torch.fft.fftshift(model, dim=(1, 2)).numpy(), (24, 24))
        seen = torch.fft.fftshift(seen, dim=(1, 2))
        return ((seen.sqrt() - measured.sqrt()) ** 2).sum().item()

    vacuum = misfit(0.0, 48)
    assert misfit(1.0, None) > 0.08 * vacuum, "on the detector's pixels alone"
    assert misfit(1.0, 48) < 0.045 * vacuum
    assert misfit(1.0, 64) < 0.045 * vacuum

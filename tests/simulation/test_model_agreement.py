"""The reconstruction's forward model, fed with the simulated truth, predicts the simulated data."""

import numpy as np
import pytest
import torch
from simulated import simulated_patterns

from dptt.model.forward import Geometry, tilted_slices
from dptt.physics.multislice import diffraction_intensity, multislice, propagate
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.potential import transmission
from dptt.physics.probe import shift_probe
from dptt.simulation.acquisition import Optics, Pose
from dptt.simulation.coherence import probe_modes
from dptt.simulation.diffraction import MultisliceSettings
from dptt.simulation.potential import sample_volume
from dptt.simulation.specimen import Specimen

OPTICS = Optics(300e3, 21.0, (36, 45), (3.0, 2.4), aberrations={"C10": -40.0, "C12": 25.0, "phi12": 20.0})
POSE = Pose((3.0, -35.0, 8.0), (0.7, -0.5))


def predicted(specimen, pose, positions):
    sampling = OPTICS.sampling
    geometry = Geometry(OPTICS.energy, (60, 110, 125), (0.25, *sampling), OPTICS.detector_shape, 15)
    volume = sample_volume(specimen, geometry.volume_shape, geometry.voxel_size, dtype=torch.float64)
    probe = propagate(
        probe_modes(OPTICS, OPTICS.detector_shape), geometry.propagator(geometry.first_slice_depth, torch.complex128)
    )
    angles, tau = torch.tensor(pose.euler_angles).double(), torch.tensor(pose.translation).double()
    transmitted = transmission(tilted_slices(volume, angles, tau, geometry), geometry.sigma)
    window = OPTICS.detector_shape
    corners, shifts = split_positions(torch.from_numpy(positions), sampling, geometry.volume_shape[1:], window)
    exit_wave = multislice(
        shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1]),
        extract_patches(transmitted, corners, window),
        geometry.propagator(geometry.slice_thickness, torch.complex128),
    )
    return torch.fft.fftshift(diffraction_intensity(exit_wave), dim=(-2, -1)).numpy()


@pytest.mark.parametrize("pose", [Pose((0.0, 0.0, 0.0)), POSE])
def test_simulated_patterns_are_those_of_the_true_volume_in_the_true_pose(pose):
    generator = np.random.default_rng(8)
    specimen = Specimen(generator.uniform(-3, 3, (10, 3)), np.array([14, 29] * 5), np.full(10, 0.25))
    positions = generator.uniform(-2, 2, (7, 2))
    settings = MultisliceSettings(slice_thickness=1.0, oversampling=2.0)
    modes = probe_modes(OPTICS, settings.wave_shape(OPTICS))
    simulated = simulated_patterns(specimen, pose, positions, modes=modes, optics=OPTICS, settings=settings)
    vacuum = predicted(Specimen(np.array([[0.0, 30.0, 30.0]]), np.array([1]), np.zeros(1)), pose, positions)

    def error(model):
        return np.abs(np.sqrt(model) - np.sqrt(simulated)).sum() / np.abs(np.sqrt(vacuum) - np.sqrt(simulated)).sum()

    assert error(predicted(specimen, pose, positions)) < 0.1  # of the specimen's own effect; interpolation blurs
    if pose == POSE:
        for wrong in (
            Pose((3.0, 35.0, 8.0), (0.7, -0.5)),
            Pose((3.0, -35.0, -8.0), (0.7, -0.5)),
            Pose((3.0, -35.0, 8.0), (-0.7, 0.5)),
        ):
            assert error(predicted(specimen, wrong, positions)) > 0.3

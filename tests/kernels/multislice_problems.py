"""Problems of multislice for the kernels, and what is asked of every implementation.

They are as small as odd windows, several modes and slices allow: the kernels of a GPU may be run by an interpreter.
"""

from dataclasses import fields, replace

import torch
from checks import random_tensor, relative_error

from dptt.kernels import Batch, MultisliceGradient, multislice
from dptt.model.losses import Misfit

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RESULTS = [field.name for field in fields(MultisliceGradient)]
SHAPES = {
    "odd and wide": ((13, 22), (9, 14), 3, 2),
    "one slice, one mode": ((31, 17), (8, 11), 1, 1),
    "as large as the image": ((12, 15), (12, 15), 2, 3),
    "a line": ((20, 20), (1, 16), 4, 1),
}
"""Image, window, slices, modes."""
PRIME = {"a prime line": ((20, 20), (1, 17), 4, 1)}
"""For kernels that leave transforms to a library."""
COMMON = {
    "66 x 64": ((70, 75), (66, 64), 2, 1),
    "72 x 80": ((72, 81), (72, 80), 2, 1),
    "96 x 128": ((97, 128), (96, 128), 2, 1),
    "13 x 100": ((20, 100), (13, 100), 2, 1),
}
"""Windows of every radix that the fused kernel transforms in registers."""
PROBLEMS = SHAPES | PRIME | COMMON


def batch(name, loss="amplitude", num_positions=5, masked=False, scale=0.3):
    """Return positions with strong phases, corners far outside, counts of a detector; all in double precision."""
    image, window, num_slices, num_modes = PROBLEMS[name]
    phase = 0.4 * random_tensor(num_slices, *image, seed=1)
    transmission = torch.polar(1 - 0.1 * random_tensor(num_slices, *image, seed=2).abs(), phase)
    probe = random_tensor(num_modes, *window, seed=3, dtype=torch.complex128)
    generator = torch.Generator().manual_seed(4)
    corners = torch.randint(-50, 90, (num_positions, 2), generator=generator)
    shifts = torch.rand(num_positions, 2, generator=generator).double() - 0.5
    counts = torch.randint(0, 9, (num_positions, *window), generator=generator).to(torch.uint16)
    propagator = torch.polar(torch.ones(window).double(), 2 * random_tensor(*window, seed=5))
    misfit = Misfit(loss, 1e-2, mask_of(name) if masked else None)
    return Batch(transmission, probe, corners, shifts, counts, propagator, misfit, scale)


def displaced(given):
    """Return the batch with every pattern displaced by up to two pixels."""
    return replace(given, pattern_shifts=2 * random_tensor(len(given.corners), 2, seed=7))


def blurred(given, variance=0.3):
    """Return the batch of a detector that spreads electrons over neighbouring pixels."""
    return replace(given, loss=replace(given.loss, blur=variance))


def mask_of(name):
    mask = torch.ones(PROBLEMS[name][1], dtype=torch.bool)
    mask[0, -1] = mask[-1, 3] = False
    return mask


def single(given, device=DEVICE):
    """Return the batch in single precision, counts as they are."""
    loss = given.loss
    return Batch(
        *(tensor.to(device, torch.complex64) for tensor in (given.transmission, given.probe)),
        given.corners.to(device),
        given.shifts.to(device, torch.float32),
        given.measured.to(device),
        given.propagator.to(device, torch.complex64),
        replace(loss, mask=None if loss.mask is None else loss.mask.to(device)),
        given.measured_scale,
        None if given.pattern_shifts is None else given.pattern_shifts.to(device, torch.float32),
    )


def assert_same(result, expected, tolerance, dtype=torch.complex64):
    """Compare gradients, of which the complex ones are to be of this `dtype`, with those in double precision."""
    for name in RESULTS:
        mine, theirs = getattr(result, name), getattr(expected, name)
        assert mine.shape == theirs.shape
        assert not mine.dtype.is_complex or mine.dtype == dtype
        assert relative_error(mine.cpu(), theirs) < tolerance, name


def near_convergence(name, loss):
    """Return noise-free data of a specimen, and the batch of one that is a hundredth of a radian away."""
    found = []

    def keep(model, measured):
        found.append(model.clone())
        return model.sum(), torch.ones_like(model)

    given = batch(name, scale=1.0)
    multislice.multislice_loss(replace(given, loss=keep))
    width = given.transmission.shape[-1]
    near = given.transmission * torch.polar(torch.ones(()), torch.tensor(0.01)) ** (torch.arange(width) % 3)
    return replace(given, transmission=near, measured=torch.cat(found), loss=Misfit(loss, 1e-6))

"""Random numbers of a simulation: independent between purposes, and the same for the same seed on every machine."""

import numpy as np

RANDOM_PURPOSES = (
    "pose",
    "jitter",
    "shot noise",
    "frozen phonons",
    "defocus",
    "experiment",
    "beam current",
    "bad pixels",
)
"""What is drawn at random. Append new purposes at the end: a seed must keep giving the same numbers."""


def random_stream(purpose: str, seed: int, *indices: int) -> np.random.Generator:
    """Return a generator whose numbers are independent between purposes, even if all have the same seed."""
    return np.random.default_rng((1 + RANDOM_PURPOSES.index(purpose), seed, *indices))

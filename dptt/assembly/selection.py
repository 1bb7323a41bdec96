"""Which patterns of a tilt take part: every n-th, and of these all, or one of two independent halves."""

import zlib

import numpy as np

from dptt.config import Config
from dptt.io.dataset import Tilt


def reconstructed_positions(config: Config, tilt: Tilt) -> np.ndarray:
    """Return the ascending indices (n,) of the patterns of a tilt that the reconstruction takes."""
    settings = config.reconstruction
    return chosen_positions(tilt.name, tilt.num_positions, config.half, settings.every, settings.offset)


def chosen_positions(name: str, num_positions: int, half: int | None, every: int = 1, offset: int = 0) -> np.ndarray:
    """Return the ascending indices (n,) of the patterns of tilt `name` that take part.

    Of each two patterns that follow one another in the scan, one at random belongs to each half, so that both halves
    sample the specimen evenly and without stripes. To which half a pattern belongs depends on its number and on the
    name of its tilt alone: no pattern is in half 1 of one step and in half 2 of another.

    Parameters
    ----------
    half
        1 or 2; None takes both.
    every, offset
        Take only every n-th pattern, beginning with `offset`.
    """
    chosen = np.arange(offset, num_positions, every)
    if half is None:
        return chosen
    first_of_pair = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 2, (num_positions + 1) // 2)
    in_first_half = np.arange(num_positions) % 2 == np.repeat(first_of_pair, 2)[:num_positions]
    return chosen[in_first_half[chosen] == (half == 1)]

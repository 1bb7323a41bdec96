"""A figure that is drawn only when the page is written, with what is said of it."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn: file name without suffix, heading, alternative text (for screen readers), caption."""

    name: str
    title: str
    alt: str
    caption: str
    draw: Callable[[], Figure]
    pixels: bool = False
    """Whether it is all image: a PNG in the page, where the others are SVG."""

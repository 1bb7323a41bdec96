"""Figures that a notebook shows, and that can be saved or changed."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from dptt.io.atomic_write import replace_bytes
from dptt.report.drawing import STYLE, to_png


@dataclass(frozen=True)
class Picture:
    """One figure, drawn when it is asked for: a name for its file, a heading that is its alternative text too."""

    name: str
    title: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Pictures:
    """Figures in reading order; the last line of a notebook cell shows them.

    `figures` are Matplotlib's, to be changed or shown by other means; `save` writes them as PNG.
    """

    pictures: tuple[Picture, ...]

    @property
    def figures(self) -> list[Figure]:
        """New Matplotlib figures, in the common style."""
        with matplotlib.rc_context(STYLE):
            return [picture.draw() for picture in self.pictures]

    def save(self, folder: str | Path) -> list[Path]:
        """Write every figure as a PNG into `folder`, which is created if need be, and return the paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{picture.name}.png" for picture in self.pictures]
        for path, picture in zip(paths, self.pictures, strict=True):
            replace_bytes(path, to_png(picture.draw))
        return paths

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Figure]:
        return iter(self.figures)

    def __repr__(self) -> str:
        return f"Pictures: {', '.join(picture.name for picture in self.pictures)}; .save(folder) writes them as PNG"

    def _repr_html_(self) -> str:
        return "".join(
            f'<p><b>{escape(picture.title)}</b></p><img alt="{escape(picture.title)}" style="max-width:100%" '
            f'src="data:image/png;base64,{base64.b64encode(to_png(picture.draw)).decode("ascii")}">'
            for picture in self.pictures
        )

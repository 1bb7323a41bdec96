"""The report: one HTML page by which a microscopist judges a reconstruction; NumPy and Matplotlib only.

``render_report(content)`` returns the page as one string, ``save_figures(content, folder)`` writes the same figures
as PNG files. This package reads no files: `dptt report` fills a `ReportContent`. Figures are made with
`matplotlib.figure.Figure`, never with pyplot, so they change no global state and need no display.

    content.py  measured.py     the content of a report, and of its data
    headline.py                 numbers, verdict and warnings at the top
    planes.py  rendering.py     from a volume to pictures: planes with scale bars, 3D views
    drawing.py  palette_png.py  the common look of all figures, and how they are written
    figures/                    one file for each family: plain data in, Figure out
    catalogue.py                the figures that a content allows, in reading order, with captions
    embedding.py  grids.py      numbers in the page for its scripts, which are in web/
    patterns.py  space.py       what the scripts show of the patterns, and in three dimensions
    library.py                  the WebGL library
    page.py                     the HTML
"""

from dptt.report.content import ProbeModes, ReportContent, ScanPositions
from dptt.report.page import render_report, save_figures

__all__ = ["ProbeModes", "ReportContent", "ScanPositions", "render_report", "save_figures"]

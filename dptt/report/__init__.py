"""The page a microscopist opens to judge a reconstruction, and its figures; NumPy and Matplotlib only.

``render_report(content)`` is the page as one string, ``save_figures(content, folder)`` the same figures as PNG
files. Nothing here reads a run: the command fills a `ReportContent`. Figures are made with
`matplotlib.figure.Figure`, never with pyplot, so no global state is touched and no display is needed.

    content.py                  what a report is made from
    headline.py                 the numbers and the verdict at the top
    planes.py  rendering.py     how a volume becomes pictures: planes with scale bars, 3D views
    drawing.py  palette_png.py  how all figures look, and how they are written
    figures/                    one file a family, plain data in, Figure out
    catalogue.py                which figures this content allows, in reading order, with captions
    page.py                     HTML
"""

from dptt.report.content import ProbeModes, ReportContent, ScanPositions
from dptt.report.page import render_report, save_figures

__all__ = ["ProbeModes", "ReportContent", "ScanPositions", "render_report", "save_figures"]

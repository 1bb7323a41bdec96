"""The report as one HTML page that loads nothing from elsewhere.

Slices, the rotatable view and the patterns are drawn by the scripts in ``web/`` from embedded numbers; the other
figures are SVG, which follows the light or dark colours of the page. What a browser cannot do has a picture instead.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np

from dptt.report.catalogue import Section, sections
from dptt.report.content import EarlierFigure, ReportContent, find
from dptt.report.drawing import LARGE_SVG, to_png, to_svg
from dptt.report.embedding import json_element, packed, script_element, style_element
from dptt.report.fitted import MOST_DOUBTFUL, FittedAtoms, doubtful_rows, fitted_space
from dptt.report.grids import Layer, volume_layers
from dptt.report.headline import Fact, convergence_sentence, headline_facts, volume_facts, warnings
from dptt.report.library import webgl_library
from dptt.report.patterns import diffraction_data
from dptt.report.picture import Picture
from dptt.report.space import space_data

EARLIER = "Earlier steps"
"""Heading of the figures that the steps before the reconstruction have drawn."""
COLOUR_MAPS = {"inferno": "inferno", "viridis": "viridis", "gray": "gray", "difference": "RdBu_r"}
"""Name in the scripts -> name in Matplotlib."""
POLICY = (
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; "
    "object-src 'none'; frame-src 'none'; form-action 'none'; base-uri 'none'"
)
"""What the page may load: nothing but itself. The library is unpacked in the page, hence the eval."""
SLICES = """<h3>Slices</h3>
<div id="slices"></div>
<p class="hint">The sliders move the planes; so does a click or a drag in any plane. White ticks mark where the other
planes cut.{beside}</p>"""
BESIDE = " All volumes share one colour scale; the difference, red where the first is higher, has its own."
SPACE = """<h3>Three-dimensional view</h3>
<div id="space"></div>
<p class="hint">Drag to turn, scroll to zoom, drag with the right button to move. z is the beam, y the tilt axis.</p>
<div id="space-picture">{picture}</div>"""


def render_report(content: ReportContent) -> str:
    """Return the page that shows everything the content holds."""
    all_sections = sections(content)
    titles = [(section.anchor, section.title) for section in all_sections]
    titles += [("data", "Data")] * (content.diffraction is not None) + [("earlier", EARLIER)] * bool(content.earlier)
    titles += [("files", "Files")] * bool(content.files) + [("provenance", "Provenance")]
    body = [
        *(f'<p class="warning">{_with_code(warning)}</p>' for warning in warnings(content)),
        _facts(headline_facts(content)),
        _paragraph(convergence_sentence(content.epochs), "verdict"),
        _table((fact.label, fact.value) for fact in volume_facts(content)),
        _next_steps(content.next_steps),
        navigation(titles),
        *(_section(section, content) for section in all_sections),
        _data(content),
        _earlier(content.earlier),
        _files(content.files),
        _provenance(content),
    ]
    library = None if content.volume is None else webgl_library()
    return document(
        content.title,
        body,
        page_data(content),
        head=identity_tag(content.analysis.get("identity", "")),
        library=library,
    )


def navigation(titles: Sequence[tuple[str, str]]) -> str:
    """Return links to sections, of which the anchor and the title are known."""
    return "<nav>" + " ".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in titles) + "</nav>"


def document(
    title: str,
    body: Sequence[str],
    data: Mapping[str, Any],
    *,
    head: str = "",
    library: tuple[str, str] | None = None,
) -> str:
    """Return a whole page: its style, its scripts and the data for these, and the WebGL library with its licences."""
    scripts = [json_element("dptt-data", {"maps": colour_maps(), **data})]
    if library is not None:
        compressed, notices = library
        notices = notices.replace("--", "-​-")  # a comment must not end early
        scripts.append(f'<!--\n{notices}\n-->\n<script type="application/gzip" id="k3d">{compressed}</script>')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"{head}\n<title>{escape(title)}</title>\n{style_element()}\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1><button type="button" id="theme">Dark</button></header>\n'
        '<noscript><p class="warning">Slices, the rotatable view and the patterns need JavaScript.</p></noscript>\n'
        + "\n".join(part for part in (*body, *scripts) if part)
        + f"\n{script_element()}\n</body>\n</html>\n"
    )


def colour_maps() -> dict[str, str]:
    """Return the colour maps of the scripts, 256 colours each."""
    positions = np.linspace(0, 1, 256)
    tables = {
        name: np.rint(255 * matplotlib.colormaps[colormap](positions)[:, :3]).astype(np.uint8)
        for name, colormap in COLOUR_MAPS.items()
    }
    return {name: packed(table.tobytes()) for name, table in tables.items()}


def page_data(content: ReportContent) -> dict[str, Any]:
    """Return what the scripts draw."""
    data: dict[str, Any] = {}
    if content.volume is not None:
        potential, truth = content.potential(), content.true_potential()
        layers = [Layer("Reconstruction", potential, content.voxel_size)]
        layers += [] if truth is None else [Layer("Truth", truth, content.voxel_size)]
        data["slices"] = {**volume_layers(layers), "difference": truth is not None}
        if len(potential) > 1:
            data["space"] = space_data(potential, find(content.analysis, "atoms"))
            if content.fitted_atoms is not None:
                data["space"]["fitted"] = fitted_space(content.fitted_atoms)
    if content.diffraction is not None:
        data["patterns"] = diffraction_data(content.diffraction)
    return data


def identity_tag(identity: str) -> str:
    """Return the line in the head of the page that names the analysis from which it was made."""
    return f'<meta name="dptt-analysis" content="{escape(identity)}">'


def save_figures(content: ReportContent, folder: Path) -> list[Path]:
    """Write every figure of the page into an existing folder as a PNG, and return the paths in reading order."""
    paths = []
    for section in sections(content):
        for picture in section.pictures:
            path = Path(folder) / f"{picture.name}.png"
            path.write_bytes(to_png(picture.draw))
            paths.append(path)
    return paths


def _section(section: Section, content: ReportContent) -> str:
    beside = "" if content.truth is None else BESIDE
    blocks = [SLICES.format(beside=beside)] if section.anchor == "volume" else []
    for picture in section.pictures:
        block = _picture(picture)
        blocks.append(SPACE.format(picture=block) if picture.name == "rendering" else block)
    if section.anchor == "atoms" and content.fitted_atoms is not None:
        blocks.append(_doubtful(content.fitted_atoms))
    pictures = "\n".join(blocks)
    return f'<section id="{section.anchor}">\n<h2>{escape(section.title)}</h2>\n{pictures}\n</section>'


def _doubtful(atoms: FittedAtoms) -> str:
    """Return the table of the atoms of which the patterns tell too little."""
    rows, count, total = doubtful_rows(atoms), len(atoms.doubtful()), len(atoms.positions)
    heading = "<h3>Fitted atoms that are in doubt</h3>\n"
    if not rows:
        return f"{heading}<p>None: the patterns tell all {total} atoms from noise, and their elements.</p>"
    first, *others = rows
    head = "".join(f"<th>{escape(cell)}</th>" for cell in first)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in others)
    listed = f" The first {MOST_DOUBTFUL} are listed; atoms.h5 has all." if count > MOST_DOUBTFUL else ""
    return (
        f"{heading}<p>{count} of {total}: percentages are the probabilities of the elements.{listed}</p>\n"
        f'<div class="scrolled"><table><tr>{head}</tr>{body}</table></div>'
    )


def _picture(picture: Picture) -> str:
    svg = "" if picture.pixels else to_svg(picture.draw, picture.name)
    if picture.pixels or len(svg) > LARGE_SVG:
        image = _png_image(picture.alt, to_png(picture.draw))
    else:
        image = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.alt)}" ', 1)
    return _figure(picture.name, picture.title, image, picture.caption)


def _png_image(alt: str, png: bytes) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'


def _figure(name: str, title: str, image: str, caption: str) -> str:
    return (
        f'<h3>{escape(title)}</h3>\n<figure id="figure-{name}">{image}'
        f"<figcaption>{_with_code(caption)}</figcaption></figure>"
    )


def _next_steps(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return (
        "<h3>What to try next</h3>\n"
        + f'<ul class="next">{"".join(f"<li>{_with_code(s)}</li>" for s in sentences)}</ul>'
    )


def _with_code(sentence: str) -> str:
    """Return a sentence as HTML, with what stands between backticks, such as a command, as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(sentence))


def _data(content: ReportContent) -> str:
    if content.diffraction is None:
        return ""
    beside = " and the patterns that the volume predicts" if content.diffraction.tilts[0].modelled is not None else ""
    return (
        '<section id="data">\n<h2>Data</h2>\n'
        f'<p class="hint">Virtual images of every tilt, and measured patterns{beside}.</p>\n'
        '<div id="patterns"></div>\n</section>'
    )


def _files(names: Sequence[str]) -> str:
    if not names:
        return ""
    links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in names)
    return f'<section id="files">\n<h2>Files</h2>\n<ul class="next">{links}</ul>\n</section>'


def _earlier(figures: Sequence[EarlierFigure]) -> str:
    if not figures:
        return ""
    blocks = [
        _figure(f"earlier-{i}", f.title, _png_image(f.caption, f.png), f.caption) for i, f in enumerate(figures)
    ]
    return f'<section id="earlier">\n<h2>{EARLIER}</h2>\n' + "\n".join(blocks) + "\n</section>"


def _facts(facts: list[Fact]) -> str:
    cards = [
        f'<div><dt>{escape(fact.label)}</dt><dd class="value">{escape(fact.value)}</dd>'
        f'<dd class="detail">{escape(fact.detail)}</dd></div>'
        for fact in facts
    ]
    return f'<dl class="facts">{"".join(cards)}</dl>' if cards else ""


def _paragraph(sentence: str, css_class: str) -> str:
    return f'<p class="{css_class}">{escape(sentence)}</p>' if sentence else ""


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(label)}</th><td>{escape(str(value))}</td></tr>" for label, value in rows)
    return f"<table>{cells}</table>" if cells else ""


def _provenance(content: ReportContent) -> str:
    """Where the result came from."""
    versions: Mapping[str, str] = content.versions
    rows = list(content.provenance.items())
    if versions:
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    blocks = [_table(rows) or "<p>No provenance was recorded.</p>"]
    if content.config is not None:
        blocks.append(
            f"<details><summary>Resolved configuration</summary><pre>{escape(content.config)}</pre></details>"
        )
    return '<section id="provenance">\n<h2>Provenance</h2>\n' + "\n".join(blocks) + "\n</section>"

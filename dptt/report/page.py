"""The report as one HTML page: plain tags, a little CSS, embedded pictures; it loads nothing from elsewhere."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from dptt.report.catalogue import Picture, Section, sections
from dptt.report.content import EarlierFigure, ReportContent
from dptt.report.drawing import to_png
from dptt.report.headline import Fact, convergence_sentence, headline_facts, volume_facts, warnings

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; 
       margin: 0 auto; max-width: 1080px; padding: 0 1.2rem 3rem; }
h1 { font-size: 1.6rem; margin: 1.4rem 0 .2rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
nav { position: sticky; top: 0; background: #fff; padding: .4rem 0; border-bottom: 1px solid #ddd; }
nav a { margin-right: 1.1rem; color: #0060a8; text-decoration: none; }
section { scroll-margin-top: 3rem; }
figure { margin: 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption, .detail { color: #555; font-size: .87rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(235px, 1fr));
         gap: .7rem; margin: 1rem 0; padding: 0; }
.facts div { background: #f4f5f7; border-radius: 6px; padding: .6rem .8rem; }
.facts dt { color: #555; font-size: .85rem; }
.facts dd { margin: 0; }
.facts dd.value { font-size: 1.35rem; font-weight: 600; }
.verdict { font-size: 1.05rem; }
.warning { background: #fff1e0; border-left: 4px solid #d55e00; padding: .4rem .8rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .15rem 1.2rem .15rem 0; overflow-wrap: anywhere; }
th { font-weight: 500; color: #555; white-space: nowrap; }
pre { background: #f4f5f7; padding: .8rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; margin: .8rem 0; }
"""


EARLIER = "Earlier steps"
"""Heading of the figures that the steps before the reconstruction have drawn."""


def render_report(content: ReportContent) -> str:
    """Return the page that shows everything the content holds."""
    all_sections = sections(content)
    links = [(section.anchor, section.title) for section in all_sections]
    links += [("earlier", EARLIER)] * bool(content.earlier) + [("provenance", "Provenance")]
    body = [
        f"<h1>{escape(content.title)}</h1>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in warnings(content)),
        _facts(headline_facts(content)),
        _paragraph(convergence_sentence(content.epochs), "verdict"),
        _table((fact.label, fact.value) for fact in volume_facts(content)),
        "<nav>" + " ".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in links) + "</nav>",
        *(_section(section) for section in all_sections),
        _earlier(content.earlier),
        _provenance(content),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{identity_tag(content.analysis.get('identity', ''))}\n"
        f"<title>{escape(content.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


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


def _section(section: Section) -> str:
    pictures = "\n".join(_picture(picture) for picture in section.pictures)
    return f'<section id="{section.anchor}">\n<h2>{escape(section.title)}</h2>\n{pictures}\n</section>'


def _picture(picture: Picture) -> str:
    return _figure(picture.name, picture.title, picture.alt, picture.caption, to_png(picture.draw))


def _figure(name: str, title: str, alt: str, caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<h3>{escape(title)}</h3>\n<figure id="figure-{name}">'
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _earlier(figures: Sequence[EarlierFigure]) -> str:
    if not figures:
        return ""
    blocks = [_figure(f"earlier-{i}", f.title, f.caption, f.caption, f.png) for i, f in enumerate(figures)]
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
